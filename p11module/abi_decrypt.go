package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_DecryptInit
func anyhsm_C_DecryptInit(hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE) C.CK_RV {
	return begin(hSession, pMechanism, cryptoki.CKF_DECRYPT, func(s *session.Session, m cryptoki.Mechanism) error {
		return s.DecryptInit(m, uint64(hKey))
	})
}

//export anyhsm_C_Decrypt
func anyhsm_C_Decrypt(
	hSession C.CK_SESSION_HANDLE, pEncryptedData C.CK_BYTE_PTR, ulEncryptedDataLen C.CK_ULONG, pData C.CK_BYTE_PTR,
	pulDataLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DECRYPT, func(s *session.Session) error {
		data, err := view(pEncryptedData, ulEncryptedDataLen)
		if err != nil {
			return err
		}
		return writeBytes(pData, pulDataLen, func(room int) ([]byte, int, error) {
			return s.Decrypt(data, room)
		})
	})
}

//export anyhsm_C_DecryptUpdate
func anyhsm_C_DecryptUpdate(
	hSession C.CK_SESSION_HANDLE, pEncryptedPart C.CK_BYTE_PTR, ulEncryptedPartLen C.CK_ULONG, pPart C.CK_BYTE_PTR,
	pulPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DECRYPT, func(s *session.Session) error {
		part, err := view(pEncryptedPart, ulEncryptedPartLen)
		if err != nil {
			return err
		}
		return writeBytes(pPart, pulPartLen, func(room int) ([]byte, int, error) {
			return s.DecryptUpdate(part, room)
		})
	})
}

//export anyhsm_C_DecryptFinal
func anyhsm_C_DecryptFinal(
	hSession C.CK_SESSION_HANDLE, pLastPart C.CK_BYTE_PTR, pulLastPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_DECRYPT, func(s *session.Session) error {
		return writeBytes(pLastPart, pulLastPartLen, s.DecryptFinal)
	})
}
