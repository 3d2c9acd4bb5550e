package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

//export anyhsm_C_GenerateKey
func anyhsm_C_GenerateKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG,
	phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		m, err := readMechanism(pMechanism)
		if err != nil {
			return err
		}
		return newObject(pTemplate, ulCount, phKey, func(template cryptoki.Attributes) (uint64, error) {
			return s.GenerateKey(m, template)
		})
	})
}

//export anyhsm_C_GenerateKeyPair
func anyhsm_C_GenerateKeyPair(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR,
	pPublicKeyTemplate C.CK_ATTRIBUTE_PTR, ulPublicKeyAttributeCount C.CK_ULONG,
	pPrivateKeyTemplate C.CK_ATTRIBUTE_PTR, ulPrivateKeyAttributeCount C.CK_ULONG,
	phPublicKey, phPrivateKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		if phPublicKey == nil || phPrivateKey == nil {
			return errArguments
		}
		m, err := readMechanism(pMechanism)
		if err != nil {
			return err
		}
		public, err := readTemplate(pPublicKeyTemplate, ulPublicKeyAttributeCount)
		if err != nil {
			return err
		}
		private, err := readTemplate(pPrivateKeyTemplate, ulPrivateKeyAttributeCount)
		if err != nil {
			return err
		}
		publicHandle, privateHandle, err := s.GenerateKeyPair(m, public, private)
		if err != nil {
			return err
		}
		*phPublicKey, *phPrivateKey = C.CK_OBJECT_HANDLE(publicHandle), C.CK_OBJECT_HANDLE(privateHandle)
		return nil
	})
}

//export anyhsm_C_DeriveKey
func anyhsm_C_DeriveKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hBaseKey C.CK_OBJECT_HANDLE,
	pTemplate C.CK_ATTRIBUTE_PTR, ulAttributeCount C.CK_ULONG, phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		m, err := readMechanism(pMechanism)
		if err != nil {
			return err
		}
		return newObject(pTemplate, ulAttributeCount, phKey, func(template cryptoki.Attributes) (uint64, error) {
			return s.DeriveKey(m, uint64(hBaseKey), template)
		})
	})
}

//export anyhsm_C_WrapKey
func anyhsm_C_WrapKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hWrappingKey, hKey C.CK_OBJECT_HANDLE,
	pWrappedKey C.CK_BYTE_PTR, pulWrappedKeyLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_UnwrapKey
func anyhsm_C_UnwrapKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hUnwrappingKey C.CK_OBJECT_HANDLE,
	pWrappedKey C.CK_BYTE_PTR, ulWrappedKeyLen C.CK_ULONG, pTemplate C.CK_ATTRIBUTE_PTR,
	ulAttributeCount C.CK_ULONG, phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_WrapKeyAuthenticated
func anyhsm_C_WrapKeyAuthenticated(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hWrappingKey, hKey C.CK_OBJECT_HANDLE,
	pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG, pWrappedKey C.CK_BYTE_PTR,
	pulWrappedKeyLen C.CK_ULONG_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_UnwrapKeyAuthenticated
func anyhsm_C_UnwrapKeyAuthenticated(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hUnwrappingKey C.CK_OBJECT_HANDLE,
	pWrappedKey C.CK_BYTE_PTR, ulWrappedKeyLen C.CK_ULONG, pTemplate C.CK_ATTRIBUTE_PTR,
	ulAttributeCount C.CK_ULONG, pAssociatedData C.CK_BYTE_PTR, ulAssociatedDataLen C.CK_ULONG,
	phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_EncapsulateKey
func anyhsm_C_EncapsulateKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hPublicKey C.CK_OBJECT_HANDLE,
	pTemplate C.CK_ATTRIBUTE_PTR, ulAttributeCount C.CK_ULONG, pCiphertext C.CK_BYTE_PTR,
	pulCiphertextLen C.CK_ULONG_PTR, phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return unsupported(hSession)
}

//export anyhsm_C_DecapsulateKey
func anyhsm_C_DecapsulateKey(
	hSession C.CK_SESSION_HANDLE, pMechanism C.CK_MECHANISM_PTR, hPrivateKey C.CK_OBJECT_HANDLE,
	pTemplate C.CK_ATTRIBUTE_PTR, ulAttributeCount C.CK_ULONG, pCiphertext C.CK_BYTE_PTR,
	ulCiphertextLen C.CK_ULONG, phKey C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return unsupported(hSession)
}
