package main

/*
#include "pkcs11.h"
*/
import "C"

//export anyhsm_C_DigestEncryptUpdate
func anyhsm_C_DigestEncryptUpdate(
	hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG, pEncryptedPart C.CK_BYTE_PTR,
	pulEncryptedPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecryptDigestUpdate
func anyhsm_C_DecryptDigestUpdate(
	hSession C.CK_SESSION_HANDLE, pEncryptedPart C.CK_BYTE_PTR, ulEncryptedPartLen C.CK_ULONG, pPart C.CK_BYTE_PTR,
	pulPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_SignEncryptUpdate
func anyhsm_C_SignEncryptUpdate(
	hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG, pEncryptedPart C.CK_BYTE_PTR,
	pulEncryptedPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecryptVerifyUpdate
func anyhsm_C_DecryptVerifyUpdate(
	hSession C.CK_SESSION_HANDLE, pEncryptedPart C.CK_BYTE_PTR, ulEncryptedPartLen C.CK_ULONG, pPart C.CK_BYTE_PTR,
	pulPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}
