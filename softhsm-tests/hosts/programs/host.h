/* What all hosts share: loading the module, and ending with a sentence when something is not as it must be. A host
 * that is content prints nothing and exits with 0.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef HOST_H
#define HOST_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pkcs11.h"

/* _exit: a failing child must not run the parent's exit handlers, nor hang in them. */
#define FAIL(...)                                                                                                      \
	do {                                                                                                           \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                        \
		fprintf(stderr, __VA_ARGS__);                                                                          \
		fputc('\n', stderr);                                                                                   \
		_exit(1);                                                                                              \
	} while (0)

#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			FAIL("not so: %s (%s)", #condition, strerror(errno));                                          \
	} while (0)

#define EXPECT(call, expected)                                                                                         \
	do {                                                                                                           \
		CK_RV rv_ = (call);                                                                                    \
		if (rv_ != (expected))                                                                                 \
			FAIL("%s: 0x%lx, want 0x%lx (%s)", #call, rv_, (CK_RV)(expected), #expected);                  \
	} while (0)

/* Loads the module with dlopen's flags and returns its longest function list. */
static inline CK_FUNCTION_LIST_3_2 *load(const char *path, int flags)
{
	CK_VERSION version = {3, 2};
	CK_INTERFACE *interface = NULL;
	CK_C_GetInterface get;
	void *library = dlopen(path, RTLD_NOW | flags);

	if (!library)
		FAIL("dlopen: %s", dlerror());
	*(void **)&get = dlsym(library, "C_GetInterface");
	CHECK(get != NULL);
	EXPECT(get((CK_UTF8CHAR_PTR) "PKCS 11", &version, &interface, 0), CKR_OK);
	return interface->pFunctionList;
}

/* Waits for a child that must exit with 0, but not for ever. */
static inline void join(pid_t child)
{
	int status = 0;

	CHECK(child > 0);
	for (int i = 0; i < 6000; i++) {
		const pid_t ended = waitpid(child, &status, WNOHANG);

		CHECK(ended >= 0 || errno == EINTR);
		if (ended == child) {
			if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
				FAIL("child %d ended with status 0x%x", child, status);
			return;
		}
		usleep(i < 100 ? 100 : 10000);
	}
	kill(child, SIGKILL);
	FAIL("child %d hangs", child);
}

/* What a child finds: nothing works until it initialises, then all does. */
static inline void live_again(CK_FUNCTION_LIST_3_2 *f, void *arguments)
{
	CK_ULONG count = 0;
	CK_INFO info;

	EXPECT(f->C_GetInfo(&info), CKR_CRYPTOKI_NOT_INITIALIZED);
	EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &count), CKR_CRYPTOKI_NOT_INITIALIZED);
	EXPECT(f->C_Finalize(NULL), CKR_CRYPTOKI_NOT_INITIALIZED);
	EXPECT(f->C_Initialize(arguments), CKR_OK);
	EXPECT(f->C_Initialize(arguments), CKR_CRYPTOKI_ALREADY_INITIALIZED);
	EXPECT(f->C_GetInfo(&info), CKR_OK);
	EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &count), CKR_OK);
}

#endif
