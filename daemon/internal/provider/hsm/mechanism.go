package hsm

import (
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// with makes a mechanism as the library takes it, for as long as the operation lasts: the binding keeps GCM's
// parameter in memory of its own until then.
func with(m cryptoki.Mechanism, use func([]*pkcs11.Mechanism) error) error {
	var parameter any
	switch params := m.Params.(type) {
	case nil:
	case cryptoki.IVParams:
		parameter = params.IV
	case cryptoki.CTRParams:
		parameter = append(ulong(params.CounterBits), params.CounterBlock[:]...)
	case cryptoki.GCMParams:
		gcm := pkcs11.NewGCMParams(params.IV, params.AAD, int(params.TagBits))
		defer gcm.Free()
		parameter = gcm
	case cryptoki.PSSParams:
		parameter = pkcs11.NewPSSParams(uint(params.Hash), uint(params.MGF), uint(params.SaltLength))
	case cryptoki.OAEPParams:
		// The source must be CKZ_DATA_SPECIFIED even where there is no label: real tokens insist.
		parameter = pkcs11.NewOAEPParams(uint(params.Hash), uint(params.MGF), pkcs11.CKZ_DATA_SPECIFIED, params.Label)
	case cryptoki.ECDH1Params:
		parameter = pkcs11.NewECDH1DeriveParams(uint(params.KDF), params.SharedData, params.PublicData)
	case cryptoki.EDDSAParams:
		if params.Prehash || len(params.Context) > 0 {
			return fault.New(fault.MechanismParamInvalid, "provider hsm signs with plain Ed25519 only, without a context or a hash")
		}
	default:
		return fault.New(fault.MechanismParamInvalid, "provider hsm cannot hand this parameter of %s to the HSM", m.Type)
	}
	return use([]*pkcs11.Mechanism{pkcs11.NewMechanism(uint(m.Type), parameter)})
}

// initFunction is C_SignInit and its like, runFunction C_Sign and its like.
type (
	initFunction func(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error
	runFunction  func(pkcs11.SessionHandle, []byte) ([]byte, error)
)

// operate runs an operation in one piece.
func (s *session) operate(begin initFunction, run runFunction, m cryptoki.Mechanism, key *object, data []byte) (out []byte, err error) {
	err = with(m, func(mechanism []*pkcs11.Mechanism) error {
		if err := begin(s.handle, mechanism, key.handle); err != nil {
			return &initError{err}
		}
		if key.confirm {
			// The HSM wants to hear the PIN again for each use. It has taken it at login, so this costs no try.
			if err := s.Login(s.handle, pkcs11.CKU_CONTEXT_SPECIFIC, s.pin); err != nil {
				return err
			}
		}
		out, err = run(s.handle, data)
		return err
	})
	return out, err
}

// initError marks the refusal of an operation's beginning: the library refuses the mechanism, its parameter or the
// key, not the data.
type initError struct{ cause error }

func (e *initError) Error() string { return e.cause.Error() }
func (e *initError) Unwrap() error { return e.cause }

// unsupported tells that the token refused a parameter that the standard allows. SoftHSM says CKR_ARGUMENTS_BAD, and
// opencryptoki says it only when it gets the data.
func unsupported(err error) bool {
	var begin *initError
	return is(err, cryptoki.CKR_MECHANISM_PARAM_INVALID) || errors.As(err, &begin) && is(err, cryptoki.CKR_MECHANISM_PARAM_INVALID, cryptoki.CKR_ARGUMENTS_BAD, cryptoki.CKR_MECHANISM_INVALID)
}
