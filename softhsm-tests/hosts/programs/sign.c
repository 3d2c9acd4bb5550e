/* Signs in the parent, in children and grandchildren, while others do too; each result is verified with the public
 * key, and differs from the others. Arguments: module, user PIN, generations.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <dirent.h>
#include <sys/stat.h>

enum { THREADS = 4, SIGNATURES = 10 };

static CK_FUNCTION_LIST_3_2 *f;
static const char *pin;
static const CK_BYTE curve[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

static CK_SESSION_HANDLE open_session(void)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_SESSION_HANDLE session;

	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		CK_TOKEN_INFO info;

		EXPECT(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
		if (!(info.flags & CKF_TOKEN_INITIALIZED))
			continue;
		EXPECT(f->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
		return session;
	}
	FAIL("none of %lu tokens is initialised", count);
}

static CK_OBJECT_HANDLE find(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class)
{
	CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, "host", 4}};
	CK_OBJECT_HANDLE object;
	CK_ULONG count = 0;

	EXPECT(f->C_FindObjectsInit(session, template, 2), CKR_OK);
	EXPECT(f->C_FindObjects(session, &object, 1, &count), CKR_OK);
	EXPECT(f->C_FindObjectsFinal(session), CKR_OK);
	CHECK(count == 1);
	return object;
}

static void generate(void)
{
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE public[] = {
		{CKA_EC_PARAMS, (void *)curve, sizeof curve}, {CKA_TOKEN, &yes, 1}, {CKA_VERIFY, &yes, 1}, {CKA_LABEL, "host", 4}};
	CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1}, {CKA_SIGN, &yes, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_LABEL, "host", 4}};
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	CK_OBJECT_HANDLE one, other;

	EXPECT(f->C_GenerateKeyPair(open_session(), &mechanism, public, 4, private, 4, &one, &other), CKR_OK);
}

static void *sign(void *unused)
{
	CK_MECHANISM mechanism = {CKM_ECDSA_SHA256, NULL, 0};
	CK_SESSION_HANDLE session = open_session();
	CK_OBJECT_HANDLE private = find(session, CKO_PRIVATE_KEY), public = find(session, CKO_PUBLIC_KEY);
	CK_BYTE data[100] = {0}, signature[64], last[64] = {0};

	(void)unused;
	for (int i = 0; i < SIGNATURES; i++) {
		CK_ULONG length = 0;

		EXPECT(f->C_SignInit(session, &mechanism, private), CKR_OK);
		EXPECT(f->C_Sign(session, data, sizeof data, NULL, &length), CKR_OK);
		CHECK(length == 64);
		length = 63;
		EXPECT(f->C_Sign(session, data, sizeof data, signature, &length), CKR_BUFFER_TOO_SMALL);
		CHECK(length == 64);
		EXPECT(f->C_Sign(session, data, sizeof data, signature, &length), CKR_OK);
		CHECK(memcmp(signature, last, 64) != 0);
		memcpy(last, signature, 64);
		EXPECT(f->C_VerifyInit(session, &mechanism, public), CKR_OK);
		EXPECT(f->C_Verify(session, data, sizeof data, signature, 64), CKR_OK);
		signature[40] ^= 1;
		EXPECT(f->C_VerifyInit(session, &mechanism, public), CKR_OK);
		EXPECT(f->C_Verify(session, data, sizeof data, signature, 64), CKR_SIGNATURE_INVALID);
	}
	EXPECT(f->C_CloseSession(session), CKR_OK);
	return NULL;
}

static void sign_in_threads(void)
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&threads[i], NULL, sign, NULL) == 0);
	sign(NULL);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

static int sockets(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	struct stat status;
	int count = 0;

	CHECK(directory != NULL);
	while ((entry = readdir(directory)))
		if (entry->d_name[0] != '.' && fstat(atoi(entry->d_name), &status) == 0 && S_ISSOCK(status.st_mode))
			count++;
	closedir(directory);
	return count;
}

static void login(void)
{
	EXPECT(f->C_Login(open_session(), CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)), CKR_OK);
}

int main(int argc, char **argv)
{
	int generations, own;
	pid_t child = 0;

	CHECK(argc == 4);
	own = sockets();
	pin = argv[2];
	generations = atoi(argv[3]);
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	login();
	generate();
	sign_in_threads();
	CHECK(sockets() > own);
	for (int generation = 0; generation < generations; generation++) {
		/* Two at a time: their connections must not meet. */
		pid_t twin = fork();

		if (twin != 0)
			child = fork();
		if (twin > 0 && child > 0) {
			sign_in_threads();
			join(twin);
			join(child);
			sign_in_threads();
			EXPECT(f->C_Finalize(NULL), CKR_OK);
			CHECK(sockets() == own);
			return 0;
		}
		CHECK(sockets() == own);
		EXPECT(f->C_GetSessionInfo(1, NULL), CKR_CRYPTOKI_NOT_INITIALIZED);
		EXPECT(f->C_Initialize(NULL), CKR_OK);
		login();
		sign_in_threads();
		if (twin == 0)
			_exit(0);
	}
	return 0;
}
