/* Pointers that point nowhere beside a length of 0, as Rust's empty slices and Java's empty arrays are passed. Each call
 * comes from a fresh thread, whose Go stack has yet to grow: that is when Go looks at every pointer on it.
 * Arguments: module, user PIN.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#define NOWHERE ((void *)1)

static CK_FUNCTION_LIST_3_2 *f;
static CK_SESSION_HANDLE session;

static const CK_BYTE empty_sha256[] = {
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

static void *create(void *unused)
{
	CK_OBJECT_CLASS class = CKO_DATA;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, 1}, {CKA_LABEL, "empty", 5}, {CKA_VALUE, NOWHERE, 0}};
	CK_ATTRIBUTE value = {CKA_VALUE, NOWHERE, 0};
	CK_OBJECT_HANDLE object;

	EXPECT(f->C_CreateObject(session, template, 4, &object), CKR_OK);
	EXPECT(f->C_GetAttributeValue(session, object, &value, 1), CKR_OK);
	CHECK(value.ulValueLen == 0);
	EXPECT(f->C_DestroyObject(session, object), CKR_OK);
	return unused;
}

static void *digest(void *unused)
{
	CK_MECHANISM mechanism = {CKM_SHA256, NOWHERE, 0};
	CK_BYTE out[32];
	CK_ULONG length = 0;

	EXPECT(f->C_DigestInit(session, &mechanism), CKR_OK);
	EXPECT(f->C_DigestUpdate(session, NOWHERE, 0), CKR_OK);
	/* A buffer without room is no size query. */
	EXPECT(f->C_DigestFinal(session, NOWHERE, &length), CKR_BUFFER_TOO_SMALL);
	CHECK(length == sizeof out);
	EXPECT(f->C_DigestFinal(session, out, &length), CKR_OK);
	CHECK(memcmp(out, empty_sha256, sizeof out) == 0);
	EXPECT(f->C_DigestInit(session, &mechanism), CKR_OK);
	EXPECT(f->C_Digest(session, NOWHERE, 0, out, &length), CKR_OK);
	CHECK(memcmp(out, empty_sha256, sizeof out) == 0);
	return unused;
}

static void *find(void *unused)
{
	CK_ATTRIBUTE template = {CKA_ID, NOWHERE, 0};
	CK_OBJECT_HANDLE objects[4];
	CK_ULONG count;

	EXPECT(f->C_FindObjectsInit(session, NOWHERE, 0), CKR_OK);
	EXPECT(f->C_FindObjects(session, objects, 4, &count), CKR_OK);
	EXPECT(f->C_FindObjectsFinal(session), CKR_OK);
	EXPECT(f->C_FindObjectsInit(session, &template, 1), CKR_OK);
	EXPECT(f->C_FindObjectsFinal(session), CKR_OK);
	return unused;
}

static void *random_bytes(void *unused)
{
	CK_RV rv = f->C_SeedRandom(session, NOWHERE, 0);

	CHECK(rv == CKR_OK || rv == CKR_RANDOM_SEED_NOT_SUPPORTED);
	EXPECT(f->C_GenerateRandom(session, NOWHERE, 0), CKR_OK);
	/* A length that is not 0 is wrong, but no end. */
	CHECK(f->C_GenerateRandom(session, NOWHERE, 32) != CKR_OK);
	return unused;
}

static void *open_and_close(void *unused)
{
	CK_SESSION_INFO info;
	CK_SESSION_HANDLE other;

	EXPECT(f->C_GetSessionInfo(session, &info), CKR_OK);
	/* What the application puts into pApplication is its own affair. */
	EXPECT(f->C_OpenSession(info.slotID, CKF_SERIAL_SESSION, NOWHERE, (CK_NOTIFY)(uintptr_t)NOWHERE, &other), CKR_OK);
	EXPECT(f->C_CloseSession(other), CKR_OK);
	return unused;
}

int main(int argc, char **argv)
{
	static void *(*const calls[])(void *) = {create, digest, find, random_bytes, open_and_close};
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;

	CHECK(argc == 3);
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		EXPECT(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
		if (info.flags & CKF_TOKEN_INITIALIZED)
			EXPECT(f->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
	}
	EXPECT(f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)argv[2], strlen(argv[2])), CKR_OK);
	for (int round = 0; round < 20; round++)
		for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
			pthread_t thread;

			CHECK(pthread_create(&thread, NULL, calls[i], NULL) == 0);
			CHECK(pthread_join(thread, NULL) == 0);
		}
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
