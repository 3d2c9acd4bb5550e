package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// anyhsm_C_OpenSession never calls the application back, so pApplication and Notify go unused.
//
//export anyhsm_C_OpenSession
func anyhsm_C_OpenSession(
	slotID C.CK_SLOT_ID, flags C.CK_FLAGS, pApplication C.CK_VOID_PTR, Notify C.CK_NOTIFY,
	phSession C.CK_SESSION_HANDLE_PTR,
) C.CK_RV {
	return call(func(m *module.Module) error {
		if phSession == nil {
			return errArguments
		}
		handle, err := m.OpenSession(uint64(slotID), cryptoki.Flags(flags))
		if err == nil {
			*phSession = C.CK_SESSION_HANDLE(handle)
		}
		return err
	})
}

//export anyhsm_C_CloseSession
func anyhsm_C_CloseSession(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return call(func(m *module.Module) error { return m.CloseSession(uint64(hSession)) })
}

//export anyhsm_C_CloseAllSessions
func anyhsm_C_CloseAllSessions(slotID C.CK_SLOT_ID) C.CK_RV {
	return call(func(m *module.Module) error { return m.CloseAllSessions(uint64(slotID)) })
}

//export anyhsm_C_GetSessionInfo
func anyhsm_C_GetSessionInfo(hSession C.CK_SESSION_HANDLE, pInfo C.CK_SESSION_INFO_PTR) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		if pInfo == nil {
			return errArguments
		}
		info := s.Info()
		*pInfo = C.CK_SESSION_INFO{
			slotID:        C.CK_SLOT_ID(info.Slot),
			state:         C.CK_STATE(info.State),
			flags:         C.CK_FLAGS(info.Flags),
			ulDeviceError: C.CK_ULONG(info.DeviceError),
		}
		return nil
	})
}

//export anyhsm_C_SessionCancel
func anyhsm_C_SessionCancel(hSession C.CK_SESSION_HANDLE, flags C.CK_FLAGS) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error { return s.Cancel(cryptoki.Flags(flags)) })
}

//export anyhsm_C_GetOperationState
func anyhsm_C_GetOperationState(
	hSession C.CK_SESSION_HANDLE, pOperationState C.CK_BYTE_PTR, pulOperationStateLen C.CK_ULONG_PTR,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		return writeBytes(pOperationState, pulOperationStateLen, s.SaveState)
	})
}

//export anyhsm_C_SetOperationState
func anyhsm_C_SetOperationState(
	hSession C.CK_SESSION_HANDLE, pOperationState C.CK_BYTE_PTR, ulOperationStateLen C.CK_ULONG,
	hEncryptionKey, hAuthenticationKey C.CK_OBJECT_HANDLE,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		state, err := view(pOperationState, ulOperationStateLen)
		if err != nil {
			return err
		}
		return s.RestoreState(state, uint64(hEncryptionKey), uint64(hAuthenticationKey))
	})
}

//export anyhsm_C_Login
func anyhsm_C_Login(
	hSession C.CK_SESSION_HANDLE, userType C.CK_USER_TYPE, pPin C.CK_UTF8CHAR_PTR, ulPinLen C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		pin, err := viewPIN(pPin, ulPinLen)
		if err != nil {
			return err
		}
		return s.Login(cryptoki.UserType(userType), pin)
	})
}

// anyhsm_C_LoginUser is C_Login when no name is given. Tokens have no named users, so any name is of nobody.
//
//export anyhsm_C_LoginUser
func anyhsm_C_LoginUser(
	hSession C.CK_SESSION_HANDLE, userType C.CK_USER_TYPE, pPin C.CK_UTF8CHAR_PTR, ulPinLen C.CK_ULONG,
	pUsername C.CK_UTF8CHAR_PTR, ulUsernameLen C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		pin, err := viewPIN(pPin, ulPinLen)
		if err != nil {
			return err
		}
		name, err := viewPIN(pUsername, ulUsernameLen)
		if err != nil {
			return err
		}
		if len(name) > 0 {
			return cryptoki.CKR_PIN_INCORRECT
		}
		return s.Login(cryptoki.UserType(userType), pin)
	})
}

//export anyhsm_C_Logout
func anyhsm_C_Logout(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return inSession(hSession, (*session.Session).Logout)
}

//export anyhsm_C_InitPIN
func anyhsm_C_InitPIN(hSession C.CK_SESSION_HANDLE, pPin C.CK_UTF8CHAR_PTR, ulPinLen C.CK_ULONG) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		pin, err := viewPIN(pPin, ulPinLen)
		if err != nil {
			return err
		}
		return s.InitPIN(pin)
	})
}

//export anyhsm_C_SetPIN
func anyhsm_C_SetPIN(
	hSession C.CK_SESSION_HANDLE, pOldPin C.CK_UTF8CHAR_PTR, ulOldLen C.CK_ULONG, pNewPin C.CK_UTF8CHAR_PTR,
	ulNewLen C.CK_ULONG,
) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		old, err := viewPIN(pOldPin, ulOldLen)
		if err != nil {
			return err
		}
		replacement, err := viewPIN(pNewPin, ulNewLen)
		if err != nil {
			return err
		}
		return s.SetPIN(old, replacement)
	})
}

// anyhsm_C_GetFunctionStatus and anyhsm_C_CancelFunction are left from PKCS#11 1.0; the standard has but one answer.
//
//export anyhsm_C_GetFunctionStatus
func anyhsm_C_GetFunctionStatus(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return inSession(hSession, func(*session.Session) error { return cryptoki.CKR_FUNCTION_NOT_PARALLEL })
}

//export anyhsm_C_CancelFunction
func anyhsm_C_CancelFunction(hSession C.CK_SESSION_HANDLE) C.CK_RV {
	return inSession(hSession, func(*session.Session) error { return cryptoki.CKR_FUNCTION_NOT_PARALLEL })
}
