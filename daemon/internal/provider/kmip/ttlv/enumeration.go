package ttlv

// Operations.
const (
	OpCreate           uint32 = 0x1
	OpCreateKeyPair    uint32 = 0x2
	OpRegister         uint32 = 0x3
	OpLocate           uint32 = 0x8
	OpGet              uint32 = 0xA
	OpGetAttributes    uint32 = 0xB
	OpActivate         uint32 = 0x12
	OpRevoke           uint32 = 0x13
	OpDestroy          uint32 = 0x14
	OpQuery            uint32 = 0x18
	OpDiscoverVersions uint32 = 0x1E
	OpEncrypt          uint32 = 0x1F
	OpDecrypt          uint32 = 0x20
	OpSign             uint32 = 0x21
	OpSignatureVerify  uint32 = 0x22
	OpMAC              uint32 = 0x23
	OpRngRetrieve      uint32 = 0x25
)

// Result reasons.
const (
	ReasonItemNotFound                       uint32 = 0x1
	ReasonResponseTooLarge                   uint32 = 0x2
	ReasonAuthenticationNotSuccessful        uint32 = 0x3
	ReasonInvalidMessage                     uint32 = 0x4
	ReasonOperationNotSupported              uint32 = 0x5
	ReasonMissingData                        uint32 = 0x6
	ReasonInvalidField                       uint32 = 0x7
	ReasonFeatureNotSupported                uint32 = 0x8
	ReasonCryptographicFailure               uint32 = 0xA
	ReasonIllegalOperation                   uint32 = 0xB
	ReasonPermissionDenied                   uint32 = 0xC
	ReasonObjectArchived                     uint32 = 0xD
	ReasonKeyFormatTypeNotSupported          uint32 = 0x10
	ReasonKeyValueNotPresent                 uint32 = 0x13
	ReasonSensitive                          uint32 = 0x16
	ReasonNotExtractable                     uint32 = 0x17
	ReasonObjectAlreadyExists                uint32 = 0x18
	ReasonUsageLimitExceeded                 uint32 = 0x1A
	ReasonUnsupportedAttribute               uint32 = 0x1F
	ReasonBadCryptographicParameters         uint32 = 0x24
	ReasonBadPassword                        uint32 = 0x25
	ReasonIllegalObjectType                  uint32 = 0x28
	ReasonIncompatibleCryptographicUsageMask uint32 = 0x29
	ReasonInvalidAttribute                   uint32 = 0x2C
	ReasonInvalidAttributeValue              uint32 = 0x2D
	ReasonNonUniqueNameAttribute             uint32 = 0x35
	ReasonObjectDestroyed                    uint32 = 0x36
	ReasonObjectNotFound                     uint32 = 0x37
	ReasonNotAuthorised                      uint32 = 0x39
	ReasonServerLimitExceeded                uint32 = 0x3A
	ReasonUnsupportedCryptographicParameters uint32 = 0x3E
	ReasonUnsupportedProtocolVersion         uint32 = 0x3F
	ReasonWrongKeyLifecycleState             uint32 = 0x43
	ReasonGeneralFailure                     uint32 = 0x100
)

// Cryptographic algorithms.
const (
	AlgorithmAes        uint32 = 0x3
	AlgorithmRsa        uint32 = 0x4
	AlgorithmEcdsa      uint32 = 0x6
	AlgorithmHmacSha1   uint32 = 0x7
	AlgorithmHmacSha224 uint32 = 0x8
	AlgorithmHmacSha256 uint32 = 0x9
	AlgorithmHmacSha384 uint32 = 0xA
	AlgorithmHmacSha512 uint32 = 0xB
	AlgorithmEc         uint32 = 0x1A
)

// Hashing algorithms.
const (
	HashSha1    uint32 = 0x4
	HashSha224  uint32 = 0x5
	HashSha256  uint32 = 0x6
	HashSha384  uint32 = 0x7
	HashSha512  uint32 = 0x8
	HashSha3224 uint32 = 0xE
	HashSha3256 uint32 = 0xF
	HashSha3384 uint32 = 0x10
	HashSha3512 uint32 = 0x11
)

// Padding methods.
const (
	PaddingNone     uint32 = 0x1
	PaddingOaep     uint32 = 0x2
	PaddingPkcs5    uint32 = 0x3
	PaddingPkcs1v15 uint32 = 0x8
	PaddingPss      uint32 = 0xA
)

// Block cipher modes.
const (
	ModeCbc uint32 = 0x1
	ModeEcb uint32 = 0x2
	ModeCtr uint32 = 0x6
	ModeGcm uint32 = 0x9
)

// Key formats.
const (
	FormatRaw                       uint32 = 0x1
	FormatOpaque                    uint32 = 0x2
	FormatPkcs1                     uint32 = 0x3
	FormatPkcs8                     uint32 = 0x4
	FormatX509                      uint32 = 0x5
	FormatEcPrivateKey              uint32 = 0x6
	FormatTransparentSymmetricKey   uint32 = 0x7
	FormatTransparentRsaPublicKey   uint32 = 0xB
	FormatTransparentEcdsaPublicKey uint32 = 0xF
	FormatTransparentEcPublicKey    uint32 = 0x15
)

// Object types.
const (
	ObjectCertificate  uint32 = 0x1
	ObjectSymmetricKey uint32 = 0x2
	ObjectPublicKey    uint32 = 0x3
	ObjectPrivateKey   uint32 = 0x4
	ObjectSecretData   uint32 = 0x7
)

// States of objects.
const (
	StatePreActive            uint32 = 0x1
	StateActive               uint32 = 0x2
	StateDeactivated          uint32 = 0x3
	StateCompromised          uint32 = 0x4
	StateDestroyed            uint32 = 0x5
	StateDestroyedCompromised uint32 = 0x6
)

// Revocation reasons.
const (
	RevokeCessationOfOperation uint32 = 0x6
)

// Query functions.
const (
	QueryOperations        uint32 = 0x1
	QueryObjects           uint32 = 0x2
	QueryServerInformation uint32 = 0x3
)

// Curves.
const (
	CurveP224 uint32 = 0x4
	CurveP256 uint32 = 0x7
	CurveP384 uint32 = 0xA
	CurveP521 uint32 = 0xD
)

// Link types.
const (
	PublicKeyLink  uint32 = 0x102
	PrivateKeyLink uint32 = 0x103
)

// Enumerations with one value that is used.
const (
	MaskGeneratorMGF1             uint32 = 1
	NameUninterpretedText         uint32 = 1
	CredentialUsernameAndPassword uint32 = 1
)

// Result statuses.
const (
	StatusSuccess uint32 = iota
	StatusFailed
	StatusPending
	StatusUndone
)

// Bits of the Cryptographic Usage Mask.
const (
	UsageSign uint32 = 1 << iota
	UsageVerify
	UsageEncrypt
	UsageDecrypt
	UsageWrap
	UsageUnwrap
	UsageExport
	UsageMAC
	UsageMACVerify
)
