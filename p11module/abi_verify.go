package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_VerifyInit
func anyhsm_C_VerifyInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return begin(hSession, pMechanism, cryptoki.CKF_VERIFY, func(s *session.Session, m cryptoki.Mechanism) error {
		return s.VerifyInit(m, uint64(hKey))
	})
}

//export anyhsm_C_Verify
func anyhsm_C_Verify(
	hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG, pSignature C.CK_BYTE_PTR,
	ulSignatureLen C.CK_ULONG,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_VERIFY, func(s *session.Session) error {
		data, err := view(pData, ulDataLen)
		if err != nil {
			return err
		}
		signature, err := view(pSignature, ulSignatureLen)
		if err != nil {
			return err
		}
		return s.Verify(data, signature)
	})
}

//export anyhsm_C_VerifyUpdate
func anyhsm_C_VerifyUpdate(hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG) C.CK_RV {
	return operation(hSession, cryptoki.CKF_VERIFY, func(s *session.Session) error {
		part, err := view(pPart, ulPartLen)
		if err != nil {
			return err
		}
		return s.VerifyUpdate(part)
	})
}

//export anyhsm_C_VerifyFinal
func anyhsm_C_VerifyFinal(
	hSession C.CK_SESSION_HANDLE, pSignature C.CK_BYTE_PTR, ulSignatureLen C.CK_ULONG,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_VERIFY, func(s *session.Session) error {
		signature, err := view(pSignature, ulSignatureLen)
		if err != nil {
			return err
		}
		return s.VerifyFinal(signature)
	})
}

//export anyhsm_C_VerifyRecoverInit
func anyhsm_C_VerifyRecoverInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifyRecover
func anyhsm_C_VerifyRecover(
	hSession C.CK_SESSION_HANDLE, pSignature C.CK_BYTE_PTR, ulSignatureLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	pulDataLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifySignatureInit
func anyhsm_C_VerifySignatureInit(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE, pSignature C.CK_BYTE_PTR,
	ulSignatureLen C.CK_ULONG,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifySignature
func anyhsm_C_VerifySignature(hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifySignatureUpdate
func anyhsm_C_VerifySignatureUpdate(hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_VerifySignatureFinal
func anyhsm_C_VerifySignatureFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return unsupported(hSession)
}
