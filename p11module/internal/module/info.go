package module

import "github.com/anyhsm/anyhsm/internal/cryptoki"

// Version is a CK_VERSION.
type Version struct{ Major, Minor byte }

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
