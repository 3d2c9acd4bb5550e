/* A child whose environment was cleared finds the daemon that its parent was told of.
 * Arguments: module, token's label; with "string" third, the parent is told by pReserved, given fourth.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

static void see(CK_FUNCTION_LIST_3_2 *f, const char *label)
{
	CK_SLOT_ID slots[16];
	CK_ULONG count = 16;
	CK_TOKEN_INFO info;

	EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		EXPECT(f->C_GetTokenInfo(slots[i], &info), CKR_OK);
		if (strncmp((char *)info.label, label, strlen(label)) == 0)
			return;
	}
	FAIL("none of %lu tokens is %s", count, label);
}

int main(int argc, char **argv)
{
	CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
	CK_FUNCTION_LIST_3_2 *f;
	pid_t child;

	CHECK(argc == 3 || argc == 5);
	if (argc == 5)
		arguments.pReserved = argv[4];
	f = load(argv[1], RTLD_LOCAL);
	EXPECT(f->C_Initialize(&arguments), CKR_OK);
	see(f, argv[2]);
	for (int generation = 0; generation < 3; generation++) {
		child = fork();
		if (child > 0) {
			join(child);
			see(f, argv[2]);
			return 0;
		}
		/* As nginx does before its workers. */
		clearenv();
		EXPECT(f->C_Initialize(NULL), CKR_OK);
		see(f, argv[2]);
		/* Not only the first time. */
		EXPECT(f->C_Finalize(NULL), CKR_OK);
		EXPECT(f->C_Initialize(NULL), CKR_OK);
		see(f, argv[2]);
	}
	return 0;
}
