/* Forks while other threads are in the module, also from threads that use it. Arguments: module, forks.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

enum { THREADS = 8 };

static CK_FUNCTION_LIST_3_2 *f;
static atomic_bool done;
static int forks;

static void use(void)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_SESSION_HANDLE session;
	CK_BYTE bytes[32];
	CK_INFO info;

	EXPECT(f->C_GetInfo(&info), CKR_OK);
	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	if (count == 0)
		return;
	EXPECT(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
	EXPECT(f->C_GenerateRandom(session, bytes, sizeof bytes), CKR_OK);
	EXPECT(f->C_CloseSession(session), CKR_OK);
}

static void fork_once(void)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		live_again(f, NULL);
		use();
		EXPECT(f->C_Finalize(NULL), CKR_OK);
		exit(0);
	}
	join(child);
}

static void *user(void *unused)
{
	(void)unused;
	while (!atomic_load(&done))
		use();
	return NULL;
}

static void *forker(void *unused)
{
	(void)unused;
	use();
	for (int i = 0; i < forks; i++)
		fork_once();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t users[THREADS], forker_thread;

	CHECK(argc == 3);
	forks = atoi(argv[2]);
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&users[i], NULL, user, NULL) == 0);
	CHECK(pthread_create(&forker_thread, NULL, forker, NULL) == 0);
	for (int i = 0; i < forks; i++)
		fork_once();
	CHECK(pthread_join(forker_thread, NULL) == 0);
	atomic_store(&done, true);
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_join(users[i], NULL) == 0);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
