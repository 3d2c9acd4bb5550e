package azurekv

import (
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// sha2 are the hashes that Azure signs with RSA.
var sha2 = []cryptoki.MechanismType{cryptoki.CKM_SHA256, cryptoki.CKM_SHA384, cryptoki.CKM_SHA512}

// capabilities is the table. AES is a Managed HSM's alone.
func capabilities(config Config) provider.Capabilities {
	c := provider.Capabilities{Kind: "azurekv", Hardware: config.HSM || config.Premium, Keeps: true, Metered: true}
	add := func(m provider.Mechanism) {
		if c.Hardware {
			m.Flags |= cryptoki.CKF_HW
		}
		c.Mechanisms = append(c.Mechanisms, m)
	}
	const rsaMin, rsaMax = 2048, 4096
	const ecFlags = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_NAMEDCURVE | cryptoki.CKF_EC_UNCOMPRESS
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, MinSize: rsaMin, MaxSize: rsaMax, Sizes: []uint64{2048, 3072, 4096},
		Flags: cryptoki.CKF_GENERATE_KEY_PAIR,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN | cryptoki.CKF_DECRYPT, DigestInfo: sha2})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_PSS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN,
		Hashes: sha2, SameMGF: true, SaltIsHash: true,
	})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_OAEP, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_DECRYPT,
		Hashes: []cryptoki.MechanismType{cryptoki.CKM_SHA_1, cryptoki.CKM_SHA256}, SameMGF: true, NoLabel: true,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_ECDSA, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_SIGN | ecFlags, HashSized: true})
	if config.HSM {
		add(provider.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN, MinSize: 16, MaxSize: 32, Flags: cryptoki.CKF_GENERATE})
		for _, t := range []cryptoki.MechanismType{cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD} {
			add(provider.Mechanism{Type: t, MinSize: 16, MaxSize: 32, Flags: cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT})
		}
		add(provider.Mechanism{Type: cryptoki.CKM_AES_GCM, MinSize: 16, MaxSize: 32, Flags: cryptoki.CKF_DECRYPT, IVSize: 12, TagSize: tagSize})
	}
	for _, k := range curves {
		on, _ := curve.ByName(string(k.name))
		c.Curves = append(c.Curves, on.Params)
	}
	return c
}

// noHMAC: HS256, HS384 and HS512 of a Managed HSM take what its API calls a digest, and nobody outside can tell a wrong
// MAC from a right one.
const noHMAC = "Azure Key Vault has no HMAC keys, and a Managed HSM documents only HMACs of digests; use provider software or awskms"

// limits are the sentences for what applications ask for and Azure does not have.
var limits = map[cryptoki.MechanismType]string{
	cryptoki.CKM_RSA_X_509:                  "Azure Key Vault pads RSA itself and does no raw RSA; use CKM_RSA_PKCS, CKM_RSA_PKCS_PSS or CKM_RSA_PKCS_OAEP",
	cryptoki.CKM_ECDH1_DERIVE:               "Azure Key Vault has no key agreement; keep ECDH keys in provider software or hsm",
	cryptoki.CKM_EDDSA:                      "Azure Key Vault has no Edwards curves; use P-256, P-384 or P-521, or provider software or hsm",
	cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:    "Azure Key Vault has no Edwards curves; use P-256, P-384 or P-521, or provider software or hsm",
	cryptoki.CKM_AES_KEY_GEN:                "Azure Key Vault has no AES keys, only a Managed HSM does; use a provider with hsm = true, or software",
	cryptoki.CKM_AES_ECB:                    "Azure does no AES-ECB; use CKM_AES_CBC on a Managed HSM, or provider software",
	cryptoki.CKM_AES_CTR:                    "Azure does no AES-CTR; use CKM_AES_CBC on a Managed HSM, or provider software",
	cryptoki.CKM_AES_GCM:                    "Azure's Managed HSM chooses the initialisation vector of AES-GCM itself, and PKCS#11 lets the application choose it; encrypt with CKM_AES_CBC_PAD, or in provider software",
	cryptoki.CKM_GENERIC_SECRET_KEY_GEN:     noHMAC,
	cryptoki.CKM_SHA256_HMAC:                noHMAC,
	cryptoki.CKM_SHA384_HMAC:                noHMAC,
	cryptoki.CKM_SHA512_HMAC:                noHMAC,
	cryptoki.CKM_SHA_1_HMAC:                 noHMAC,
	cryptoki.CKM_RSA_X9_31_KEY_PAIR_GEN:     "Azure chooses how it makes RSA primes; use CKM_RSA_PKCS_KEY_PAIR_GEN",
	cryptoki.CKM_EC_MONTGOMERY_KEY_PAIR_GEN: "Azure Key Vault has no Montgomery curves; use provider software or hsm",
}

// limited gives a refused mechanism the sentence that names Azure's limit.
func limited(t cryptoki.MechanismType, err error) error {
	if sentence, ok := limits[t]; ok && fault.Is(err, fault.MechanismInvalid) {
		return fault.New(fault.MechanismInvalid, "%s: %s", t, sentence)
	}
	return err
}
