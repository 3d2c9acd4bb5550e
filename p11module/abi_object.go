package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// maxFound bounds one C_FindObjects; the rest comes with the next.
const maxFound = 1 << 16

// make one object and hand its handle out: C_CreateObject, C_CopyObject, C_GenerateKey, C_DeriveKey.
func newObject(
	pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG, phObject C.CK_OBJECT_HANDLE_PTR,
	do func(template cryptoki.Attributes) (uint64, error),
) error {
	if phObject == nil {
		return errArguments
	}
	template, err := readTemplate(pTemplate, ulCount)
	if err != nil {
		return err
	}
	handle, err := do(template)
	if err == nil {
		*phObject = C.CK_OBJECT_HANDLE(handle)
	}
	return err
}

//export anyhsm_C_CreateObject
func anyhsm_C_CreateObject(
	hSession C.CK_SESSION_HANDLE, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG, phObject C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		return newObject(pTemplate, ulCount, phObject, s.CreateObject)
	})
}

//export anyhsm_C_CopyObject
func anyhsm_C_CopyObject(
	hSession C.CK_SESSION_HANDLE, hObject C.CK_OBJECT_HANDLE, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG,
	phNewObject C.CK_OBJECT_HANDLE_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		return newObject(pTemplate, ulCount, phNewObject, func(template cryptoki.Attributes) (uint64, error) {
			return s.CopyObject(uint64(hObject), template)
		})
	})
}

//export anyhsm_C_DestroyObject
func anyhsm_C_DestroyObject(hSession C.CK_SESSION_HANDLE, hObject C.CK_OBJECT_HANDLE) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error { return s.DestroyObject(uint64(hObject)) })
}

//export anyhsm_C_GetObjectSize
func anyhsm_C_GetObjectSize(
	hSession C.CK_SESSION_HANDLE, hObject C.CK_OBJECT_HANDLE, pulSize C.CK_ULONG_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		if pulSize == nil {
			return errArguments
		}
		size, err := s.ObjectSize(uint64(hObject))
		if err == nil {
			*pulSize = C.CK_ULONG(size)
		}
		return err
	})
}

//export anyhsm_C_GetAttributeValue
func anyhsm_C_GetAttributeValue(
	hSession C.CK_SESSION_HANDLE, hObject C.CK_OBJECT_HANDLE, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		list, err := attributeList(pTemplate, ulCount)
		if err != nil {
			return err
		}
		types := make([]cryptoki.AttributeType, len(list))
		for i := range list {
			types[i] = cryptoki.AttributeType(list[i]._type)
		}
		values, err := s.Attributes(uint64(hObject), types)
		if err != nil {
			return err
		}
		return writeAttributes(list, values)
	})
}

//export anyhsm_C_SetAttributeValue
func anyhsm_C_SetAttributeValue(
	hSession C.CK_SESSION_HANDLE, hObject C.CK_OBJECT_HANDLE, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		template, err := readTemplate(pTemplate, ulCount)
		if err != nil {
			return err
		}
		return s.SetAttributes(uint64(hObject), template)
	})
}

//export anyhsm_C_FindObjectsInit
func anyhsm_C_FindObjectsInit(
	hSession C.CK_SESSION_HANDLE, pTemplate C.CK_ATTRIBUTE_PTR, ulCount C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		template, err := readTemplate(pTemplate, ulCount)
		if err != nil {
			return err
		}
		return s.FindInit(template)
	})
}

//export anyhsm_C_FindObjects
func anyhsm_C_FindObjects(
	hSession C.CK_SESSION_HANDLE, phObject C.CK_OBJECT_HANDLE_PTR, ulMaxObjectCount C.CK_ULONG,
	pulObjectCount C.CK_ULONG_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		if pulObjectCount == nil || phObject == nil && ulMaxObjectCount > 0 {
			return errArguments
		}
		found, err := s.Find(int(min(ulMaxObjectCount, maxFound)))
		if err != nil {
			return err
		}
		*pulObjectCount = C.CK_ULONG(len(found))
		out := unsafe.Slice(phObject, len(found))
		for i, handle := range found {
			out[i] = C.CK_OBJECT_HANDLE(handle)
		}
		return nil
	})
}

//export anyhsm_C_FindObjectsFinal
func anyhsm_C_FindObjectsFinal(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return inSession(hSession, (*session.Session).FindFinal)
}
