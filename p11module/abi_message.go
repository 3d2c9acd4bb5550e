package main

/*
#include "pkcs11.h"
*/
import "C"

//export anyhsm_C_MessageEncryptInit
func anyhsm_C_MessageEncryptInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_EncryptMessage
func anyhsm_C_EncryptMessage(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG, pPlaintext C.CK_BYTE_PTR,
	ulPlaintextLen C.CK_ULONG, pCiphertext C.CK_BYTE_PTR, pulCiphertextLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_EncryptMessageBegin
func anyhsm_C_EncryptMessageBegin(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_EncryptMessageNext
func anyhsm_C_EncryptMessageNext(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pPlaintextPart C.CK_BYTE_PTR, ulPlaintextPartLen C.CK_ULONG, pCiphertextPart C.CK_BYTE_PTR,
	pulCiphertextPartLen C.CK_ULONG_PTR, flags C.CK_FLAGS,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageEncryptFinal
func anyhsm_C_MessageEncryptFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageDecryptInit
func anyhsm_C_MessageDecryptInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecryptMessage
func anyhsm_C_DecryptMessage(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG, pCiphertext C.CK_BYTE_PTR,
	ulCiphertextLen C.CK_ULONG, pPlaintext C.CK_BYTE_PTR, pulPlaintextLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecryptMessageBegin
func anyhsm_C_DecryptMessageBegin(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecryptMessageNext
func anyhsm_C_DecryptMessageNext(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
	pCiphertextPart C.CK_BYTE_PTR, ulCiphertextPartLen C.CK_ULONG, pPlaintextPart C.CK_BYTE_PTR,
	pulPlaintextPartLen C.CK_ULONG_PTR, flags C.CK_FLAGS,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageDecryptFinal
func anyhsm_C_MessageDecryptFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageSignInit
func anyhsm_C_MessageSignInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_SignMessage
func anyhsm_C_SignMessage(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR, pulSignatureLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_SignMessageBegin
func anyhsm_C_SignMessageBegin(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_SignMessageNext
func anyhsm_C_SignMessageNext(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR, pulSignatureLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageSignFinal
func anyhsm_C_MessageSignFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageVerifyInit
func anyhsm_C_MessageVerifyInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifyMessage
func anyhsm_C_VerifyMessage(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR, ulSignatureLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifyMessageBegin
func anyhsm_C_VerifyMessageBegin(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifyMessageNext
func anyhsm_C_VerifyMessageNext(
	hSession C.CK_SESSION_HANDLE, pParameter C.CK_VOID_PTR, ulParameterLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR, ulSignatureLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_MessageVerifyFinal
func anyhsm_C_MessageVerifyFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return unsupported(hSession)
}
