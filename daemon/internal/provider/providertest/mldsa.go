package providertest

import (
	"testing"

	"filippo.io/mldsa"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

func parametersOf(set *parameterset.Set) mldsa.Parameters {
	return map[uint64]mldsa.Parameters{
		cryptoki.CKP_ML_DSA_44: mldsa.MLDSA44(), cryptoki.CKP_ML_DSA_65: mldsa.MLDSA65(), cryptoki.CKP_ML_DSA_87: mldsa.MLDSA87(),
	}[set.Parameter]
}

func setOf(public *mldsa.PublicKey) *parameterset.Set {
	for _, set := range parameterset.All() {
		if parametersOf(set) == public.Parameters() {
			return set
		}
	}
	return nil
}

// latticeKey reads the ML-DSA public key that a provider has generated, and checks its form.
func latticeKey(t *testing.T, public cryptoki.Attributes) *mldsa.PublicKey {
	t.Helper()
	set, err := parameterset.Of(public)
	if err != nil {
		t.Fatalf("CKA_PARAMETER_SET is wrong: %v", err)
	}
	key, err := mldsa.NewPublicKey(parametersOf(set), public.Bytes(cryptoki.CKA_VALUE))
	if err != nil {
		t.Fatalf("CKA_VALUE is no public key of %s: %v", set.Name, err)
	}
	if named, value, ok := parameterset.ParsePublicKeyInfo(public.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO)); !ok || named != set || string(value) != string(key.Bytes()) {
		t.Fatal("CKA_PUBLIC_KEY_INFO is not that key")
	}
	return key
}

// proveLattice checks ML-DSA of a key with the library's own verification.
func (s *suite) proveLattice(t *testing.T, k *testKey, set *parameterset.Set) {
	t.Helper()
	public := k.public.(*mldsa.PublicKey)
	try := func(name string, params cryptoki.Params, context string, message []byte) {
		t.Helper()
		signature, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA, Params: params}, message)
		if err != nil || len(signature) != set.Signature {
			t.Errorf("%s: a signature of %d bytes: %v", name, len(signature), err)
			return
		}
		if err := mldsa.Verify(public, message, signature, &mldsa.Options{Context: context}); err != nil {
			t.Errorf("%s: the signature does not verify: %v", name, err)
		}
		if mldsa.Verify(public, message, signature, &mldsa.Options{Context: context + "?"}) == nil {
			t.Errorf("%s: the signature verifies with another context", name)
		}
	}
	row, _ := s.capabilities.Mechanism(cryptoki.CKM_ML_DSA)
	for _, length := range []int{0, 1, 4096, 4097, 100_000} {
		if !row.AnyLength && s.tooLong(length) {
			continue
		}
		try("no parameter", nil, "", random(length))
	}
	long := string(random(parameterset.MaxContext))
	try("an empty context", cryptoki.SignContextParams{}, "", []byte("message"))
	try("a context", cryptoki.SignContextParams{Context: []byte("context")}, "context", []byte("message"))
	try("the longest context", cryptoki.SignContextParams{Context: []byte(long)}, long, []byte("message"))
	for name, params := range map[string]cryptoki.Params{
		"a context too long":      cryptoki.SignContextParams{Context: random(parameterset.MaxContext + 1)},
		"an unknown hedge":        cryptoki.SignContextParams{Hedge: 3},
		"the parameter of EdDSA":  cryptoki.EDDSAParams{},
		"an initialising vector":  cryptoki.IVParams{IV: random(16)},
		"a length of another MAC": cryptoki.MACGeneralParams{Length: 8},
	} {
		_, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA, Params: params}, []byte("message"))
		t.Run(name, func(t *testing.T) { wants(t, err, fault.MechanismParamInvalid) })
	}
	s.proveDeterministic(t, k)
}

// proveDeterministic asks for each variant: who cannot make it must say so.
func (s *suite) proveDeterministic(t *testing.T, k *testKey) {
	t.Helper()
	for hedge, same := range map[uint64]bool{cryptoki.CKH_DETERMINISTIC_REQUIRED: true, cryptoki.CKH_HEDGE_REQUIRED: false} {
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA, Params: cryptoki.SignContextParams{Hedge: hedge}}
		one, err := s.sign(t, k, m, []byte("message"))
		if err != nil {
			wants(t, err, fault.MechanismParamInvalid)
			continue
		}
		other, err := s.sign(t, k, m, []byte("message"))
		if err != nil || (string(one) == string(other)) != same {
			t.Errorf("hedge variant %d: two signatures are the same: %t, %v", hedge, string(one) == string(other), err)
		}
	}
}
