package awskms

import (
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// maxMessage is the most that Sign and GenerateMac take; neither takes an empty message.
const maxMessage = 4096

// sha2 are the hashes that AWS KMS signs with RSA.
var sha2 = []cryptoki.MechanismType{cryptoki.CKM_SHA256, cryptoki.CKM_SHA384, cryptoki.CKM_SHA512}

// curves are those of both AWS KMS and AnyHSM, by AnyHSM's names.
var curves = []string{"P-256", "P-384", "P-521", "Ed25519"}

// capabilities is the table. Keys are in a device, FIPS 140-3 level 3 HSMs, of which the daemon sees a web service.
func capabilities() provider.Capabilities {
	c := provider.Capabilities{Kind: "awskms", Hardware: true, Keeps: true, Metered: true, OneUse: true, MaxData: maxMessage, MinData: 1}
	// AWS takes no private keys of ML-DSA, or does not say so: docs/providers/awskms.md.
	c.NoImport = []cryptoki.KeyType{cryptoki.CKK_ML_DSA}
	add := func(m provider.Mechanism) {
		m.Flags |= cryptoki.CKF_HW
		c.Mechanisms = append(c.Mechanisms, m)
	}
	const rsaMin, rsaMax = 2048, 4096
	rsaSizes := []uint64{2048, 3072, 4096}
	const ecFlags = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_NAMEDCURVE | cryptoki.CKF_EC_UNCOMPRESS
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, MinSize: rsaMin, MaxSize: rsaMax, Sizes: rsaSizes, Flags: cryptoki.CKF_GENERATE_KEY_PAIR})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN, DigestInfo: sha2})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN, Hashes: sha2, SameMGF: true, SaltIsHash: true})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_OAEP, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_DECRYPT,
		Hashes: []cryptoki.MechanismType{cryptoki.CKM_SHA_1, cryptoki.CKM_SHA256}, SameMGF: true, NoLabel: true,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_ECDSA, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_SIGN | ecFlags, HashSized: true})
	add(provider.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, MinSize: 256, MaxSize: 521, Flags: cryptoki.CKF_DERIVE | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, MinSize: edwards, MaxSize: edwards, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EDDSA, MinSize: edwards, MaxSize: edwards, Flags: cryptoki.CKF_SIGN | ecFlags})
	sets := parameterset.All()
	mldsa := provider.Mechanism{MinSize: uint64(sets[0].Public), MaxSize: uint64(sets[len(sets)-1].Public), AnyLength: true}
	mldsa.Type, mldsa.Flags = cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, cryptoki.CKF_GENERATE_KEY_PAIR
	add(mldsa)
	mldsa.Type, mldsa.Flags = cryptoki.CKM_ML_DSA, cryptoki.CKF_SIGN
	add(mldsa)
	var sizes []uint64
	for _, m := range macs {
		sizes = append(sizes, m.bits)
	}
	add(provider.Mechanism{
		Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, MinSize: sizes[0], MaxSize: sizes[len(sizes)-1], Sizes: sizes, Flags: cryptoki.CKF_GENERATE,
	})
	for _, m := range macs {
		for _, t := range []cryptoki.MechanismType{m.mechanism, m.general} {
			// The daemon verifies by making the MAC again and comparing.
			add(provider.Mechanism{Type: t, MinSize: m.bits, MaxSize: m.bits, Flags: cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY})
		}
	}
	for _, name := range curves {
		on, _ := curve.ByName(name)
		c.Curves = append(c.Curves, on.Params)
	}
	return c
}

// table is computed once: it is asked for with every operation.
var table = capabilities()
