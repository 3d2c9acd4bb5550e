package softkey

import (
	"bytes"
	"encoding/asn1"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// ParsePKCS8 reads a private key as PKCS#8: what crypto/x509 reads, and ML-DSA as a seed. As in crypto/x509 something may
// follow: SoftHSM 2.6 fills what it wraps up to whole 8 bytes.
func ParsePKCS8(der []byte) (any, error) {
	var key asn1.RawValue
	if _, err := asn1.Unmarshal(der, &key); err != nil {
		return nil, err
	}
	return mldsax509.ParsePKCS8PrivateKey(key.FullBytes)
}

// ParsePKIX reads a public key as X.509's SubjectPublicKeyInfo: what crypto/x509 reads, and ML-DSA.
func ParsePKIX(der []byte) (any, error) { return mldsax509.ParsePKIXPublicKey(der) }

func parametersOf(set *parameterset.Set) mldsa.Parameters {
	switch set.Parameter {
	case cryptoki.CKP_ML_DSA_44:
		return mldsa.MLDSA44()
	case cryptoki.CKP_ML_DSA_65:
		return mldsa.MLDSA65()
	default:
		return mldsa.MLDSA87()
	}
}

// publicMLDSA names CKA_PUBLIC_KEY_INFO as well: nothing else of a private key's open attributes tells its public half.
func publicMLDSA(public *mldsa.PublicKey) cryptoki.Attributes {
	value := public.Bytes()
	var set *parameterset.Set
	for _, s := range parameterset.All() {
		if parametersOf(s) == public.Parameters() {
			set = s
		}
	}
	return append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_ML_DSA),
		cryptoki.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO, set.PublicKeyInfo(value)),
	}, set.Attributes(value)...)
}

func (k *Key) readMLDSA(as cryptoki.Attributes, private bool) error {
	set, err := parameterset.Of(as)
	if err != nil {
		return err
	}
	if private {
		return k.readPrivateMLDSA(as, set)
	}
	value, ok := as.Get(cryptoki.CKA_VALUE)
	if info := as.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO); !ok && len(info) > 0 {
		var named *parameterset.Set
		if named, value, ok = parameterset.ParsePublicKeyInfo(info); !ok || named != set {
			return wrong(cryptoki.CKA_PUBLIC_KEY_INFO, "is not a public key of "+set.Name)
		}
	}
	if !ok {
		return missing(cryptoki.CKA_VALUE)
	}
	if k.mldsaPublic, err = mldsa.NewPublicKey(parametersOf(set), value); err != nil {
		return wrong(cryptoki.CKA_VALUE, "is not a public key of "+set.Name)
	}
	return nil
}

// readPrivateMLDSA takes the seed. Of the expanded key, where it is given as well, it compares what does not need to be
// computed again: ρ, which the public key begins with, and the hash of the public key.
func (k *Key) readPrivateMLDSA(as cryptoki.Attributes, set *parameterset.Set) error {
	seed, ok := as.Get(cryptoki.CKA_SEED)
	if !ok {
		return missing(cryptoki.CKA_SEED)
	}
	private, err := mldsa.NewPrivateKey(parametersOf(set), seed)
	if err != nil {
		return wrong(cryptoki.CKA_SEED, "is not a seed of 32 bytes")
	}
	k.mldsaPrivate, k.mldsaPublic = private, private.PublicKey()
	public := k.mldsaPublic.Bytes()
	if value, ok := as.Get(cryptoki.CKA_VALUE); ok && !set.Expands(value, public) {
		return wrong(cryptoki.CKA_VALUE, "is not the private key that CKA_SEED makes")
	}
	if info := as.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO); len(info) > 0 && !bytes.Equal(info, set.PublicKeyInfo(public)) {
		return wrong(cryptoki.CKA_PUBLIC_KEY_INFO, "does not belong to CKA_SEED")
	}
	return nil
}

func (k *Key) signMLDSA(m cryptoki.Mechanism, data []byte) ([]byte, error) {
	p, _ := m.Params.(cryptoki.SignContextParams)
	options := &mldsa.Options{Context: string(p.Context)}
	sign := func() ([]byte, error) { return k.mldsaPrivate.Sign(nil, data, options) }
	if p.Hedge == cryptoki.CKH_DETERMINISTIC_REQUIRED {
		sign = func() ([]byte, error) { return k.mldsaPrivate.SignDeterministic(data, options) }
	}
	signature, err := sign()
	if err != nil {
		return nil, fault.New(fault.FunctionFailed, "the ML-DSA signature failed; check the parameter: %w", err)
	}
	return signature, nil
}

func (k *Key) verifyMLDSA(m cryptoki.Mechanism, data, signature []byte) error {
	if len(signature) != k.mldsaPublic.Parameters().SignatureSize() {
		return signatureLength(len(signature))
	}
	p, _ := m.Params.(cryptoki.SignContextParams)
	if mldsa.Verify(k.mldsaPublic, data, signature, &mldsa.Options{Context: string(p.Context)}) != nil {
		return cryptoki.CKR_SIGNATURE_INVALID
	}
	return nil
}
