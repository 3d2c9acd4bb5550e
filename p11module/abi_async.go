package main

/*
#include "pkcs11.h"
*/
import "C"

//export anyhsm_C_GetSessionValidationFlags
func anyhsm_C_GetSessionValidationFlags(
	hSession C.CK_SESSION_HANDLE, kind C.CK_SESSION_VALIDATION_FLAGS_TYPE, pFlags C.CK_FLAGS_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_AsyncComplete
func anyhsm_C_AsyncComplete(
	hSession C.CK_SESSION_HANDLE, pFunctionName C.CK_UTF8CHAR_PTR, pResult C.CK_ASYNC_DATA_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_AsyncGetID
func anyhsm_C_AsyncGetID(
	hSession C.CK_SESSION_HANDLE, pFunctionName C.CK_UTF8CHAR_PTR, pulID C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_AsyncJoin
func anyhsm_C_AsyncJoin(
	hSession C.CK_SESSION_HANDLE, pFunctionName C.CK_UTF8CHAR_PTR, ulID C.CK_ULONG, pData C.CK_BYTE_PTR,
	ulData C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}
