// Package mechanism holds the facts of mechanisms: which keys they take, what their parameters must be, how large their
// inputs and outputs are, what hashing ones reduce to. Module and daemon both ask it; it touches no key material.
package mechanism

import (
	"cmp"
	"crypto"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Info is what is true of a mechanism whatever the token.
type Info struct {
	Type cryptoki.MechanismType
	// KeyTypes are those of the keys it takes, or makes.
	KeyTypes []cryptoki.KeyType
	// MinSize and MaxSize are in the unit that CK_MECHANISM_INFO uses for it: bits of an RSA modulus, a curve or a
	// generic secret, bytes of an AES key or of an ML-DSA public key; 0 for digests.
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
	// Hash is what a hashing mechanism hashes with; 0 if it does not.
	Hash crypto.Hash
	// Base is the raw mechanism that a hashing one reduces to (CKM_SHA256_RSA_PKCS to CKM_RSA_PKCS); else Type.
	Base cryptoki.MechanismType
}

// Hashing tells whether the data is hashed first and a raw mechanism then takes the digest.
func (i Info) Hashing() bool { return i.Base != i.Type }

const (
	signVerify     = cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY
	encryptDecrypt = cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT
	curves         = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_OID | cryptoki.CKF_EC_CURVENAME | cryptoki.CKF_EC_UNCOMPRESS

	// An RSA key of 1024 bits can be brought along and used; a new one has 2048 at least.
	minRSA, minNewRSA, maxRSA = 1024, 2048, 8192
	minEC, maxEC              = 224, 521
	edwards                   = 255
	// The public keys of ML-DSA-44 and ML-DSA-87.
	minMLDSA, maxMLDSA   = 1312, 2592
	minAES, maxAES       = 16, 32
	minSecret, maxSecret = 8, 8 * 4096
)

var infos = func() map[cryptoki.MechanismType]Info {
	m := map[cryptoki.MechanismType]Info{}
	add := func(i Info) { m[i.Type] = i }
	raw := func(t cryptoki.MechanismType, keyType cryptoki.KeyType, minSize, maxSize uint64, flags cryptoki.Flags) {
		add(Info{Type: t, Base: t, KeyTypes: []cryptoki.KeyType{keyType}, MinSize: minSize, MaxSize: maxSize, Flags: flags})
	}
	raw(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKK_RSA, minNewRSA, maxRSA, cryptoki.CKF_GENERATE_KEY_PAIR)
	raw(cryptoki.CKM_RSA_PKCS, cryptoki.CKK_RSA, minRSA, maxRSA, signVerify|encryptDecrypt)
	raw(cryptoki.CKM_RSA_X_509, cryptoki.CKK_RSA, minRSA, maxRSA, signVerify|encryptDecrypt)
	raw(cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKK_RSA, minRSA, maxRSA, signVerify)
	raw(cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKK_RSA, minRSA, maxRSA, encryptDecrypt)
	raw(cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKK_EC, minEC, maxEC, cryptoki.CKF_GENERATE_KEY_PAIR|curves)
	raw(cryptoki.CKM_ECDSA, cryptoki.CKK_EC, minEC, maxEC, signVerify|curves)
	raw(cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKK_EC, minEC, maxEC, cryptoki.CKF_DERIVE|curves)
	raw(cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, cryptoki.CKK_EC_EDWARDS, edwards, edwards, cryptoki.CKF_GENERATE_KEY_PAIR|curves)
	raw(cryptoki.CKM_EDDSA, cryptoki.CKK_EC_EDWARDS, edwards, edwards, signVerify|curves)
	raw(cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, cryptoki.CKK_ML_DSA, minMLDSA, maxMLDSA, cryptoki.CKF_GENERATE_KEY_PAIR)
	raw(cryptoki.CKM_ML_DSA, cryptoki.CKK_ML_DSA, minMLDSA, maxMLDSA, signVerify)
	raw(cryptoki.CKM_AES_KEY_GEN, cryptoki.CKK_AES, minAES, maxAES, cryptoki.CKF_GENERATE)
	for _, t := range []cryptoki.MechanismType{
		cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_CTR, cryptoki.CKM_AES_GCM,
	} {
		raw(t, cryptoki.CKK_AES, minAES, maxAES, encryptDecrypt)
	}
	raw(cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.CKK_GENERIC_SECRET, minSecret, maxSecret, cryptoki.CKF_GENERATE)
	for _, h := range hashes {
		add(Info{Type: h.digest, Base: h.digest, Hash: h.hash, Flags: cryptoki.CKF_DIGEST})
		if h.hmac != 0 {
			for _, t := range []cryptoki.MechanismType{h.hmac, h.hmacGeneral} {
				add(Info{
					Type: t, Base: t, Hash: h.hash, Flags: signVerify, MinSize: minSecret, MaxSize: maxSecret,
					KeyTypes: []cryptoki.KeyType{cryptoki.CKK_GENERIC_SECRET, h.hmacKey},
				})
			}
		}
		for t, base := range map[cryptoki.MechanismType]cryptoki.MechanismType{
			h.rsa: cryptoki.CKM_RSA_PKCS, h.pss: cryptoki.CKM_RSA_PKCS_PSS, h.ecdsa: cryptoki.CKM_ECDSA,
		} {
			if t != 0 {
				i := m[base]
				add(Info{
					Type: t, Base: base, Hash: h.hash, KeyTypes: i.KeyTypes, MinSize: i.MinSize, MaxSize: i.MaxSize,
					Flags: i.Flags &^ encryptDecrypt,
				})
			}
		}
	}
	return m
}()

var sorted = func() []Info {
	all := make([]Info, 0, len(infos))
	for _, i := range infos {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Type, b.Type) })
	return all
}()

// Lookup returns the facts of a mechanism.
func Lookup(t cryptoki.MechanismType) (Info, bool) {
	i, ok := infos[t]
	return i, ok
}

// All returns all mechanisms in the order of their numbers. The slice is the caller's, what it holds is shared.
func All() []Info { return slices.Clone(sorted) }

// MultiPart tells whether the standard allows C_xxxUpdate with a mechanism: not with the raw public-key ones.
func MultiPart(t cryptoki.MechanismType) bool {
	switch t {
	case cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_X_509, cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_ECDSA:
		return false
	}
	return infos[t].Flags&(signVerify|encryptDecrypt|cryptoki.CKF_DIGEST) != 0
}
