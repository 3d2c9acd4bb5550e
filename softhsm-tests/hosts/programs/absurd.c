/* Calls every function with arguments that make no sense. Nothing may crash, and the answers are checked.
 * signatures.h is made by the test from include/pkcs11.h: one letter per parameter (s session, p pointer, u number).
 * Arguments: module; with a daemon also the user PIN, for a session to misuse.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "host.h"

#include <sys/mman.h>

static const struct {
	const char *name, *parameters;
	size_t offset;
} functions[] = {
#define FUNCTION(name, parameters) {#name, parameters, offsetof(CK_FUNCTION_LIST_3_2, name)},
#include "signatures.h"
};
enum { FUNCTIONS = sizeof functions / sizeof *functions, PARAMETERS = 10 };

static CK_FUNCTION_LIST_3_2 *f;
/* Zeros, ones, and the last bytes before memory that is not there. */
static unsigned char *zeros, *ones, *edge;

typedef CK_RV (*any)(CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG, CK_ULONG);

static CK_RV call(int i, CK_ULONG session, const void *pointer, CK_ULONG number)
{
	const any function = *(any *)((char *)f + functions[i].offset);
	CK_ULONG a[PARAMETERS] = {0};
	const char *parameter = functions[i].parameters;

	for (int n = 0; parameter[n]; n++)
		a[n] = parameter[n] == 's' ? session : parameter[n] == 'p' ? (CK_ULONG)(uintptr_t)pointer : number;
	memset(zeros, 0, 4096);
	memset(ones, 0xff, 4096);
	return function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]);
}

static bool is(int i, const char *name) { return strcmp(functions[i].name, name) == 0; }

/* These answer in C, before C_Initialize as after it. */
static bool front(int i)
{
	return is(i, "C_GetFunctionList") || is(i, "C_GetInterfaceList") || is(i, "C_GetInterface");
}

/* These end or begin the state that the others are tried in. */
static bool lifecycle(int i)
{
	return is(i, "C_Initialize") || is(i, "C_Finalize") || is(i, "C_CloseSession") || is(i, "C_CloseAllSessions") ||
	       is(i, "C_Logout");
}

static const CK_ULONG numbers[] = {0, 1, 16, 4096, 1UL << 20, (1UL << 31) - 1, 1UL << 31, 1UL << 32, 1UL << 63, ~0UL};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static void before(void)
{
	for (int i = 0; i < FUNCTIONS; i++)
		for (int n = 0; n < NUMBERS; n++) {
			CK_RV rv;

			if (front(i) || is(i, "C_Initialize"))
				continue;
			rv = call(i, numbers[n], NULL, numbers[n]);
			if (rv != CKR_CRYPTOKI_NOT_INITIALIZED)
				FAIL("%s before C_Initialize: 0x%lx", functions[i].name, rv);
			rv = call(i, numbers[n], zeros, numbers[n]);
			if (rv != CKR_CRYPTOKI_NOT_INITIALIZED)
				FAIL("%s before C_Initialize: 0x%lx", functions[i].name, rv);
		}
}

