/* Threads race for C_Initialize and C_Finalize while others call: one wins each, nobody crashes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

enum { RACERS = 16, CALLERS = 4, ROUNDS = 50 };

static CK_FUNCTION_LIST_3_2 *f;
static pthread_barrier_t start, finish;
static atomic_int winners;
static atomic_bool done;

static void *racer(void *unused)
{
	CK_C_INITIALIZE_ARGS locking = {.flags = CKF_OS_LOCKING_OK};

	(void)unused;
	for (int round = 0; round < 2 * ROUNDS; round++) {
		CK_RV rv;

		pthread_barrier_wait(&start);
		rv = round % 2 ? f->C_Finalize(NULL) : f->C_Initialize(&locking);
		if (rv == CKR_OK)
			atomic_fetch_add(&winners, 1);
		else
			CHECK(rv == (round % 2 ? CKR_CRYPTOKI_NOT_INITIALIZED : CKR_CRYPTOKI_ALREADY_INITIALIZED));
		if (pthread_barrier_wait(&finish) == PTHREAD_BARRIER_SERIAL_THREAD)
			CHECK(atomic_exchange(&winners, 0) == 1);
	}
	return NULL;
}

/* Without any order: only crashes and hangs are wrong. */
static void *jumper(void *unused)
{
	(void)unused;
	for (int i = 0; i < 20 * ROUNDS; i++) {
		CK_RV rv = i % 2 ? f->C_Finalize(NULL) : f->C_Initialize(NULL);

		CHECK(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
	}
	return NULL;
}

static void *caller(void *unused)
{
	CK_SLOT_ID slots[16];
	CK_SESSION_HANDLE session;
	CK_ULONG count;
	CK_INFO info;

	(void)unused;
	while (!atomic_load(&done)) {
		CK_RV rv = f->C_GetInfo(&info);

		CHECK(rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED);
		count = 16;
		rv = f->C_GetSlotList(CK_TRUE, slots, &count);
		CHECK(rv != CKR_GENERAL_ERROR);
		if (rv == CKR_OK && count > 0) {
			rv = f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session);
			CHECK(rv != CKR_GENERAL_ERROR);
			if (rv == CKR_OK)
				CHECK(f->C_CloseSession(session) != CKR_GENERAL_ERROR);
		}
	}
	return NULL;
}

static void run(void *(*what)(void *))
{
	pthread_t racers[RACERS], callers[CALLERS];

	atomic_store(&done, false);
	for (int i = 0; i < CALLERS; i++)
		CHECK(pthread_create(&callers[i], NULL, caller, NULL) == 0);
	for (int i = 0; i < RACERS; i++)
		CHECK(pthread_create(&racers[i], NULL, what, NULL) == 0);
	for (int i = 0; i < RACERS; i++)
		CHECK(pthread_join(racers[i], NULL) == 0);
	atomic_store(&done, true);
	for (int i = 0; i < CALLERS; i++)
		CHECK(pthread_join(callers[i], NULL) == 0);
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	f = load(argv[1], RTLD_LOCAL);
	CHECK(pthread_barrier_init(&start, NULL, RACERS) == 0 && pthread_barrier_init(&finish, NULL, RACERS) == 0);
	run(racer);
	run(jumper);
	return 0;
}
