/* Makes ML-DSA pairs, signs and verifies with and without a context, and does what must be refused. Arguments: module, token's
 * label, user PIN, then "all" if the token's provider makes each variant that CK_SIGN_ADDITIONAL_CONTEXT can ask for.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

static CK_FUNCTION_LIST_3_2 *f;
static CK_SESSION_HANDLE session;
static CK_BBOOL yes = CK_TRUE;
static CK_BYTE message[20000], signature[5000], other[5000];

static void open_session(const char *label, const char *pin)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;

	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		EXPECT(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
		if (memcmp(info.label, label, strlen(label)) != 0 || info.label[strlen(label)] != ' ')
			continue;
		CK_MECHANISM_INFO about;
		EXPECT(f->C_GetMechanismInfo(slots[i], CKM_ML_DSA, &about), CKR_OK);
		CHECK(about.ulMinKeySize == 1312 && about.ulMaxKeySize == 2592);
		CHECK((about.flags & (CKF_SIGN | CKF_VERIFY)) == (CKF_SIGN | CKF_VERIFY));
		EXPECT(f->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
		EXPECT(f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)), CKR_OK);
		return;
	}
	FAIL("none of %lu tokens is %s", count, label);
}

static CK_ULONG number(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_ULONG value = 0;
	CK_ATTRIBUTE attribute = {type, &value, sizeof value};

	EXPECT(f->C_GetAttributeValue(session, object, &attribute, 1), CKR_OK);
	return value;
}

static CK_ULONG length_of(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_ATTRIBUTE attribute = {type, NULL, 0};

	EXPECT(f->C_GetAttributeValue(session, object, &attribute, 1), CKR_OK);
	return attribute.ulValueLen;
}

static CK_RV pair(CK_ULONG set, CK_OBJECT_HANDLE *public, CK_OBJECT_HANDLE *private)
{
	CK_MECHANISM mechanism = {CKM_ML_DSA_KEY_PAIR_GEN, NULL, 0};
	CK_ATTRIBUTE open[] = {{CKA_PARAMETER_SET, &set, sizeof set}, {CKA_TOKEN, &yes, 1}, {CKA_VERIFY, &yes, 1}};
	CK_ATTRIBUTE closed[] = {{CKA_TOKEN, &yes, 1}, {CKA_SIGN, &yes, 1}};

	return f->C_GenerateKeyPair(session, &mechanism, open, 3, closed, 2, public, private);
}

static CK_RV sign(CK_OBJECT_HANDLE key, CK_MECHANISM *mechanism, CK_ULONG size, CK_BYTE *out, CK_ULONG *length)
{
	CK_RV rv = f->C_SignInit(session, mechanism, key);

	return rv != CKR_OK ? rv : f->C_Sign(session, message, size, out, length);
}

static CK_RV verify(CK_OBJECT_HANDLE key, CK_MECHANISM *mechanism, CK_ULONG size, CK_BYTE *in, CK_ULONG length)
{
	CK_RV rv = f->C_VerifyInit(session, mechanism, key);

	return rv != CKR_OK ? rv : f->C_Verify(session, message, size, in, length);
}

/* One parameter set: attributes, sizes, messages, contexts, damage. */
static void prove(CK_ULONG set, CK_ULONG public_size, CK_ULONG signature_size, bool all)
{
	static const CK_ULONG sizes[] = {0, 1, 4096, 4097, sizeof message};
	CK_BYTE long_context[256] = {7};
	CK_SIGN_ADDITIONAL_CONTEXT context = {CKH_HEDGE_PREFERRED, (CK_BYTE_PTR) "context", 7};
	CK_MECHANISM plain = {CKM_ML_DSA, NULL, 0}, with = {CKM_ML_DSA, &context, sizeof context};
	CK_ATTRIBUTE secret = {CKA_SEED, NULL, 0};
	CK_OBJECT_HANDLE public, private;
	CK_ULONG length = 0;

	EXPECT(pair(set, &public, &private), CKR_OK);
	CHECK(number(public, CKA_KEY_TYPE) == CKK_ML_DSA && number(private, CKA_KEY_TYPE) == CKK_ML_DSA);
	CHECK(number(public, CKA_PARAMETER_SET) == set && number(private, CKA_PARAMETER_SET) == set);
	CHECK(number(private, CKA_KEY_GEN_MECHANISM) == CKM_ML_DSA_KEY_PAIR_GEN);
	CHECK(length_of(public, CKA_VALUE) == public_size);
	CHECK(length_of(private, CKA_PUBLIC_KEY_INFO) == public_size + 22);
	CHECK(length_of(public, CKA_ID) == 20 && length_of(private, CKA_ID) == 20);
	EXPECT(f->C_GetAttributeValue(session, private, &secret, 1), CKR_ATTRIBUTE_SENSITIVE);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		EXPECT(f->C_SignInit(session, &plain, private), CKR_OK);
		EXPECT(f->C_Sign(session, message, sizes[i], NULL, &length), CKR_OK);
		CHECK(length == signature_size);
		length--;
		EXPECT(f->C_Sign(session, message, sizes[i], signature, &length), CKR_BUFFER_TOO_SMALL);
		length = sizeof signature;
		EXPECT(f->C_Sign(session, message, sizes[i], signature, &length), CKR_OK);
		CHECK(length == signature_size);
		EXPECT(verify(public, &plain, sizes[i], signature, length), CKR_OK);
	}
	/* In parts, and with another context. */
	EXPECT(f->C_SignInit(session, &with, private), CKR_OK);
	EXPECT(f->C_SignUpdate(session, message, 5000), CKR_OK);
	EXPECT(f->C_SignUpdate(session, message + 5000, 5000), CKR_OK);
	length = sizeof signature;
	EXPECT(f->C_SignFinal(session, signature, &length), CKR_OK);
	EXPECT(verify(public, &with, 10000, signature, length), CKR_OK);
	EXPECT(verify(public, &plain, 10000, signature, length), CKR_SIGNATURE_INVALID);
	EXPECT(verify(public, &with, 9999, signature, length), CKR_SIGNATURE_INVALID);
	EXPECT(verify(public, &with, 10000, signature, length - 1), CKR_SIGNATURE_LEN_RANGE);
	signature[100] ^= 1;
	EXPECT(verify(public, &with, 10000, signature, length), CKR_SIGNATURE_INVALID);
	context.pContext = long_context;
	context.ulContextLen = 255;
	EXPECT(sign(private, &with, 10, signature, &length), CKR_OK);
	EXPECT(verify(public, &with, 10, signature, length), CKR_OK);
	/* What must be refused. */
	context.ulContextLen = 256;
	EXPECT(sign(private, &with, 10, signature, &length), CKR_MECHANISM_PARAM_INVALID);
	EXPECT(verify(public, &with, 10, signature, length), CKR_MECHANISM_PARAM_INVALID);
	context.ulContextLen = 0;
	context.hedgeVariant = 3;
	EXPECT(sign(private, &with, 10, signature, &length), CKR_MECHANISM_PARAM_INVALID);
	with.ulParameterLen--;
	EXPECT(sign(private, &with, 10, signature, &length), CKR_MECHANISM_PARAM_INVALID);
	with.ulParameterLen++;
	EXPECT(f->C_SignInit(session, &plain, public), CKR_KEY_FUNCTION_NOT_PERMITTED);
	EXPECT(f->C_VerifyInit(session, &plain, private), CKR_KEY_FUNCTION_NOT_PERMITTED);
	plain.mechanism = CKM_ECDSA;
	EXPECT(f->C_SignInit(session, &plain, private), CKR_KEY_TYPE_INCONSISTENT);
	/* Deterministic signatures are the same twice; who cannot make them says so. */
	context.hedgeVariant = CKH_DETERMINISTIC_REQUIRED;
	if (all) {
		CK_ULONG length_too = sizeof other;

		EXPECT(sign(private, &with, 10, signature, &length), CKR_OK);
		EXPECT(sign(private, &with, 10, other, &length_too), CKR_OK);
		CHECK(memcmp(signature, other, length) == 0);
		context.hedgeVariant = CKH_HEDGE_REQUIRED;
		EXPECT(sign(private, &with, 10, signature, &length), CKR_OK);
		CHECK(memcmp(signature, other, length) != 0);
	} else {
		EXPECT(sign(private, &with, 10, signature, &length), CKR_MECHANISM_PARAM_INVALID);
	}
}

