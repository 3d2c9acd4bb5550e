package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

var (
	// lifecycle orders C_Initialize and C_Finalize; no other call takes it.
	lifecycle sync.Mutex
	// current is the module between C_Initialize and C_Finalize. A call that has loaded it goes on with it even when
	// C_Finalize comes in between.
	current atomic.Pointer[module.Module]
)

// call runs a function of the module. Nothing that happens in it ends the host: a panic, also one for memory that the
// application's pointers do not point to, becomes CKR_GENERAL_ERROR.
func call(do func(m *module.Module) error) (rv C.CK_RV) {
	m := current.Load()
	if m == nil {
		return C.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	defer caught(m, &rv)
	debug.SetPanicOnFault(true)
	return result(do(m))
}

// inSession runs a function of a session.
func inSession(handle C.CK_SESSION_HANDLE, do func(s *session.Session) error) C.CK_RV {
	return call(func(m *module.Module) error {
		s, err := m.Session(uint64(handle))
		if err != nil {
			return err
		}
		return do(s)
	})
}

// operation runs one step of an operation that an Init has begun. A failing step ends its operation, and so must one
// that fails before the session hears of it.
func operation(handle C.CK_SESSION_HANDLE, use cryptoki.Flags, step func(s *session.Session) error) C.CK_RV {
	return inSession(handle, func(s *session.Session) error {
		err := step(s)
		if err == errArguments {
			_ = s.Cancel(use)
		}
		return err
	})
}

// begin runs an Init with the mechanism read. One without a mechanism ends the active operation (since 3.0).
func begin(
	handle C.CK_SESSION_HANDLE, p C.CK_MECHANISM_PTR, use cryptoki.Flags,
	do func(s *session.Session, m cryptoki.Mechanism) error,
) C.CK_RV {
	return inSession(handle, func(s *session.Session) error {
		if p == nil {
			return s.Cancel(use)
		}
		m, err := readMechanism(p)
		if err != nil {
			return err
		}
		return do(s, m)
	})
}

// unsupported answers for a function that is not there yet, after the checks that come first in every function.
func unsupported(handle C.CK_SESSION_HANDLE) C.CK_RV {
	return inSession(handle, func(*session.Session) error { return cryptoki.CKR_FUNCTION_NOT_SUPPORTED })
}

// result is the CK_RV of an error.
func result(err error) C.CK_RV {
	if err == nil {
		return C.CKR_OK
	}
	return C.CK_RV(fault.RV(err))
}

// caught turns a panic into CKR_GENERAL_ERROR. It is deferred itself, as recover demands.
func caught(m *module.Module, rv *C.CK_RV) {
	if cause := recover(); cause != nil {
		*rv = C.CKR_GENERAL_ERROR
		if m != nil {
			m.Log().Error("panic in a PKCS#11 function", "cause", cause, "stack", string(debug.Stack()))
		}
	}
}
