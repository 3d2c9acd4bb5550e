package vault

import (
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// hash is a hash of the transit engine.
type hash struct {
	digest, mac, general cryptoki.MechanismType
	name                 string
}

var hashes = []hash{
	{cryptoki.CKM_SHA_1, cryptoki.CKM_SHA_1_HMAC, cryptoki.CKM_SHA_1_HMAC_GENERAL, "sha1"},
	{cryptoki.CKM_SHA224, cryptoki.CKM_SHA224_HMAC, cryptoki.CKM_SHA224_HMAC_GENERAL, "sha2-224"},
	{cryptoki.CKM_SHA256, cryptoki.CKM_SHA256_HMAC, cryptoki.CKM_SHA256_HMAC_GENERAL, "sha2-256"},
	{cryptoki.CKM_SHA384, cryptoki.CKM_SHA384_HMAC, cryptoki.CKM_SHA384_HMAC_GENERAL, "sha2-384"},
	{cryptoki.CKM_SHA512, cryptoki.CKM_SHA512_HMAC, cryptoki.CKM_SHA512_HMAC_GENERAL, "sha2-512"},
	{cryptoki.CKM_SHA3_224, cryptoki.CKM_SHA3_224_HMAC, cryptoki.CKM_SHA3_224_HMAC_GENERAL, "sha3-224"},
	{cryptoki.CKM_SHA3_256, cryptoki.CKM_SHA3_256_HMAC, cryptoki.CKM_SHA3_256_HMAC_GENERAL, "sha3-256"},
	{cryptoki.CKM_SHA3_384, cryptoki.CKM_SHA3_384_HMAC, cryptoki.CKM_SHA3_384_HMAC_GENERAL, "sha3-384"},
	{cryptoki.CKM_SHA3_512, cryptoki.CKM_SHA3_512_HMAC, cryptoki.CKM_SHA3_512_HMAC_GENERAL, "sha3-512"},
}

// hashNamed is the engine's name of the hash of a digest mechanism or an HMAC.
func hashNamed(t cryptoki.MechanismType) (string, bool) {
	for _, h := range hashes {
		if t == h.digest || t == h.mac || t == h.general {
			return h.name, true
		}
	}
	return "", false
}

// maxData is the largest input. A request may have 32 MiB, and newer servers take no text of more than 1 MiB in one.
const maxData = 512 << 10

// Lengths of the keys of the engine's type hmac, in bits, and of AES-GCM's nonce and tag in its ciphertexts, in bytes.
const (
	minMAC, maxMAC     = 256, 4096
	nonceSize, tagSize = 12, 16
)

// capabilities is the table.
func capabilities() provider.Capabilities {
	c := provider.Capabilities{Kind: "vault", Keeps: true, MaxData: maxData}
	add := func(m provider.Mechanism) { c.Mechanisms = append(c.Mechanisms, m) }
	var digests []cryptoki.MechanismType
	for _, h := range hashes {
		digests = append(digests, h.digest)
	}
	const rsaMin, rsaMax, edwards = 2048, 4096, 255
	const ecFlags = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_NAMEDCURVE | cryptoki.CKF_EC_UNCOMPRESS
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, MinSize: rsaMin, MaxSize: rsaMax, Sizes: []uint64{2048, 3072, 4096},
		Flags: cryptoki.CKF_GENERATE_KEY_PAIR,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_PSS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN,
		// A salt_length of 0 means the longest one.
		Hashes: digests, SameMGF: true, MinSalt: 1,
	})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_OAEP, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_DECRYPT,
		Hashes: []cryptoki.MechanismType{cryptoki.CKM_SHA256}, SameMGF: true, NoLabel: true,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_ECDSA, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_SIGN | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, MinSize: edwards, MaxSize: edwards, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EDDSA, MinSize: edwards, MaxSize: edwards, Flags: cryptoki.CKF_SIGN | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN, MinSize: 16, MaxSize: 32, Sizes: []uint64{16, 32}, Flags: cryptoki.CKF_GENERATE})
	add(provider.Mechanism{Type: cryptoki.CKM_AES_GCM, MinSize: 16, MaxSize: 32, Flags: cryptoki.CKF_DECRYPT, IVSize: nonceSize, TagSize: tagSize})
	add(provider.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, MinSize: minMAC, MaxSize: maxMAC, Flags: cryptoki.CKF_GENERATE})
	for _, h := range hashes {
		for _, t := range []cryptoki.MechanismType{h.mac, h.general} {
			add(provider.Mechanism{Type: t, MinSize: minMAC, MaxSize: maxMAC, Flags: cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY})
		}
	}
	for _, k := range kinds {
		if k.curve != "" {
			on, _ := curve.ByName(k.curve)
			c.Curves = append(c.Curves, on.Params)
		}
	}
	return c
}

// limits are the sentences for what applications ask for and the engine does not have.
var limits = map[cryptoki.MechanismType]string{
	cryptoki.CKM_RSA_X_509:                  "Vault pads RSA itself and does no raw RSA; use CKM_RSA_PKCS, CKM_RSA_PKCS_PSS or CKM_RSA_PKCS_OAEP",
	cryptoki.CKM_RSA_PKCS:                   "Vault decrypts RSA only with OAEP; use CKM_RSA_PKCS_OAEP with SHA-256",
	cryptoki.CKM_ECDH1_DERIVE:               "Vault has no key agreement; keep ECDH keys in provider software or hsm",
	cryptoki.CKM_AES_GCM:                    "Vault chooses the initialisation vector of AES-GCM itself, and in PKCS#11 the application does; encrypt in provider software",
	cryptoki.CKM_AES_CBC:                    "Vault's AES keys do GCM alone; use provider software or hsm",
	cryptoki.CKM_AES_CBC_PAD:                "Vault's AES keys do GCM alone; use provider software or hsm",
	cryptoki.CKM_AES_CTR:                    "Vault's AES keys do GCM alone; use provider software or hsm",
	cryptoki.CKM_AES_ECB:                    "Vault's AES keys do GCM alone; use provider software or hsm",
	cryptoki.CKM_RSA_X9_31_KEY_PAIR_GEN:     "Vault chooses how it makes RSA primes; use CKM_RSA_PKCS_KEY_PAIR_GEN",
	cryptoki.CKM_EC_MONTGOMERY_KEY_PAIR_GEN: "Vault has no Montgomery curves; use provider software or hsm",
}

// limited gives a refused mechanism the sentence that names Vault's limit.
func limited(t cryptoki.MechanismType, err error) error {
	if sentence, ok := limits[t]; ok && fault.Is(err, fault.MechanismInvalid) {
		return fault.New(fault.MechanismInvalid, "%s: %s", t, sentence)
	}
	return err
}

// variants are raw mechanisms with the hashing ones that reduce to them.
func variants(raw ...cryptoki.MechanismType) []cryptoki.MechanismType {
	all := raw
	for _, t := range raw {
		for _, info := range mechanism.All() {
			if info.Hashing() && info.Base == t && (t != cryptoki.CKM_RSA_PKCS_PSS || paddedHash(info)) {
				all = append(all, info.Type)
			}
		}
	}
	return all
}

// paddedHash tells whether the engine has the hash of a variant of PSS.
func paddedHash(info mechanism.Info) bool {
	for _, h := range hashes {
		if of, _ := mechanism.HashOf(h.digest); of == info.Hash {
			return true
		}
	}
	return false
}
