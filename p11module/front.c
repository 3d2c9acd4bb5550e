/* The functions that applications call. All go through one pointer, the engine: this image's Go functions, or after a
 * fork those of a private copy of the image. C_GetFunctionList, C_GetInterfaceList and C_GetInterface answer here, so
 * that the lists an application holds stay good in its children.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#define _GNU_SOURCE
#include "front.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline const CK_FUNCTION_LIST_3_2 *engine(void)
{
	return atomic_load_explicit(&anyhsm_process->engine, memory_order_acquire);
}

#define SANE(pointer) ((uintptr_t)(pointer) - 1 < ANYHSM_FIRST_PAGE - 1 ? anyhsm_nowhere : (void *)(pointer))

#include "_cgo_export.h"
#include "forward.h"

#define SETTINGS_PREFIX "anyhsm:"
#define SETTINGS_MAX 4096

/* What children are told whose C_Initialize is given no settings: where the daemon is, as the parent has it. */
static _Atomic(char *) settings;

const char *anyhsm_settings(const CK_C_INITIALIZE_ARGS *arguments)
{
	const char *text = arguments ? arguments->pReserved : NULL;

	return text && strncmp(text, SETTINGS_PREFIX, strlen(SETTINGS_PREFIX)) == 0 ? text : NULL;
}

void anyhsm_settings_keep(const char *text)
{
	/* The exchange is one instruction, so a fork in another thread never leaves a half-written string behind. */
	free(atomic_exchange(&settings, text && *text ? strndup(text, SETTINGS_MAX) : NULL));
}

static const CK_FUNCTION_LIST_3_2 *engine_of_child(void)
{
	const CK_FUNCTION_LIST_3_2 *to;

	pthread_mutex_lock(&anyhsm_process->lock);
	to = engine();
	if (!to) {
		to = anyhsm_copy_load();
		atomic_store_explicit(&anyhsm_process->engine, to, memory_order_release);
	}
	pthread_mutex_unlock(&anyhsm_process->lock);
	return to;
}

static CK_RV call_C_Initialize(CK_VOID_PTR pInitArgs)
{
	CK_C_INITIALIZE_ARGS inherited = {.flags = CKF_OS_LOCKING_OK};
	const char *text = anyhsm_settings(pInitArgs);
	const CK_FUNCTION_LIST_3_2 *to = engine();
	char copy[SETTINGS_MAX + 1];

	if (!anyhsm_forked())
		return to->C_Initialize(pInitArgs);
	if (!to)
		to = engine_of_child();
	if (!to)
		return CKR_LIBRARY_LOAD_FAILED;
	/* A child may initialise with anything: nginx's workers pass NULL, libp11 leaves the flags out. What the parent was
	 * told about the daemon still holds, unless the child says otherwise, for itself and its own children. */
	pthread_mutex_lock(&anyhsm_process->lock);
	if (text)
		anyhsm_settings_keep(text);
	text = atomic_load(&settings);
	if (text)
		inherited.pReserved = strcpy(copy, text);
	pthread_mutex_unlock(&anyhsm_process->lock);
	return to->C_Initialize(&inherited);
}

static CK_RV call_C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ppFunctionList);
static CK_RV call_C_GetInterfaceList(CK_INTERFACE_PTR pInterfacesList, CK_ULONG_PTR pulCount);
static CK_RV call_C_GetInterface(
	CK_UTF8CHAR_PTR pInterfaceName, CK_VERSION_PTR pVersion, CK_INTERFACE_PTR_PTR ppInterface, CK_FLAGS flags);

/* What applications get: the forwarding functions. They are static, so that a module of the same names in the
 * process's global scope cannot take their place. */
#define FORWARD(name) .name = call_##name,
static CK_FUNCTION_LIST functions_2_40 = {.version = {2, 40}, ANYHSM_FUNCTIONS_2_40(FORWARD)};
static CK_FUNCTION_LIST_3_0 functions_3_0 = {.version = {3, 0}, ANYHSM_FUNCTIONS_3_0(FORWARD)};
static CK_FUNCTION_LIST_3_2 functions_3_2 = {.version = {3, 2}, ANYHSM_FUNCTIONS_3_2(FORWARD)};

/* This image's engine: the Go functions. */
#define anyhsm_C_GetFunctionList call_C_GetFunctionList
#define anyhsm_C_GetInterfaceList call_C_GetInterfaceList
#define anyhsm_C_GetInterface call_C_GetInterface
#define OWN(name) .name = anyhsm_##name,
const CK_FUNCTION_LIST_3_2 anyhsm_own_functions = {.version = {3, 2}, ANYHSM_FUNCTIONS_3_2(OWN)};

/* CKF_INTERFACE_FORK_SAFE would promise that a child goes on with its parent's sessions; ours starts with
 * C_Initialize, so no interface has the flag. The default comes first. */
static CK_UTF8CHAR interface_name[] = "PKCS 11";
static CK_INTERFACE interfaces[] = {
	{interface_name, &functions_3_2, 0},
	{interface_name, &functions_3_0, 0},
	{interface_name, &functions_2_40, 0},
};
enum { INTERFACES = sizeof interfaces / sizeof *interfaces };

static CK_RV call_C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR ppFunctionList)
{
	if (!ppFunctionList)
		return CKR_ARGUMENTS_BAD;
	*ppFunctionList = &functions_2_40;
	return CKR_OK;
}

static CK_RV call_C_GetInterfaceList(CK_INTERFACE_PTR pInterfacesList, CK_ULONG_PTR pulCount)
{
	CK_ULONG room;

	if (!pulCount)
		return CKR_ARGUMENTS_BAD;
	room = *pulCount;
	*pulCount = INTERFACES;
	if (!pInterfacesList)
		return CKR_OK;
	if (room < INTERFACES)
		return CKR_BUFFER_TOO_SMALL;
	memcpy(pInterfacesList, interfaces, sizeof interfaces);
	return CKR_OK;
}

static CK_RV call_C_GetInterface(
	CK_UTF8CHAR_PTR pInterfaceName, CK_VERSION_PTR pVersion, CK_INTERFACE_PTR_PTR ppInterface, CK_FLAGS flags)
{
	if (!ppInterface)
		return CKR_ARGUMENTS_BAD;
	*ppInterface = NULL;
	for (int i = 0; i < INTERFACES; i++) {
		/* Each function list begins with its version. */
		const CK_VERSION *version = interfaces[i].pFunctionList;

		if (pInterfaceName && strcmp((const char *)pInterfaceName, (const char *)interface_name) != 0)
			continue;
		if (pVersion && (pVersion->major != version->major || pVersion->minor != version->minor))
			continue;
		if ((interfaces[i].flags & flags) != flags)
			continue;
		*ppInterface = &interfaces[i];
		return CKR_OK;
	}
	return CKR_ARGUMENTS_BAD;
}

/* The exported names. */
#define EXPORT(name) extern __typeof__(call_##name) name __attribute__((alias("call_" #name)));
ANYHSM_FUNCTIONS_3_2(EXPORT)
