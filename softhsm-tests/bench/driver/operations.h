/* The operations that the driver measures.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef OPERATIONS_H
#define OPERATIONS_H

#include <pkcs11.h>

/* What one calling thread has. */
struct context {
	CK_SLOT_ID slot;
	CK_SESSION_HANDLE session;
	CK_OBJECT_HANDLE key;
	unsigned char data[1024], out[2048];
	CK_ULONG signature_length;
	unsigned long counter;
	/* For the operations on large data; NULL for all others. */
	unsigned char *large;
};

struct operation {
	const char *name;
	/* The label and class of the key that it uses; NULL for none. */
	const char *key;
	CK_OBJECT_CLASS class;
	/* Runs once before all else in each thread; may be NULL. */
	CK_RV (*prepare)(struct context *c);
	CK_RV (*run)(struct context *c);
};

extern CK_FUNCTION_LIST_PTR p11;

const struct operation *operation_find(const char *name);
CK_RV operation_prepare(const struct operation *operation, struct context *c);
/* Makes the keys: twelve objects, unless they are there. */
CK_RV operations_setup(CK_SESSION_HANDLE session);

#endif
