/* SPDX-License-Identifier: Apache-2.0 */
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

CK_FUNCTION_LIST_PTR p11;

CK_RV find(CK_SESSION_HANDLE session, const char *label, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *key)
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

static CK_RV sign_by(struct context *c, CK_MECHANISM mechanism, CK_ULONG length)
{
	c->signature_length = 512;
	memcpy(c->data, &c->counter, sizeof c->counter);
	c->counter++;
	TRY(p11->C_SignInit(c->session, &mechanism, c->key));
	return p11->C_Sign(c->session, c->data, length, c->out, &c->signature_length);
}

static CK_RV sign(struct context *c, CK_MECHANISM_TYPE type, CK_ULONG length)
{
	return sign_by(c, (CK_MECHANISM){type, NULL, 0}, length);
}

static CK_RV p256_sign(struct context *c) { return sign(c, CKM_ECDSA, 32); }

/* The DigestInfo of SHA-256 is 51 bytes long; what is in it does not matter here. */
static CK_RV rsa_sign(struct context *c) { return sign(c, CKM_RSA_PKCS, 51); }

static CK_RV p384_sign(struct context *c) { return sign(c, CKM_ECDSA, 48); }

static CK_RV ed25519_sign(struct context *c) { return sign(c, CKM_EDDSA, 32); }

static CK_RV pss_sign(struct context *c)
{
	CK_RSA_PKCS_PSS_PARAMS parameters = {CKM_SHA256, CKG_MGF1_SHA256, 32};

	return sign_by(c, (CK_MECHANISM){CKM_RSA_PKCS_PSS, &parameters, sizeof parameters}, 32);
}

/* SHA-1, because SoftHSM knows no other. */
static CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0};

/* Encrypts what the measured calls decrypt. */
static CK_RV oaep_first(struct context *c)
{
	CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
	CK_OBJECT_HANDLE public;

	TRY(find(c->session, "bench-rsa", CKO_PUBLIC_KEY, &public));
	c->signature_length = sizeof c->out;
	TRY(p11->C_EncryptInit(c->session, &mechanism, public));
	return p11->C_Encrypt(c->session, c->data, 32, c->out, &c->signature_length);
}

static CK_RV oaep_decrypt(struct context *c)
{
	CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
	CK_ULONG length = sizeof c->data;

	TRY(p11->C_DecryptInit(c->session, &mechanism, c->key));
	return p11->C_Decrypt(c->session, c->out, c->signature_length, c->data, &length);
}

/* The point of one's own public key is as good as a stranger's. */
static CK_RV ecdh_first(struct context *c)
{
	CK_ATTRIBUTE point = {CKA_EC_POINT, c->data, sizeof c->data};
	CK_OBJECT_HANDLE public;

	TRY(find(c->session, "bench-p256", CKO_PUBLIC_KEY, &public));
	TRY(p11->C_GetAttributeValue(c->session, public, &point, 1));
	c->signature_length = point.ulValueLen;
	return CKR_OK;
}

static CK_RV ecdh(struct context *c)
{
	CK_ECDH1_DERIVE_PARAMS parameters = {CKD_NULL, 0, NULL, c->signature_length - 2, c->data + 2};
	CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &parameters, sizeof parameters};
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG length = 32;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_VALUE_LEN, &length, sizeof length},
		{CKA_TOKEN, &no, sizeof no}, {CKA_SENSITIVE, &no, sizeof no}, {CKA_EXTRACTABLE, &yes, sizeof yes},
	};
	CK_ATTRIBUTE value = {CKA_VALUE, c->out, sizeof c->out};
	CK_OBJECT_HANDLE secret;

	TRY(p11->C_DeriveKey(c->session, &mechanism, c->key, template, LENGTH(template), &secret));
	TRY(p11->C_GetAttributeValue(c->session, secret, &value, 1));
	return p11->C_DestroyObject(c->session, secret);
}

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

static CK_RV digest(struct context *c, unsigned char *data, CK_ULONG size)
{
	CK_MECHANISM mechanism = {CKM_SHA256, NULL, 0};
	CK_ULONG length = sizeof c->out;

	TRY(p11->C_DigestInit(c->session, &mechanism));
	return p11->C_Digest(c->session, data, size, c->out, &length);
}

static CK_RV digest_256(struct context *c) { return digest(c, c->data, 256); }
static CK_RV digest_1m(struct context *c) { return digest(c, c->large, LARGEST); }

/* Looks for one of the token's many objects, another one each time. */
static CK_RV find_label(struct context *c)
{
	char label[ITEM_LENGTH + 1];
	CK_OBJECT_HANDLE found;

	c->counter = (c->counter * 48271 + 1) % many;
	item_label(label, c->counter);
	return find(c->session, label, CKO_PUBLIC_KEY, &found);
}

/* Lists all objects and reads three attributes of each. */
static CK_RV list(struct context *c)
{
	CK_OBJECT_HANDLE found[256];
	CK_ULONG count, total = 0;

	TRY(p11->C_FindObjectsInit(c->session, NULL, 0));
	do {
		TRY(p11->C_FindObjects(c->session, found, LENGTH(found), &count));
		for (CK_ULONG i = 0; i < count; i++) {
			CK_OBJECT_CLASS class;
			CK_ATTRIBUTE three[] = {
				{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, c->data, sizeof c->data}, {CKA_ID, c->out, sizeof c->out}};

			TRY(p11->C_GetAttributeValue(c->session, found[i], three, LENGTH(three)));
		}
		total += count;
	} while (count > 0);
	TRY(p11->C_FindObjectsFinal(c->session));
	return total >= many ? CKR_OK : CKR_GENERAL_ERROR;
}

static const struct operation operations[] = {
	{"round-trip", NULL, 0, NULL, round_trip},
	{"p256-sign", "bench-p256", CKO_PRIVATE_KEY, NULL, p256_sign},
	{"p384-sign", "bench-p384", CKO_PRIVATE_KEY, NULL, p384_sign},
	{"ed25519-sign", "bench-ed25519", CKO_PRIVATE_KEY, NULL, ed25519_sign},
	{"rsa2048-sign", "bench-rsa", CKO_PRIVATE_KEY, NULL, rsa_sign},
	{"rsa2048-pss", "bench-rsa", CKO_PRIVATE_KEY, NULL, pss_sign},
	{"rsa2048-oaep", "bench-rsa", CKO_PRIVATE_KEY, oaep_first, oaep_decrypt},
	{"ecdh", "bench-p256", CKO_PRIVATE_KEY, ecdh_first, ecdh},
	{"find-label", NULL, 0, NULL, find_label},
	{"list", NULL, 0, NULL, list},
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
	{"digest-256", NULL, 0, NULL, digest_256},
	{"digest-1m", NULL, 0, allocate, digest_1m},
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
