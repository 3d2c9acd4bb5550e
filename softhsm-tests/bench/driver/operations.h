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
	/* The length of what lies in out, or of the point in data. */
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

#define LENGTH(array) (sizeof(array) / sizeof *(array))
/* Leaves the function with the code of a call that failed. */
#define TRY(call)                                                                                                      \
	do {                                                                                                           \
		const CK_RV tried = (call);                                                                            \
		if (tried != CKR_OK)                                                                                   \
			return tried;                                                                                  \
	} while (0)

extern CK_FUNCTION_LIST_PTR p11;
/* How many objects called item-… the token has. */
extern unsigned long many;

enum { ITEM_LENGTH = 12 };
void item_label(char *label, unsigned long number);

/* The one object of a label and a class. */
CK_RV find(CK_SESSION_HANDLE session, const char *label, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *key);

const struct operation *operation_find(const char *name);
CK_RV operation_prepare(const struct operation *operation, struct context *c);
/* Makes the keys, twelve objects, and so many items besides. */
CK_RV operations_setup(CK_SESSION_HANDLE session, unsigned long items);
/* Makes only keys that libp11 can read; it stops at an Ed25519 key. */
CK_RV operations_setup_tls(CK_SESSION_HANDLE session);

#endif
