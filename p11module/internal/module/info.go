package module

import (
	"cmp"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

const manufacturer = "AnyHSM"

// Version is a CK_VERSION.
type Version struct{ Major, Minor byte }

// libraryVersion is the same for all builds of an interface: pkcs11-provider compares CK_INFO byte by byte with what it
// saw when a key was stored.
var libraryVersion = Version{Major: 1, Minor: 0}

// Info is CK_INFO; Flags are always 0.
type Info struct {
	Cryptoki       Version
	ManufacturerID string
	Description    string
	Library        Version
}

// SlotInfo is CK_SLOT_INFO.
type SlotInfo struct {
	Description     string
	ManufacturerID  string
	Flags           cryptoki.Flags
	HardwareVersion Version
	FirmwareVersion Version
}

// TokenInfo is CK_TOKEN_INFO.
type TokenInfo struct {
	Label              string
	ManufacturerID     string
	Model              string
	SerialNumber       string
	Flags              cryptoki.Flags
	MaxSessionCount    uint64
	SessionCount       uint64
	MaxRwSessionCount  uint64
	RwSessionCount     uint64
	MaxPinLen          uint64
	MinPinLen          uint64
	TotalPublicMemory  uint64
	FreePublicMemory   uint64
	TotalPrivateMemory uint64
	FreePrivateMemory  uint64
	HardwareVersion    Version
	FirmwareVersion    Version
	UTCTime            string
}

// MechanismInfo is CK_MECHANISM_INFO.
type MechanismInfo struct {
	MinKeySize, MaxKeySize uint64
	Flags                  cryptoki.Flags
}

// Info is C_GetInfo. It is constant.
func (m *Module) Info() Info {
	return Info{
		Cryptoki: Version{Major: 3, Minor: 2}, ManufacturerID: manufacturer,
		Description: "AnyHSM PKCS#11 module", Library: libraryVersion,
	}
}

// SlotInfo is C_GetSlotInfo.
func (m *Module) SlotInfo(id uint64) (SlotInfo, error) {
	found, err := m.slot(id)
	if err != nil {
		return SlotInfo{}, err
	}
	info := SlotInfo{
		Description: found.description, ManufacturerID: manufacturer,
		HardwareVersion: libraryVersion, FirmwareVersion: libraryVersion,
	}
	if m.present() {
		info.Flags = cryptoki.CKF_TOKEN_PRESENT
	}
	return info, nil
}

// present tells whether the daemon answered when it was asked last.
func (m *Module) present() bool {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	return m.slots.reachable
}

// TokenInfo is C_GetTokenInfo. Its flags tell of PINs, which others may change, so it is asked for anew when it is
// older than a second.
func (m *Module) TokenInfo(id uint64) (TokenInfo, error) {
	m.refresh()
	found, err := m.slot(id)
	if err != nil {
		return TokenInfo{}, err
	}
	if !m.present() {
		return TokenInfo{}, cryptoki.CKR_TOKEN_NOT_PRESENT
	}
	all, writing := found.token.Sessions()
	return TokenInfo{
		Label: found.info.GetLabel(), ManufacturerID: manufacturer, Model: found.info.GetModel(),
		SerialNumber: found.info.GetSerialNumber(), Flags: found.facts.Flags,
		MaxSessionCount: cryptoki.CK_EFFECTIVELY_INFINITE, SessionCount: all,
		MaxRwSessionCount: cryptoki.CK_EFFECTIVELY_INFINITE, RwSessionCount: writing,
		MaxPinLen: uint64(found.info.GetMaxPinLength()), MinPinLen: uint64(found.info.GetMinPinLength()),
		TotalPublicMemory: cryptoki.CK_UNAVAILABLE_INFORMATION, FreePublicMemory: cryptoki.CK_UNAVAILABLE_INFORMATION,
		TotalPrivateMemory: cryptoki.CK_UNAVAILABLE_INFORMATION, FreePrivateMemory: cryptoki.CK_UNAVAILABLE_INFORMATION,
		HardwareVersion: libraryVersion, FirmwareVersion: libraryVersion,
	}, nil
}

// MechanismList is C_GetMechanismList, in the order of the mechanisms' numbers.
func (m *Module) MechanismList(id uint64) ([]cryptoki.MechanismType, error) {
	found, err := m.slot(id)
	if err != nil {
		return nil, err
	}
	list := make([]cryptoki.MechanismType, 0, len(found.facts.Mechanisms))
	for t := range found.facts.Mechanisms {
		list = append(list, t)
	}
	slices.SortFunc(list, cmp.Compare[cryptoki.MechanismType])
	return list, nil
}

// MechanismInfo is C_GetMechanismInfo.
func (m *Module) MechanismInfo(id uint64, t cryptoki.MechanismType) (MechanismInfo, error) {
	found, err := m.slot(id)
	if err != nil {
		return MechanismInfo{}, err
	}
	row, ok := found.facts.Mechanisms[t]
	if !ok {
		return MechanismInfo{}, cryptoki.CKR_MECHANISM_INVALID
	}
	return MechanismInfo{MinKeySize: row.MinKeySize, MaxKeySize: row.MaxKeySize, Flags: row.Flags}, nil
}
