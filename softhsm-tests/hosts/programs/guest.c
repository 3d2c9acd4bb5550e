/* What the module costs a host: threads, memory, and at rest no processor. The host uses it from 16 threads, which end,
 * and looks at itself before and after. Arguments: module, user PIN.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <sys/resource.h>

enum { CALLERS = 16, SIGNATURES = 200 };

/* The ceilings that docs/performance.md promises. */
enum { MOST_THREADS = 12, MOST_KILOBYTES = 20 << 10 };
/* At rest: what a thread that wakes every 10 ms would far exceed. */
enum { REST_SECONDS = 5, MOST_WAKE_UPS = 50, MOST_MICROSECONDS = 50000 };

static CK_FUNCTION_LIST_3_2 *f;
static CK_SLOT_ID slot;
static const CK_BYTE curve[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

static long status(const char *name)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[200];
	long value = -1;

	CHECK(file != NULL);
	while (value < 0 && fgets(line, sizeof line, file))
		if (strncmp(line, name, strlen(name)) == 0)
			value = atol(line + strlen(name) + 1);
	fclose(file);
	CHECK(value >= 0);
	return value;
}

static long microseconds(const struct rusage *u)
{
	return (long)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000 + (long)(u->ru_utime.tv_usec + u->ru_stime.tv_usec);
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE session;

	EXPECT(f->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
	return session;
}

static CK_OBJECT_HANDLE private;

static void *sign(void *unused)
{
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	CK_SESSION_HANDLE session = open_session();
	CK_BYTE digest[32] = {0}, signature[64];

	(void)unused;
	for (int i = 0; i < SIGNATURES; i++) {
		CK_ULONG length = sizeof signature;

		EXPECT(f->C_SignInit(session, &mechanism, private), CKR_OK);
		EXPECT(f->C_Sign(session, digest, sizeof digest, signature, &length), CKR_OK);
	}
	EXPECT(f->C_CloseSession(session), CKR_OK);
	return NULL;
}

static void login_and_generate(const char *pin)
{
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE public_key[] = {{CKA_EC_PARAMS, (void *)curve, sizeof curve}, {CKA_TOKEN, &yes, 1}};
	CK_ATTRIBUTE private_key[] = {{CKA_TOKEN, &yes, 1}, {CKA_SIGN, &yes, 1}};
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_OBJECT_HANDLE public;
	CK_SESSION_HANDLE session;

	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	CHECK(count > 0);
	slot = slots[0];
	session = open_session();
	EXPECT(f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)pin, strlen(pin)), CKR_OK);
	EXPECT(f->C_GenerateKeyPair(session, &mechanism, public_key, 2, private_key, 2, &public, &private), CKR_OK);
}

int main(int argc, char **argv)
{
	pthread_t callers[CALLERS];
	struct rusage before, after;
	long kilobytes, wake_ups, used;

	CHECK(argc == 3);
	/* Memory that the threads' own stacks and the C library take is not the module's: it is there before. */
	kilobytes = status("VmRSS:");
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	login_and_generate(argv[2]);
	for (int i = 0; i < CALLERS; i++)
		CHECK(pthread_create(&callers[i], NULL, sign, NULL) == 0);
	for (int i = 0; i < CALLERS; i++)
		CHECK(pthread_join(callers[i], NULL) == 0);

	/* What has just been used may still be looked after for some seconds. */
	sleep(REST_SECONDS);
	CHECK(getrusage(RUSAGE_SELF, &before) == 0);
	sleep(REST_SECONDS);
	CHECK(getrusage(RUSAGE_SELF, &after) == 0);
	wake_ups = after.ru_nvcsw - before.ru_nvcsw;
	used = microseconds(&after) - microseconds(&before);
	kilobytes = status("VmRSS:") - kilobytes;
	if (status("Threads:") - 1 > MOST_THREADS)
		FAIL("the module has %ld threads at rest, want at most %d", status("Threads:") - 1, MOST_THREADS);
	if (kilobytes > MOST_KILOBYTES)
		FAIL("the module takes %ld KB of resident memory, want at most %d", kilobytes, MOST_KILOBYTES);
	if (wake_ups > MOST_WAKE_UPS || used > MOST_MICROSECONDS)
		FAIL("the module wakes %ld times and uses %ld us in %d s of rest", wake_ups, used, REST_SECONDS);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
