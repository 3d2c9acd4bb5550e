package main

/*
#include "pkcs11.h"
*/
import "C"

import (
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
)

// labelSize is the width of a token's label.
const labelSize = 32

//export anyhsm_C_GetSlotList
func anyhsm_C_GetSlotList(tokenPresent C.CK_BBOOL, pSlotList C.CK_SLOT_ID_PTR, pulCount C.CK_ULONG_PTR) C.CK_RV {
	return call(func(m *module.Module) error {
		return writeUlongs((*C.CK_ULONG)(pSlotList), pulCount, func() ([]uint64, error) {
			return m.SlotList(tokenPresent != 0)
		})
	})
}

//export anyhsm_C_GetSlotInfo
func anyhsm_C_GetSlotInfo(slotID C.CK_SLOT_ID, pInfo C.CK_SLOT_INFO_PTR) C.CK_RV {
	return call(func(m *module.Module) error {
		if pInfo == nil {
			return errArguments
		}
		info, err := m.SlotInfo(uint64(slotID))
		if err != nil {
			return err
		}
		*pInfo = C.CK_SLOT_INFO{
			flags:           C.CK_FLAGS(info.Flags),
			hardwareVersion: version(info.HardwareVersion),
			firmwareVersion: version(info.FirmwareVersion),
		}
		writeText(pInfo.slotDescription[:], info.Description)
		writeText(pInfo.manufacturerID[:], info.ManufacturerID)
		return nil
	})
}

//export anyhsm_C_GetTokenInfo
func anyhsm_C_GetTokenInfo(slotID C.CK_SLOT_ID, pInfo C.CK_TOKEN_INFO_PTR) C.CK_RV {
	return call(func(m *module.Module) error {
		if pInfo == nil {
			return errArguments
		}
		info, err := m.TokenInfo(uint64(slotID))
		if err != nil {
			return err
		}
		*pInfo = C.CK_TOKEN_INFO{
			flags:                C.CK_FLAGS(info.Flags),
			ulMaxSessionCount:    C.CK_ULONG(info.MaxSessionCount),
			ulSessionCount:       C.CK_ULONG(info.SessionCount),
			ulMaxRwSessionCount:  C.CK_ULONG(info.MaxRwSessionCount),
			ulRwSessionCount:     C.CK_ULONG(info.RwSessionCount),
			ulMaxPinLen:          C.CK_ULONG(info.MaxPinLen),
			ulMinPinLen:          C.CK_ULONG(info.MinPinLen),
			ulTotalPublicMemory:  C.CK_ULONG(info.TotalPublicMemory),
			ulFreePublicMemory:   C.CK_ULONG(info.FreePublicMemory),
			ulTotalPrivateMemory: C.CK_ULONG(info.TotalPrivateMemory),
			ulFreePrivateMemory:  C.CK_ULONG(info.FreePrivateMemory),
			hardwareVersion:      version(info.HardwareVersion),
			firmwareVersion:      version(info.FirmwareVersion),
		}
		writeText(pInfo.label[:], info.Label)
		writeText(pInfo.manufacturerID[:], info.ManufacturerID)
		writeText(pInfo.model[:], info.Model)
		writeText(pInfo.serialNumber[:], info.SerialNumber)
		writeText(pInfo.utcTime[:], info.UTCTime)
		return nil
	})
}

//export anyhsm_C_GetMechanismList
func anyhsm_C_GetMechanismList(
	slotID C.CK_SLOT_ID, pMechanismList C.CK_MECHANISM_TYPE_PTR, pulCount C.CK_ULONG_PTR,
) C.CK_RV {
	return call(func(m *module.Module) error {
		return writeUlongs((*C.CK_ULONG)(pMechanismList), pulCount, func() ([]cryptoki.MechanismType, error) {
			return m.MechanismList(uint64(slotID))
		})
	})
}

//export anyhsm_C_GetMechanismInfo
func anyhsm_C_GetMechanismInfo(
	slotID C.CK_SLOT_ID, kind C.CK_MECHANISM_TYPE, pInfo C.CK_MECHANISM_INFO_PTR,
) C.CK_RV {
	return call(func(m *module.Module) error {
		if pInfo == nil {
			return errArguments
		}
		info, err := m.MechanismInfo(uint64(slotID), cryptoki.MechanismType(kind))
		if err != nil {
			return err
		}
		*pInfo = C.CK_MECHANISM_INFO{
			ulMinKeySize: C.CK_ULONG(info.MinKeySize),
			ulMaxKeySize: C.CK_ULONG(info.MaxKeySize),
			flags:        C.CK_FLAGS(info.Flags),
		}
		return nil
	})
}

//export anyhsm_C_InitToken
func anyhsm_C_InitToken(
	slotID C.CK_SLOT_ID, pPin C.CK_UTF8CHAR_PTR, ulPinLen C.CK_ULONG, pLabel C.CK_UTF8CHAR_PTR,
) C.CK_RV {
	return call(func(m *module.Module) error {
		pin, err := viewPIN(pPin, ulPinLen)
		if err != nil || pLabel == nil {
			return errArguments
		}
		return m.InitToken(uint64(slotID), pin, readText(unsafe.Slice((*byte)(unsafe.Pointer(pLabel)), labelSize)))
	})
}

//export anyhsm_C_WaitForSlotEvent
func anyhsm_C_WaitForSlotEvent(flags C.CK_FLAGS, pSlot C.CK_SLOT_ID_PTR, pReserved C.CK_VOID_PTR) C.CK_RV {
	return call(func(m *module.Module) error {
		if pSlot == nil || pReserved != nil {
			return errArguments
		}
		slot, err := m.WaitForSlotEvent(cryptoki.Flags(flags))
		if err == nil {
			*pSlot = C.CK_SLOT_ID(slot)
		}
		return err
	})
}
