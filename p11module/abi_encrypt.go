package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_EncryptInit
func anyhsm_C_EncryptInit(hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hKey C.CK_OBJECT_HANDLE) C.CK_RV {
	return begin(hSession, pMechanism, cryptoki.CKF_ENCRYPT, func(s *session.Session, m cryptoki.Mechanism) error {
		return s.EncryptInit(m, uint64(hKey))
	})
}

//export anyhsm_C_Encrypt
func anyhsm_C_Encrypt(
	hSession C.CK_SESSION_HANDLE, pData C.CK_BYTE_PTR, ulDataLen C.CK_ULONG, pEncryptedData C.CK_BYTE_PTR,
	pulEncryptedDataLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_ENCRYPT, func(s *session.Session) error {
		data, err := view(pData, ulDataLen)
		if err != nil {
			return err
		}
		return writeBytes(pEncryptedData, pulEncryptedDataLen, func(room int) ([]byte, int, error) {
			return s.Encrypt(data, room)
		})
	})
}

//export anyhsm_C_EncryptUpdate
func anyhsm_C_EncryptUpdate(
	hSession C.CK_SESSION_HANDLE, pPart C.CK_BYTE_PTR, ulPartLen C.CK_ULONG, pEncryptedPart C.CK_BYTE_PTR,
	pulEncryptedPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_ENCRYPT, func(s *session.Session) error {
		part, err := view(pPart, ulPartLen)
		if err != nil {
			return err
		}
		return writeBytes(pEncryptedPart, pulEncryptedPartLen, func(room int) ([]byte, int, error) {
			return s.EncryptUpdate(part, room)
		})
	})
}

//export anyhsm_C_EncryptFinal
func anyhsm_C_EncryptFinal(
	hSession C.CK_SESSION_HANDLE, pLastEncryptedPart C.CK_BYTE_PTR, pulLastEncryptedPartLen C.CK_ULONG_PTR,
) C.CK_RV {
	return operation(hSession, cryptoki.CKF_ENCRYPT, func(s *session.Session) error {
		return writeBytes(pLastEncryptedPart, pulLastEncryptedPartLen, s.EncryptFinal)
	})
}
