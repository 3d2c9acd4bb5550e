/* SPDX-License-Identifier: Apache-2.0 */
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

CK_FUNCTION_LIST_PTR p11;

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define TRY(call)                                                                                                      \
	do {                                                                                                           \
		const CK_RV tried = (call);                                                                            \
		if (tried != CKR_OK)                                                                                   \
			return tried;                                                                                  \
	} while (0)

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static CK_RV find(CK_SESSION_HANDLE session, const char *label, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *key)
{
	CK_ATTRIBUTE template[] = {{CKA_LABEL, (void *)label, strlen(label)}, {CKA_CLASS, &class, sizeof class}};
	CK_ULONG count = 0;

	TRY(p11->C_FindObjectsInit(session, template, LENGTH(template)));
	TRY(p11->C_FindObjects(session, key, 1, &count));
	TRY(p11->C_FindObjectsFinal(session));
	return count == 1 ? CKR_OK : CKR_KEY_HANDLE_INVALID;
}

/* Random numbers can be fetched in advance; a seed has to go where it is for. */
static CK_RV round_trip(struct context *c) { return p11->C_SeedRandom(c->session, c->data, 1); }

static CK_RV random_32(struct context *c) { return p11->C_GenerateRandom(c->session, c->out, 32); }

static CK_RV sign(struct context *c, CK_MECHANISM_TYPE type, CK_ULONG length)
{
	CK_MECHANISM mechanism = {type, NULL, 0};

	c->signature_length = 512;
	memcpy(c->data, &c->counter, sizeof c->counter);
	c->counter++;
	TRY(p11->C_SignInit(c->session, &mechanism, c->key));
	return p11->C_Sign(c->session, c->data, length, c->out, &c->signature_length);
}

static CK_RV p256_sign(struct context *c) { return sign(c, CKM_ECDSA, 32); }

/* The DigestInfo of SHA-256 is 51 bytes long; what is in it does not matter here. */
static CK_RV rsa_sign(struct context *c) { return sign(c, CKM_RSA_PKCS, 51); }

static CK_RV hmac(struct context *c) { return sign(c, CKM_SHA256_HMAC, 32); }

static CK_RV verify(struct context *c, CK_MECHANISM_TYPE type, CK_ULONG length)
{
	CK_MECHANISM mechanism = {type, NULL, 0};

	TRY(p11->C_VerifyInit(c->session, &mechanism, c->key));
	return p11->C_Verify(c->session, c->data, length, c->out, c->signature_length);
}

static CK_RV p256_verify(struct context *c) { return verify(c, CKM_ECDSA, 32); }

static CK_RV rsa_verify(struct context *c) { return verify(c, CKM_RSA_PKCS, 51); }

/* Signs what the measured calls verify. */
static CK_RV sign_first(struct context *c, const char *label, CK_RV (*with)(struct context *c))
{
	const CK_OBJECT_HANDLE public = c->key;

	TRY(find(c->session, label, CKO_PRIVATE_KEY, &c->key));
	TRY(with(c));
	c->key = public;
	return CKR_OK;
}

static CK_RV p256_first(struct context *c) { return sign_first(c, "bench-p256", p256_sign); }

static CK_RV rsa_first(struct context *c) { return sign_first(c, "bench-rsa", rsa_sign); }

enum { LARGEST = 1 << 20, TAG = 16 };

static CK_RV allocate(struct context *c)
{
	c->large = calloc(2, LARGEST + TAG);
	return c->large ? CKR_OK : CKR_HOST_MEMORY;
}

static CK_RV encrypt(struct context *c, unsigned char *data, CK_ULONG length, unsigned char *out, CK_ULONG room)
{
	unsigned char iv[12] = {0};
	CK_GCM_PARAMS parameters = {iv, sizeof iv, 8 * sizeof iv, NULL, 0, 128};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof parameters};

	memcpy(iv, &c->counter, sizeof c->counter);
	c->counter++;
	TRY(p11->C_EncryptInit(c->session, &mechanism, c->key));
	return p11->C_Encrypt(c->session, data, length, out, &room);
}

static CK_RV gcm(struct context *c) { return encrypt(c, c->data, sizeof c->data, c->out, sizeof c->out); }

static CK_RV gcm_large(struct context *c, CK_ULONG length)
{
	return encrypt(c, c->large, length, c->large + LARGEST + TAG, LARGEST + TAG);
}

static CK_RV gcm_64k(struct context *c) { return gcm_large(c, 64 << 10); }
static CK_RV gcm_1m(struct context *c) { return gcm_large(c, LARGEST); }

static CK_RV find_sign(struct context *c)
{
	TRY(find(c->session, "bench-p256", CKO_PRIVATE_KEY, &c->key));
	return p256_sign(c);
}

static CK_RV get_attribute(struct context *c)
{
	CK_ATTRIBUTE attribute = {CKA_ID, c->out, 64};

	return p11->C_GetAttributeValue(c->session, c->key, &attribute, 1);
}

