/* Chooses the provider of new keys by CKA_ANYHSM_PROVIDER and reads it back. The token's own provider is "software"; its
 * rules allow "hsm" on request. Arguments: module, user PIN.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include "anyhsm.h"

static CK_FUNCTION_LIST_3_2 *f;
static CK_SESSION_HANDLE session;
static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static void open_session(const char *pin)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;

	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		EXPECT(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
		if (!(info.flags & CKF_TOKEN_INITIALIZED))
			continue;
		EXPECT(f->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
		EXPECT(f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)), CKR_OK);
		return;
	}
	FAIL("none of %lu tokens is initialised", count);
}

/* The key is in this provider, says so, and lets nobody change that. */
static void check(CK_OBJECT_HANDLE key, const char *provider)
{
	char told[64];
	CK_ATTRIBUTE attribute = {CKA_ANYHSM_PROVIDER, NULL, 0}, other = {CKA_ANYHSM_PROVIDER, "software", 8};

	EXPECT(f->C_GetAttributeValue(session, key, &attribute, 1), CKR_OK);
	CHECK(attribute.ulValueLen == strlen(provider));
	attribute.pValue = told;
	EXPECT(f->C_GetAttributeValue(session, key, &attribute, 1), CKR_OK);
	CHECK(memcmp(told, provider, strlen(provider)) == 0);
	EXPECT(f->C_SetAttributeValue(session, key, &other, 1), CKR_ATTRIBUTE_READ_ONLY);
}

static CK_RV generate(const char *provider, CK_BBOOL *token, CK_OBJECT_HANDLE *key)
{
	CK_ULONG length = 32;
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE template[] = {{CKA_VALUE_LEN, &length, sizeof length}, {CKA_TOKEN, token, 1}, {CKA_ENCRYPT, &yes, 1},
		{CKA_ANYHSM_PROVIDER, (void *)provider, strlen(provider)}};

	return f->C_GenerateKey(session, &mechanism, template, 4, key);
}

static void generate_pair(void)
{
	static const CK_BYTE curve[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0}, sign = {CKM_ECDSA, NULL, 0};
	CK_ATTRIBUTE public[] = {{CKA_EC_PARAMS, (void *)curve, sizeof curve}, {CKA_TOKEN, &yes, 1}};
	CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1}, {CKA_SIGN, &yes, 1}, {CKA_ANYHSM_PROVIDER, "hsm", 3}};
	CK_OBJECT_HANDLE one, other;
	CK_BYTE digest[32] = {0}, signature[64];
	CK_ULONG length = sizeof signature;

	EXPECT(f->C_GenerateKeyPair(session, &mechanism, public, 2, private, 3, &one, &other), CKR_OK);
	check(other, "hsm");
	EXPECT(f->C_SignInit(session, &sign, other), CKR_OK);
	EXPECT(f->C_Sign(session, digest, sizeof digest, signature, &length), CKR_OK);
	EXPECT(f->C_VerifyInit(session, &sign, one), CKR_OK);
	EXPECT(f->C_Verify(session, digest, sizeof digest, signature, length), CKR_OK);
}

static void create(void)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BYTE value[16] = {1};
	CK_OBJECT_HANDLE key;
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_TOKEN, &yes, 1},
		{CKA_VALUE, value, sizeof value}, {CKA_ANYHSM_PROVIDER, "hsm", 3}};

	EXPECT(f->C_CreateObject(session, template, 5, &key), CKR_OK);
	check(key, "hsm");
}

int main(int argc, char **argv)
{
	CK_OBJECT_HANDLE key, found;
	CK_ULONG count = 0;
	CK_ATTRIBUTE unset = {CKA_ANYHSM_PROVIDER, NULL, 0}, where = {CKA_ANYHSM_PROVIDER, "hsm", 3};
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ULONG length = 32;
	CK_ATTRIBUTE plain[] = {{CKA_VALUE_LEN, &length, sizeof length}, {CKA_TOKEN, &yes, 1}};

	CHECK(argc == 3);
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	open_session(argv[2]);
	generate_pair();
	EXPECT(generate("hsm", &yes, &key), CKR_OK);
	check(key, "hsm");
	EXPECT(generate("software", &yes, &key), CKR_OK);
	check(key, "software");
	create();
	/* What the rules do not allow, and a session key outside of software. */
	EXPECT(generate("elsewhere", &yes, &key), CKR_ATTRIBUTE_VALUE_INVALID);
	EXPECT(generate("hsm", &no, &key), CKR_TEMPLATE_INCONSISTENT);
	/* Who did not ask is not told. */
	EXPECT(f->C_GenerateKey(session, &mechanism, plain, 2, &key), CKR_OK);
	EXPECT(f->C_GetAttributeValue(session, key, &unset, 1), CKR_ATTRIBUTE_TYPE_INVALID);
	EXPECT(f->C_FindObjectsInit(session, &where, 1), CKR_OK);
	EXPECT(f->C_FindObjects(session, &found, 1, &count), CKR_OK);
	CHECK(count == 1);
	EXPECT(f->C_FindObjectsFinal(session), CKR_OK);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
