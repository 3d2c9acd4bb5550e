package wire

import (
	"math"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// MechanismToProto makes a message of a mechanism: CKR_MECHANISM_PARAM_INVALID if a number in its parameter is larger
// than any that means something.
func MechanismToProto(m cryptoki.Mechanism) (*anyhsmv1.Mechanism, error) {
	message := &anyhsmv1.Mechanism{Type: uint64(m.Type)}
	switch p := m.Params.(type) {
	case nil:
	case cryptoki.IVParams:
		message.Parameters = &anyhsmv1.Mechanism_Iv{Iv: &anyhsmv1.IvParameters{Iv: p.IV}}
	case cryptoki.CTRParams:
		bits, err := narrow(m, "counter bits", p.CounterBits)
		if err != nil {
			return nil, err
		}
		message.Parameters = &anyhsmv1.Mechanism_Ctr{
			Ctr: &anyhsmv1.CtrParameters{CounterBits: bits, CounterBlock: p.CounterBlock[:]},
		}
	case cryptoki.GCMParams:
		bits, err := narrow(m, "tag bits", p.TagBits)
		if err != nil {
			return nil, err
		}
		message.Parameters = &anyhsmv1.Mechanism_Gcm{Gcm: &anyhsmv1.GcmParameters{Iv: p.IV, Aad: p.AAD, TagBits: bits}}
	case cryptoki.PSSParams:
		salt, err := narrow(m, "salt length", p.SaltLength)
		if err != nil {
			return nil, err
		}
		message.Parameters = &anyhsmv1.Mechanism_Pss{
			Pss: &anyhsmv1.PssParameters{Hash: uint64(p.Hash), Mgf: p.MGF, SaltLength: salt},
		}
	case cryptoki.OAEPParams:
		message.Parameters = &anyhsmv1.Mechanism_Oaep{
			Oaep: &anyhsmv1.OaepParameters{Hash: uint64(p.Hash), Mgf: p.MGF, Label: p.Label},
		}
	case cryptoki.ECDH1Params:
		message.Parameters = &anyhsmv1.Mechanism_Ecdh{
			Ecdh: &anyhsmv1.EcdhParameters{Kdf: p.KDF, SharedData: p.SharedData, PublicData: p.PublicData},
		}
	case cryptoki.EDDSAParams:
		message.Parameters = &anyhsmv1.Mechanism_Eddsa{
			Eddsa: &anyhsmv1.EddsaParameters{Prehash: p.Prehash, Context: p.Context},
		}
	case cryptoki.SignContextParams:
		hedge, err := narrow(m, "hedge variants", p.Hedge)
		if err != nil {
			return nil, err
		}
		message.Parameters = &anyhsmv1.Mechanism_SignContext{
			SignContext: &anyhsmv1.SignContextParameters{Hedge: hedge, Context: p.Context},
		}
	case cryptoki.MACGeneralParams:
		length, err := narrow(m, "MAC length", p.Length)
		if err != nil {
			return nil, err
		}
		message.Parameters = &anyhsmv1.Mechanism_MacLength{MacLength: &anyhsmv1.MacLengthParameters{Length: length}}
	default:
		return nil, fault.New(fault.MechanismParamInvalid,
			"the parameter of %v has a type that does not travel (%T); use one of internal/cryptoki", m.Type, p)
	}
	return message, nil
}

// MechanismFromProto makes a mechanism of a message. A parameter of a newer version reads as no parameter, which the
// mechanism's check then refuses if it needs one.
func MechanismFromProto(message *anyhsmv1.Mechanism) (cryptoki.Mechanism, error) {
	m := cryptoki.Mechanism{Type: cryptoki.MechanismType(message.GetType())}
	switch p := message.GetParameters().(type) {
	case nil:
	case *anyhsmv1.Mechanism_Iv:
		m.Params = cryptoki.IVParams{IV: filled(p.Iv.GetIv())}
	case *anyhsmv1.Mechanism_Ctr:
		params := cryptoki.CTRParams{CounterBits: uint64(p.Ctr.GetCounterBits())}
		if n := copy(params.CounterBlock[:], p.Ctr.GetCounterBlock()); n != len(p.Ctr.GetCounterBlock()) || n != 16 {
			return cryptoki.Mechanism{}, fault.New(fault.MechanismParamInvalid,
				"the counter block of %v has %d bytes; it needs 16", m.Type, len(p.Ctr.GetCounterBlock()))
		}
		m.Params = params
	case *anyhsmv1.Mechanism_Gcm:
		m.Params = cryptoki.GCMParams{
			IV: filled(p.Gcm.GetIv()), AAD: filled(p.Gcm.GetAad()), TagBits: uint64(p.Gcm.GetTagBits()),
		}
	case *anyhsmv1.Mechanism_Pss:
		m.Params = cryptoki.PSSParams{
			Hash: cryptoki.MechanismType(p.Pss.GetHash()), MGF: p.Pss.GetMgf(), SaltLength: uint64(p.Pss.GetSaltLength()),
		}
	case *anyhsmv1.Mechanism_Oaep:
		m.Params = cryptoki.OAEPParams{
			Hash: cryptoki.MechanismType(p.Oaep.GetHash()), MGF: p.Oaep.GetMgf(), Label: filled(p.Oaep.GetLabel()),
		}
	case *anyhsmv1.Mechanism_Ecdh:
		m.Params = cryptoki.ECDH1Params{
			KDF: p.Ecdh.GetKdf(), SharedData: filled(p.Ecdh.GetSharedData()), PublicData: filled(p.Ecdh.GetPublicData()),
		}
	case *anyhsmv1.Mechanism_Eddsa:
		m.Params = cryptoki.EDDSAParams{Prehash: p.Eddsa.GetPrehash(), Context: filled(p.Eddsa.GetContext())}
	case *anyhsmv1.Mechanism_SignContext:
		m.Params = cryptoki.SignContextParams{Hedge: uint64(p.SignContext.GetHedge()), Context: filled(p.SignContext.GetContext())}
	case *anyhsmv1.Mechanism_MacLength:
		m.Params = cryptoki.MACGeneralParams{Length: uint64(p.MacLength.GetLength())}
	}
	return m, nil
}

// narrow fits a CK_ULONG into the wire's 32 bits.
func narrow(m cryptoki.Mechanism, what string, value uint64) (uint32, error) {
	if value > math.MaxUint32 {
		return 0, fault.New(fault.MechanismParamInvalid, "the %s of %v are absurd (%d); check the parameter", what, m.Type, value)
	}
	return uint32(value), nil
}

// filled makes "no bytes" nil, which is how internal/cryptoki says it.
func filled(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}