static CK_RV session(struct context *c)
{
	CK_SESSION_HANDLE opened;

	TRY(p11->C_OpenSession(c->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &opened));
	return p11->C_CloseSession(opened);
}

static CK_RV digest(struct context *c)
{
	CK_MECHANISM mechanism = {CKM_SHA256, NULL, 0};
	CK_ULONG length = sizeof c->out;

	TRY(p11->C_DigestInit(c->session, &mechanism));
	return p11->C_Digest(c->session, c->data, 256, c->out, &length);
}

static const struct operation operations[] = {
	{"round-trip", NULL, 0, NULL, round_trip},
	{"p256-sign", "bench-p256", CKO_PRIVATE_KEY, NULL, p256_sign},
	{"rsa2048-sign", "bench-rsa", CKO_PRIVATE_KEY, NULL, rsa_sign},
	{"gcm-1k", "bench-aes", CKO_SECRET_KEY, NULL, gcm},
	{"gcm-64k", "bench-aes", CKO_SECRET_KEY, allocate, gcm_64k},
	{"gcm-1m", "bench-aes", CKO_SECRET_KEY, allocate, gcm_1m},
	{"hmac-sha256", "bench-hmac", CKO_SECRET_KEY, NULL, hmac},
	{"p256-verify", "bench-p256", CKO_PUBLIC_KEY, p256_first, p256_verify},
	{"rsa2048-verify", "bench-rsa", CKO_PUBLIC_KEY, rsa_first, rsa_verify},
	{"find-sign", NULL, 0, NULL, find_sign},
	{"attribute", "bench-p256", CKO_PRIVATE_KEY, NULL, get_attribute},
	{"session", NULL, 0, NULL, session},
	{"random-32", NULL, 0, NULL, random_32},
	{"digest-256", NULL, 0, NULL, digest},
};

const struct operation *operation_find(const char *name)
{
	for (size_t i = 0; i < LENGTH(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	return NULL;
}

CK_RV operation_prepare(const struct operation *operation, struct context *c)
{
	if (operation->key)
		TRY(find(c->session, operation->key, operation->class, &c->key));
	return operation->prepare ? operation->prepare(c) : CKR_OK;
}

static CK_RV make_pair(CK_SESSION_HANDLE session, const char *label, int rsa)
{
	static unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, f4[] = {1, 0, 1};
	CK_ULONG bits = 2048;
	CK_MECHANISM mechanism = {rsa ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0};
	CK_ATTRIBUTE public[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, (void *)label, strlen(label)}, {CKA_ID, (void *)label, strlen(label)},
		{CKA_VERIFY, &yes, sizeof yes}, {CKA_PRIVATE, &no, sizeof no},
		{rsa ? CKA_MODULUS_BITS : CKA_EC_PARAMS, rsa ? (void *)&bits : p256, rsa ? sizeof bits : sizeof p256},
		{CKA_PUBLIC_EXPONENT, f4, sizeof f4},
	};
	CK_ATTRIBUTE private[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, (void *)label, strlen(label)}, {CKA_ID, (void *)label, strlen(label)},
		{CKA_SIGN, &yes, sizeof yes}, {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SENSITIVE, &yes, sizeof yes},
	};
	CK_OBJECT_HANDLE made[2];

	return p11->C_GenerateKeyPair(session, &mechanism, public, LENGTH(public) - (rsa ? 0 : 1), private, LENGTH(private),
				      &made[0], &made[1]);
}

static CK_RV make_secret(CK_SESSION_HANDLE session, const char *label, CK_MECHANISM_TYPE type, CK_ATTRIBUTE_TYPE usage)
{
	CK_ULONG length = 32;
	CK_MECHANISM mechanism = {type, NULL, 0};
	CK_ATTRIBUTE template[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, (void *)label, strlen(label)}, {usage, &yes, sizeof yes},
		{CKA_VALUE_LEN, &length, sizeof length}, {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SENSITIVE, &yes, sizeof yes},
	};
	CK_OBJECT_HANDLE made;

	return p11->C_GenerateKey(session, &mechanism, template, LENGTH(template), &made);
}

CK_RV operations_setup(CK_SESSION_HANDLE session)
{
	CK_OBJECT_HANDLE key;
	char label[32];

	if (find(session, "bench-p256", CKO_PRIVATE_KEY, &key) == CKR_OK)
		return CKR_OK;
	TRY(make_pair(session, "bench-rsa", 1));
	for (int i = 0; i < 3; i++) {
		snprintf(label, sizeof label, "other-%d", i);
		TRY(make_pair(session, label, 0));
	}
	TRY(make_pair(session, "bench-p256", 0));
	TRY(make_secret(session, "bench-aes", CKM_AES_KEY_GEN, CKA_ENCRYPT));
	return make_secret(session, "bench-hmac", CKM_GENERIC_SECRET_KEY_GEN, CKA_SIGN);
}
