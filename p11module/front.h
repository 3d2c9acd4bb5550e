/* The C half of the module: what must work in a process that has forked, where this image's Go code must never run
 * again. front.c routes calls, process.c notices forks, copy.c loads the image anew, sockets.c knows the daemon's
 * connections, signals.c keeps the host's signals its own.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef ANYHSM_FRONT_H
#define ANYHSM_FRONT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "pkcs11.h"

#pragma GCC visibility push(hidden)

/* What belongs to one process and is all zero in a child of it, because the kernel wipes the page (MADV_WIPEONFORK),
 * because the fork handler clears it, or both. */
struct process {
	/* The functions that answer: this image's own, those of a copy, or NULL in a child before C_Initialize. */
	_Atomic(const CK_FUNCTION_LIST_3_2 *) engine;
	/* Held while a copy is loaded. */
	pthread_mutex_t lock;
	/* Set once the image of the parent has been put to rest. */
	atomic_bool rested;
};

extern struct process *anyhsm_process;
extern const CK_FUNCTION_LIST_3_2 anyhsm_own_functions;

/* Go's garbage collector ends the process when it meets a pointer into the first page, and hosts pass such: Rust's
 * empty slices begin at address 1. Go is shown this address instead, where nothing can be read or written. */
extern void *anyhsm_nowhere;
#define ANYHSM_FIRST_PAGE 4096

/* Puts this image to rest if the process is a child that no fork handler has seen; tells whether it is a child. */
int anyhsm_forked(void);

/* The pReserved string of C_Initialize if it is ours, else NULL: NSS hands over one of its own. */
const char *anyhsm_settings(const CK_C_INITIALIZE_ARGS *arguments);
/* Keeps a pReserved string for children that are given none. */
void anyhsm_settings_keep(const char *text);

/* Remembers the file that the address was loaded from. */
void anyhsm_copy_prepare(const void *address);
/* Loads the image once more, as another one; NULL if that cannot be done. */
const CK_FUNCTION_LIST_3_2 *anyhsm_copy_load(void);

/* Blocks all signals while Go's runtime starts, which so never takes one of the host's. */
void anyhsm_signals_block(void);

/* What daemonclient reports of its connections, and the end of those in a child. */
void anyhsm_socket_opened(int fd);
void anyhsm_socket_closed(int fd);
void anyhsm_sockets_abandon(void);

#pragma GCC visibility pop

#endif
