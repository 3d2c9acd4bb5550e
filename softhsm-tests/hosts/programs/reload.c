/* Loads, uses and closes the library many times.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	for (int i = 0; i < 20; i++) {
		CK_ULONG count = 0;
		CK_FUNCTION_LIST *list;
		CK_C_GetFunctionList get;
		void *library = dlopen(argv[1], RTLD_NOW | (i % 2 ? RTLD_GLOBAL : RTLD_LOCAL));

		CHECK(library != NULL);
		*(void **)&get = dlsym(library, "C_GetFunctionList");
		CHECK(get != NULL);
		EXPECT(get(&list), CKR_OK);
		EXPECT(list->C_GetSlotList(CK_FALSE, NULL, &count), CKR_CRYPTOKI_NOT_INITIALIZED);
		EXPECT(list->C_Initialize(NULL), CKR_OK);
		EXPECT(list->C_GetSlotList(CK_FALSE, NULL, &count), CKR_OK);
		EXPECT(list->C_Finalize(NULL), CKR_OK);
		CHECK(dlclose(library) == 0);
	}
	return 0;
}
