package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_SignInit
func anyhsm_C_SignInit(hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE) C.CK_RV {
	return begin(hSession, pMechanism, cryptoki.CKF_SIGN, func(s *session.Session, m cryptoki.Mechanism) error {
		return s.SignInit(m, uint64(hKey))
	})
}

//export anyhsm_C_Sign
func anyhsm_C_Sign(
	hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR,
	pulSignatureLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_SIGN, func(s *session.Session) error {
		data, err := view(pData, ulDataLen)
		if err != nil {
			return err
		}
		return writeBytes(pSignature, pulSignatureLen, func(room int) ([]byte, int, error) {
			return s.Sign(data, room)
		})
	})
}

//export anyhsm_C_SignUpdate
func anyhsm_C_SignUpdate(hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG) C.CK_RV {
	return operation(hSession, cryptoki.CKF_SIGN, func(s *session.Session) error {
		part, err := view(pPart, ulPartLen)
		if err != nil {
			return err
		}
		return s.SignUpdate(part)
	})
}

//export anyhsm_C_SignFinal
func anyhsm_C_SignFinal(
	hSession C.CK_SESSION_HANDLE, pSignature C.CK_BYTE_PTR, pulSignatureLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_SIGN, func(s *session.Session) error {
		return writeBytes(pSignature, pulSignatureLen, s.SignFinal)
	})
}

//export anyhsm_C_SignRecoverInit
func anyhsm_C_SignRecoverInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_SignRecover
func anyhsm_C_SignRecover(
	hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR,
	pulSignatureLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}
