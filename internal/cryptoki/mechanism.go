package cryptoki

// Mechanism is a CK_MECHANISM whose parameter has been read. Params is nil for a mechanism without one.
type Mechanism struct {
	Type   MechanismType
	Params Params
}

// Params is the parameter of a mechanism: one of the types below, always by value.
type Params interface{ params() }

// IVParams is the initialisation vector of a block cipher's chaining mode.
type IVParams struct{ IV []byte }

// CTRParams is CK_AES_CTR_PARAMS. CounterBits counts from the block's end.
type CTRParams struct {
	CounterBits  uint64
	CounterBlock [16]byte
}

// GCMParams is CK_GCM_PARAMS; TagBits is the tag's length in bits.
type GCMParams struct {
	IV, AAD []byte
	TagBits uint64
}

// PSSParams is CK_RSA_PKCS_PSS_PARAMS; SaltLength is in bytes.
type PSSParams struct {
	Hash       MechanismType
	MGF        uint64
	SaltLength uint64
}

// OAEPParams is CK_RSA_PKCS_OAEP_PARAMS; Label is nil when no source was given.
type OAEPParams struct {
	Hash  MechanismType
	MGF   uint64
	Label []byte
}

// ECDH1Params is CK_ECDH1_DERIVE_PARAMS. PublicData is the other side's point, raw or as a DER OCTET STRING.
type ECDH1Params struct {
	KDF        uint64
	SharedData []byte
	PublicData []byte
}

// EDDSAParams is CK_EDDSA_PARAMS.
type EDDSAParams struct {
	Prehash bool
	Context []byte
}

// SignContextParams is CK_SIGN_ADDITIONAL_CONTEXT: one of CKH_HEDGE_PREFERRED, CKH_HEDGE_REQUIRED and
// CKH_DETERMINISTIC_REQUIRED, and the context string of FIPS 204.
type SignContextParams struct {
	Hedge   uint64
	Context []byte
}

// MACGeneralParams is CK_MAC_GENERAL_PARAMS: the length of the MAC in bytes.
type MACGeneralParams struct{ Length uint64 }

func (IVParams) params()          {}
func (CTRParams) params()         {}
func (GCMParams) params()         {}
func (PSSParams) params()         {}
func (OAEPParams) params()        {}
func (ECDH1Params) params()       {}
func (EDDSAParams) params()       {}
func (SignContextParams) params() {}
func (MACGeneralParams) params()  {}
