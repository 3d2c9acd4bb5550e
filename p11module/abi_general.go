package main

/*
#include <stdlib.h>
#include <string.h>
#include "front.h"
*/
import "C"

import (
	"unsafe"

	"github.com/anyhsm/anyhsm/p11module/internal/daemonclient"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
)

func init() {
	// A forked child closes its copies of the daemon's connections, so the C half must know them.
	daemonclient.SocketOpened = func(fd int) { C.anyhsm_socket_opened(C.int(fd)) }
	daemonclient.SocketClosed = func(fd int) { C.anyhsm_socket_closed(C.int(fd)) }
}

// maxSettings bounds the pReserved string.
const maxSettings = 4096

// anyhsm_C_Initialize takes any locking: the module's own is always right. CKF_LIBRARY_CANT_CREATE_OS_THREADS is not
// refused, since NSS sets it always and Go's threads are there from load time on.
//
//export anyhsm_C_Initialize
func anyhsm_C_Initialize(pInitArgs C.CK_VOID_PTR) (rv C.CK_RV) {
	defer caught(nil, &rv)
	reserved := ""
	if pInitArgs != nil {
		arguments := (*C.CK_C_INITIALIZE_ARGS)(pInitArgs)
		callbacks := 0
		for _, there := range []bool{
			arguments.CreateMutex != nil, arguments.DestroyMutex != nil,
			arguments.LockMutex != nil, arguments.UnlockMutex != nil,
		} {
			if there {
				callbacks++
			}
		}
		if callbacks != 0 && callbacks != 4 {
			return C.CKR_ARGUMENTS_BAD
		}
		if text := C.anyhsm_settings(arguments); text != nil {
			reserved = C.GoStringN(text, C.int(C.strnlen(text, maxSettings)))
		}
	}
	lifecycle.Lock()
	defer lifecycle.Unlock()
	if current.Load() != nil {
		return C.CKR_CRYPTOKI_ALREADY_INITIALIZED
	}
	m, err := module.Open(reserved)
	if err != nil {
		return result(err)
	}
	inherited := C.CString(m.Inherited())
	C.anyhsm_settings_keep(inherited)
	C.free(unsafe.Pointer(inherited))
	current.Store(m)
	return C.CKR_OK
}

//export anyhsm_C_Finalize
func anyhsm_C_Finalize(pReserved C.CK_VOID_PTR) (rv C.CK_RV) {
	defer caught(nil, &rv)
	lifecycle.Lock()
	defer lifecycle.Unlock()
	m := current.Load()
	if m == nil {
		return C.CKR_CRYPTOKI_NOT_INITIALIZED
	}
	if pReserved != nil {
		return C.CKR_ARGUMENTS_BAD
	}
	current.Store(nil)
	m.Close()
	return C.CKR_OK
}

//export anyhsm_C_GetInfo
func anyhsm_C_GetInfo(pInfo C.CK_INFO_PTR) C.CK_RV {
	return call(func(m *module.Module) error {
		if pInfo == nil {
			return errArguments
		}
		info := m.Info()
		*pInfo = C.CK_INFO{cryptokiVersion: version(info.Cryptoki), libraryVersion: version(info.Library)}
		writeText(pInfo.manufacturerID[:], info.ManufacturerID)
		writeText(pInfo.libraryDescription[:], info.Description)
		return nil
	})
}

func version(v module.Version) C.CK_VERSION {
	return C.CK_VERSION{major: C.CK_BYTE(v.Major), minor: C.CK_BYTE(v.Minor)}
}
