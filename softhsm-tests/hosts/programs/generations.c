/* Forks again and again, each child from the last, and initialises in each.
 * Arguments: module, generations, "before" or "after" the parent's C_Initialize, "local" or "global".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

/* What hosts really pass in children: nothing (nginx), no flags (libp11 0.4.12), nonsense. */
static CK_RV never(CK_VOID_PTR_PTR mutex)
{
	(void)mutex;
	return CKR_GENERAL_ERROR;
}

int main(int argc, char **argv)
{
	CK_C_INITIALIZE_ARGS empty = {0}, locking = {.flags = CKF_OS_LOCKING_OK};
	CK_C_INITIALIZE_ARGS contradictory = {.CreateMutex = never, .pReserved = "configdir='/'"};
	void *arguments[] = {NULL, &empty, &locking, &contradictory};
	CK_FUNCTION_LIST_3_2 *f;
	const pid_t first = getpid();
	CK_ULONG count = 0;
	CK_INFO info;
	int generations;
	pid_t child = 0;

	CHECK(argc == 5);
	generations = atoi(argv[2]);
	f = load(argv[1], strcmp(argv[4], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL);
	if (strcmp(argv[3], "after") == 0)
		live_again(f, NULL);
	for (int generation = 0; generation < generations; generation++) {
		child = fork();
		CHECK(child >= 0);
		if (child > 0)
			break;
		live_again(f, arguments[generation % 4]);
	}
	if (child > 0)
		join(child);
	/* Each generation goes on as if its child had not been, the first too. */
	if (f->C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED) {
		CHECK(strcmp(argv[3], "before") == 0 && getpid() == first);
		live_again(f, NULL);
	}
	EXPECT(f->C_GetSlotList(CK_FALSE, NULL, &count), CKR_OK);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	EXPECT(f->C_Initialize(NULL), CKR_OK);
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	return 0;
}
