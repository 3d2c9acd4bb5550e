// Package parameterset knows the parameter sets of ML-DSA (FIPS 204): CKA_PARAMETER_SET, names, sizes, and the public key
// as X.509 writes it.
package parameterset

import (
	"bytes"
	"crypto/sha3"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// MaxContext is the longest context string.
const MaxContext = 255

// Set is a parameter set.
type Set struct {
	// Name is FIPS 204's.
	Name string
	// Parameter is the value of CKA_PARAMETER_SET.
	Parameter uint64
	// Public, Private and Signature are lengths in bytes; Private is that of the expanded key.
	Public, Private, Signature int
	oid                        asn1.ObjectIdentifier
}

// Seed is the length of the seed that a private key is made of.
const Seed = 32

var all = []*Set{
	{"ML-DSA-44", cryptoki.CKP_ML_DSA_44, 1312, 2560, 2420, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}},
	{"ML-DSA-65", cryptoki.CKP_ML_DSA_65, 1952, 4032, 3309, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 18}},
	{"ML-DSA-87", cryptoki.CKP_ML_DSA_87, 2592, 4896, 4627, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 19}},
}

// All returns the parameter sets, the smallest first.
func All() []*Set { return all }

// Of returns the parameter set of a key's CKA_PARAMETER_SET: CKR_TEMPLATE_INCOMPLETE without one,
// CKR_PARAMETER_SET_NOT_SUPPORTED for another one.
func Of(key cryptoki.Attributes) (*Set, error) {
	parameter, ok := key.Ulong(cryptoki.CKA_PARAMETER_SET)
	if !ok {
		return nil, fault.New(fault.TemplateIncomplete, "the key lacks CKA_PARAMETER_SET; add CKP_ML_DSA_44, CKP_ML_DSA_65 or CKP_ML_DSA_87")
	}
	for _, s := range all {
		if s.Parameter == parameter {
			return s, nil
		}
	}
	return nil, fault.New(fault.ParameterSetNotSupported, "CKA_PARAMETER_SET %d is no parameter set of ML-DSA; use CKP_ML_DSA_44, CKP_ML_DSA_65 or CKP_ML_DSA_87", parameter)
}

// publicKeyInfo is X.509's SubjectPublicKeyInfo. RFC 9881 leaves the algorithm's parameters out.
type publicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// PublicKeyInfo writes a public key as X.509 does, DER.
func (s *Set) PublicKeyInfo(public []byte) []byte {
	// Constants and bytes encode.
	der, _ := asn1.Marshal(publicKeyInfo{pkix.AlgorithmIdentifier{Algorithm: s.oid}, asn1.BitString{Bytes: public, BitLength: 8 * len(public)}})
	return der
}

// ParsePublicKeyInfo reads what PublicKeyInfo writes; false if it is the key of another algorithm or has another length.
func ParsePublicKeyInfo(der []byte) (s *Set, public []byte, ok bool) {
	var info publicKeyInfo
	rest, err := asn1.Unmarshal(der, &info)
	if err != nil || len(rest) != 0 {
		return nil, nil, false
	}
	for _, s := range all {
		if info.Algorithm.Algorithm.Equal(s.oid) && len(info.Algorithm.Parameters.FullBytes) == 0 && info.Key.BitLength == 8*s.Public {
			return s, info.Key.Bytes, true
		}
	}
	return nil, nil, false
}

// Attributes returns CKA_PARAMETER_SET and CKA_VALUE of a public key.
func (s *Set) Attributes(public []byte) cryptoki.Attributes {
	return cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, s.Parameter), cryptoki.Bytes(cryptoki.CKA_VALUE, bytes.Clone(public)),
	}
}

// Mu returns the message representative of FIPS 204, section 5.2, for pure ML-DSA: what remains of a message of any length.
func Mu(public, context, message []byte) []byte {
	tr := sha3.SumSHAKE256(public, 64)
	h := sha3.NewSHAKE256()
	_, _ = h.Write(tr)
	_, _ = h.Write([]byte{0, byte(len(context))})
	_, _ = h.Write(context)
	_, _ = h.Write(message)
	mu := make([]byte, 64)
	_, _ = h.Read(mu)
	return mu
}

// Expands tells whether an expanded private key is one of a public key, by what both say: ρ and the hash of the public key.
func (s *Set) Expands(private, public []byte) bool {
	return len(private) == s.Private && len(public) == s.Public &&
		bytes.Equal(private[:32], public[:32]) && bytes.Equal(private[64:128], sha3.SumSHAKE256(public, 64))
}
