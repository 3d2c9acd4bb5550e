/* C_GetFunctionList, C_GetInterfaceList, C_GetInterface and what they hand out.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

static void complete(const void *list, CK_BYTE major, CK_BYTE minor, size_t functions)
{
	const CK_VERSION *version = list;
	/* The functions follow the version, each a pointer. */
	void *const *function = (void *const *)((const char *)list + offsetof(CK_FUNCTION_LIST, C_Initialize));

	CHECK(version->major == major && version->minor == minor);
	for (size_t i = 0; i < functions; i++)
		if (!function[i])
			FAIL("function %zu of the %d.%d list is NULL", i, major, minor);
}

int main(int argc, char **argv)
{
	static const CK_BYTE versions[][2] = {{3, 2}, {3, 0}, {2, 40}};
	static const size_t functions[] = {104, 92, 68};
	CK_VERSION version, unknown = {3, 9};
	CK_INTERFACE list[8], *one;
	CK_FUNCTION_LIST *old;
	CK_ULONG count = 77;
	CK_FUNCTION_LIST_3_2 *f;

	CHECK(argc == 2);
	f = load(argv[1], RTLD_LOCAL);
	/* All of it works in every state, and gives the same. */
	for (int state = 0; state < 3; state++) {
		if (state == 1)
			EXPECT(f->C_Initialize(NULL), CKR_OK);
		if (state == 2) {
			pid_t child = fork();

			if (child > 0) {
				join(child);
				return 0;
			}
		}
		EXPECT(f->C_GetFunctionList(NULL), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetFunctionList(&old), CKR_OK);
		complete(old, 2, 40, 68);
		EXPECT(f->C_GetInterfaceList(NULL, NULL), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetInterfaceList(list, NULL), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetInterfaceList(NULL, &count), CKR_OK);
		CHECK(count == 3);
		count = 2;
		EXPECT(f->C_GetInterfaceList(list, &count), CKR_BUFFER_TOO_SMALL);
		CHECK(count == 3);
		count = 8;
		EXPECT(f->C_GetInterfaceList(list, &count), CKR_OK);
		CHECK(count == 3);
		for (int i = 0; i < 3; i++) {
			CHECK(strcmp((char *)list[i].pInterfaceName, "PKCS 11") == 0);
			complete(list[i].pFunctionList, versions[i][0], versions[i][1], functions[i]);
			/* A child starts anew with C_Initialize: no promise to the contrary. */
			CHECK((list[i].flags & CKF_INTERFACE_FORK_SAFE) == 0);
			version.major = versions[i][0];
			version.minor = versions[i][1];
			EXPECT(f->C_GetInterface((CK_UTF8CHAR_PTR) "PKCS 11", &version, &one, 0), CKR_OK);
			CHECK(one->pFunctionList == list[i].pFunctionList);
			EXPECT(f->C_GetInterface(NULL, &version, &one, 0), CKR_OK);
			CHECK(one->pFunctionList == list[i].pFunctionList);
		}
		CHECK(list[2].pFunctionList == old);
		EXPECT(f->C_GetInterface(NULL, NULL, &one, 0), CKR_OK);
		CHECK(one->pFunctionList == list[0].pFunctionList);
		EXPECT(f->C_GetInterface((CK_UTF8CHAR_PTR) "PKCS 11", NULL, &one, 0), CKR_OK);
		CHECK(one->pFunctionList == list[0].pFunctionList);
		EXPECT(f->C_GetInterface(NULL, NULL, NULL, 0), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetInterface((CK_UTF8CHAR_PTR) "PKCS 12", NULL, &one, 0), CKR_ARGUMENTS_BAD);
		CHECK(one == NULL);
		EXPECT(f->C_GetInterface((CK_UTF8CHAR_PTR) "PKCS 11", &unknown, &one, 0), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetInterface(NULL, NULL, &one, CKF_INTERFACE_FORK_SAFE), CKR_ARGUMENTS_BAD);
		EXPECT(f->C_GetInterface(NULL, NULL, &one, ~0UL), CKR_ARGUMENTS_BAD);
	}
	return 0;
}
