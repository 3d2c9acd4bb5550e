package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_DigestInit
func anyhsm_C_DigestInit(hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR) C.CK_RV {
	return begin(hSession, pMechanism, cryptoki.CKF_DIGEST, (*session.Session).DigestInit)
}

//export anyhsm_C_Digest
func anyhsm_C_Digest(
	hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG, pDigest C.CK_BYTE_PTR,
	pulDigestLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DIGEST, func(s *session.Session) error {
		data, err := view(pData, ulDataLen)
		if err != nil {
			return err
		}
		return writeBytes(pDigest, pulDigestLen, func(room int) ([]byte, int, error) {
			return s.Digest(data, room)
		})
	})
}

//export anyhsm_C_DigestUpdate
func anyhsm_C_DigestUpdate(hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DIGEST, func(s *session.Session) error {
		part, err := view(pPart, ulPartLen)
		if err != nil {
			return err
		}
		return s.DigestUpdate(part)
	})
}

//export anyhsm_C_DigestKey
func anyhsm_C_DigestKey(hSession C.CK_SESSION_HANDLE, hKey C.CK_OBJECT_HANDLE) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DIGEST, func(s *session.Session) error {
		return s.DigestKey(uint64(hKey))
	})
}

//export anyhsm_C_DigestFinal
func anyhsm_C_DigestFinal(hSession C.CK_SESSION_HANDLE, pDigest C.CK_BYTE_PTR, pulDigestLen C.CK_ULONG_PTR) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DIGEST, func(s *session.Session) error {
		return writeBytes(pDigest, pulDigestLen, s.DigestFinal)
	})
}