static void without_session(void)
{
	const void *pointers[] = {NULL, zeros, ones, edge};

	for (int i = 0; i < FUNCTIONS; i++)
		for (int p = 0; p < 4; p++)
			for (int n = 0; n < NUMBERS; n++) {
				CK_RV rv;

				if (lifecycle(i) || (front(i) && p > 1))
					continue;
				rv = call(i, 0, pointers[p], numbers[n]);
				if (functions[i].parameters[0] == 's' && rv != CKR_SESSION_HANDLE_INVALID)
					FAIL("%s in no session: 0x%lx", functions[i].name, rv);
				if (p < 2 && rv == CKR_GENERAL_ERROR)
					FAIL("%s panics (pointer %d, number 0x%lx)", functions[i].name, p, numbers[n]);
			}
	/* With NULL for everything, whatever takes a pointer first says so. */
	EXPECT(f->C_GetInfo(NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GetSlotList(CK_FALSE, NULL, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GetSlotInfo(0, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GetTokenInfo(0, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GetMechanismList(0, NULL, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GetMechanismInfo(0, 0, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_InitToken(0, NULL, 0, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_InitToken(0, NULL, 5, zeros), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_WaitForSlotEvent(0, NULL, NULL), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_WaitForSlotEvent(0, (CK_SLOT_ID_PTR)zeros, zeros), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_Finalize(zeros), CKR_ARGUMENTS_BAD);
}

static void in_session(CK_SESSION_HANDLE session)
{
	const void *pointers[] = {NULL, zeros, ones, edge, (void *)16, (void *)(1UL << 40), (void *)~7UL};
	CK_SESSION_INFO info;

	for (int i = 0; i < FUNCTIONS; i++)
		for (size_t p = 0; p < sizeof pointers / sizeof *pointers; p++)
			for (int n = 0; n < NUMBERS; n++) {
				CK_RV rv;

				/* C_Login with wrong PINs would lock the token. */
				if (lifecycle(i) || front(i) || functions[i].parameters[0] != 's' || is(i, "C_Login") ||
				    is(i, "C_LoginUser") || is(i, "C_SetPIN") || is(i, "C_InitPIN"))
					continue;
				rv = call(i, session, pointers[p], numbers[n]);
				/* Where the length goes past the memory, that answer is all one can ask for. */
				if ((p == 0 || (p == 1 && numbers[n] <= 16)) && rv == CKR_GENERAL_ERROR)
					FAIL("%s panics (pointer %zu, number 0x%lx)", functions[i].name, p, numbers[n]);
				if (p == 0 && rv == CKR_OK && !is(i, "C_SessionCancel") && strchr(functions[i].parameters, 'p') &&
				    !strstr(functions[i].name, "Init") && !is(i, "C_SeedRandom") && !is(i, "C_GenerateRandom") &&
				    !strstr(functions[i].name, "AttributeValue"))
					FAIL("%s with NULLs and 0x%lx: CKR_OK", functions[i].name, numbers[n]);
			}
	EXPECT(f->C_GetSessionInfo(session, &info), CKR_OK);
	EXPECT(f->C_GetFunctionStatus(session), CKR_FUNCTION_NOT_PARALLEL);
	EXPECT(f->C_CancelFunction(session), CKR_FUNCTION_NOT_PARALLEL);
	EXPECT(f->C_GetOperationState(session, NULL, &(CK_ULONG){0}), CKR_OPERATION_NOT_INITIALIZED);
	EXPECT(f->C_LoginUser(session, CKU_USER, NULL, 4, NULL, 0), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_CreateObject(session, NULL, 1, &(CK_OBJECT_HANDLE){0}), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_CreateObject(session, (CK_ATTRIBUTE_PTR)zeros, 1UL << 40, &(CK_OBJECT_HANDLE){0}), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_GenerateRandom(session, NULL, 8), CKR_ARGUMENTS_BAD);
}

int main(int argc, char **argv)
{
	CK_C_INITIALIZE_ARGS half = {.LockMutex = (CK_LOCKMUTEX)(uintptr_t)load, .flags = CKF_OS_LOCKING_OK};
	unsigned char *memory = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(argc == 2 || argc == 3);
	CHECK(memory != MAP_FAILED && mprotect(memory + 3 * 4096, 4096, PROT_NONE) == 0);
	zeros = memory;
	ones = memory + 4096;
	edge = memory + 3 * 4096 - 16;
	f = load(argv[1], RTLD_LOCAL);
	before();
	EXPECT(f->C_Initialize(&half), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_Initialize(&(CK_C_INITIALIZE_ARGS){.pReserved = "anyhsm: colour=red"}), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_Initialize(&(CK_C_INITIALIZE_ARGS){.pReserved = "anyhsm: x"}), CKR_ARGUMENTS_BAD);
	EXPECT(f->C_Initialize(&(CK_C_INITIALIZE_ARGS){.pReserved = "configdir='sql:/etc'"}), CKR_OK);
	without_session();
	if (argc == 3) {
		CK_SLOT_ID slots[16];
		CK_ULONG count = 16;
		CK_SESSION_HANDLE session;

		EXPECT(f->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
		CHECK(count > 0);
		EXPECT(f->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session), CKR_OK);
		EXPECT(f->C_Login(session, CKU_USER, (CK_UTF8CHAR_PTR)argv[2], strlen(argv[2])), CKR_OK);
		in_session(session);
	}
	EXPECT(f->C_Finalize(NULL), CKR_OK);
	before();
	return 0;
}