/* A key of the application's own, of which it has the seed. */
static void create(void)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_KEY_TYPE type = CKK_ML_DSA;
	CK_ULONG set = CKP_ML_DSA_65, length = sizeof signature;
	CK_BYTE seed[32] = {1, 2, 3}, told[32], value[4032] = {0};
	CK_BBOOL no = CK_FALSE;
	CK_MECHANISM plain = {CKM_ML_DSA, NULL, 0};
	CK_OBJECT_HANDLE key;
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
		{CKA_PARAMETER_SET, &set, sizeof set}, {CKA_SIGN, &yes, 1}, {CKA_SENSITIVE, &no, 1},
		{CKA_EXTRACTABLE, &yes, 1}, {CKA_SEED, seed, sizeof seed}, {CKA_VALUE, value, sizeof value}};
	CK_ATTRIBUTE back = {CKA_SEED, told, sizeof told};

	EXPECT(f->C_CreateObject(session, template, 7, &key), CKR_OK);
	EXPECT(f->C_GetAttributeValue(session, key, &back, 1), CKR_OK);
	CHECK(memcmp(seed, told, sizeof seed) == 0);
	EXPECT(sign(key, &plain, 100, signature, &length), CKR_OK);
	CHECK(length == 3309);
	/* An expanded key that is not this seed's, a seed too short, no seed, no such parameter set. */
	EXPECT(f->C_CreateObject(session, template, 8, &key), CKR_ATTRIBUTE_VALUE_INVALID);
	template[6].ulValueLen = 31;
	EXPECT(f->C_CreateObject(session, template, 7, &key), CKR_ATTRIBUTE_VALUE_INVALID);
	EXPECT(f->C_CreateObject(session, template, 6, &key), CKR_TEMPLATE_INCOMPLETE);
	template[6].ulValueLen = 32;
	set = 4;
	EXPECT(f->C_CreateObject(session, template, 7, &key), CKR_PARAMETER_SET_NOT_SUPPORTED);
}

int main(int argc, char **argv)
{
	CK_OBJECT_HANDLE public, private;
	CK_MECHANISM mechanism = {CKM_ML_DSA_KEY_PAIR_GEN, NULL, 0};

	CHECK(argc == 5);
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	open_session(argv[2], argv[3]);
	for (size_t i = 0; i < sizeof message; i++)
		message[i] = (CK_BYTE)(i * 31);
	prove(CKP_ML_DSA_44, 1312, 2420, strcmp(argv[4], "all") == 0);
	prove(CKP_ML_DSA_65, 1952, 3309, strcmp(argv[4], "all") == 0);
	prove(CKP_ML_DSA_87, 2592, 4627, strcmp(argv[4], "all") == 0);
	EXPECT(pair(4, &public, &private), CKR_PARAMETER_SET_NOT_SUPPORTED);
	EXPECT(f->C_GenerateKeyPair(session, &mechanism, NULL, 0, NULL, 0, &public, &private), CKR_TEMPLATE_INCOMPLETE);
	create();
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
