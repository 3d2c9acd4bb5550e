/* The keys and objects that the operations use.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "operations.h"

#include <stdio.h>
#include <string.h>

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static unsigned char p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
static unsigned char p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};
static unsigned char ed25519[] = {0x06, 0x03, 0x2b, 0x65, 0x70};

static CK_RV make_pair(CK_SESSION_HANDLE session, const char *label, CK_MECHANISM_TYPE type, CK_ATTRIBUTE kind, CK_ATTRIBUTE_TYPE also)
{
	CK_MECHANISM mechanism = {type, NULL, 0};
	CK_ATTRIBUTE public[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, (void *)label, strlen(label)}, {CKA_ID, (void *)label, strlen(label)},
		{CKA_VERIFY, &yes, sizeof yes}, {CKA_PRIVATE, &no, sizeof no}, kind,
		{CKA_ENCRYPT, also == CKA_DECRYPT ? &yes : &no, sizeof yes},
	};
	CK_ATTRIBUTE private[] = {
		{CKA_TOKEN, &yes, sizeof yes}, {CKA_LABEL, (void *)label, strlen(label)}, {CKA_ID, (void *)label, strlen(label)},
		{CKA_SIGN, &yes, sizeof yes}, {CKA_PRIVATE, &yes, sizeof yes}, {CKA_SENSITIVE, &yes, sizeof yes},
		{also, &yes, sizeof yes},
	};
	CK_OBJECT_HANDLE made[2];

	return p11->C_GenerateKeyPair(session, &mechanism, public, LENGTH(public), private, LENGTH(private) - (also == CKA_SIGN), &made[0], &made[1]);
}

static CK_RV make_ec(CK_SESSION_HANDLE session, const char *label, unsigned char *curve, CK_ULONG length, CK_ATTRIBUTE_TYPE also)
{
	CK_MECHANISM_TYPE type = curve == ed25519 ? CKM_EC_EDWARDS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN;

	return make_pair(session, label, type, (CK_ATTRIBUTE){CKA_EC_PARAMS, curve, length}, also);
}

static CK_RV make_rsa(CK_SESSION_HANDLE session, const char *label)
{
	CK_ULONG bits = 2048;

	return make_pair(session, label, CKM_RSA_PKCS_KEY_PAIR_GEN, (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits}, CKA_DECRYPT);
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

void item_label(char *label, unsigned long number) { snprintf(label, ITEM_LENGTH + 1, "item-%07lu", number % 10000000); }

/* Makes the public key of bench-p256 again under many names. A search compares labels, whatever the object is. */
static CK_RV make_items(CK_SESSION_HANDLE session, unsigned long count)
{
	CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	CK_KEY_TYPE type = CKK_EC;
	unsigned char point[128];
	CK_ATTRIBUTE read = {CKA_EC_POINT, point, sizeof point};
	char label[ITEM_LENGTH + 1];
	CK_OBJECT_HANDLE key, made;

	TRY(find(session, "bench-p256", CKO_PUBLIC_KEY, &key));
	TRY(p11->C_GetAttributeValue(session, key, &read, 1));
	for (unsigned long i = 0; i < count; i++) {
		CK_ATTRIBUTE template[] = {
			{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &yes, sizeof yes},
			{CKA_PRIVATE, &no, sizeof no}, {CKA_LABEL, label, ITEM_LENGTH}, {CKA_ID, label, ITEM_LENGTH},
			{CKA_VERIFY, &yes, sizeof yes}, {CKA_EC_PARAMS, p256, sizeof p256}, {CKA_EC_POINT, point, read.ulValueLen},
		};

		item_label(label, i);
		TRY(p11->C_CreateObject(session, template, LENGTH(template), &made));
	}
	return CKR_OK;
}

CK_RV operations_setup_tls(CK_SESSION_HANDLE session)
{
	TRY(make_rsa(session, "bench-rsa"));
	return make_ec(session, "bench-p256", p256, sizeof p256, CKA_SIGN);
}

CK_RV operations_setup(CK_SESSION_HANDLE session, unsigned long items)
{
	TRY(make_rsa(session, "bench-rsa"));
	TRY(make_ec(session, "other", p256, sizeof p256, CKA_SIGN));
	TRY(make_ec(session, "bench-p256", p256, sizeof p256, CKA_DERIVE));
	TRY(make_ec(session, "bench-p384", p384, sizeof p384, CKA_SIGN));
	TRY(make_ec(session, "bench-ed25519", ed25519, sizeof ed25519, CKA_SIGN));
	TRY(make_secret(session, "bench-aes", CKM_AES_KEY_GEN, CKA_ENCRYPT));
	TRY(make_secret(session, "bench-hmac", CKM_GENERIC_SECRET_KEY_GEN, CKA_SIGN));
	return make_items(session, items);
}
