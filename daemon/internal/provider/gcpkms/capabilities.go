package gcpkms

import (
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// capabilities is the table of a protection level.
func capabilities(level kmspb.ProtectionLevel) provider.Capabilities {
	hardware := level == kmspb.ProtectionLevel_HSM
	c := provider.Capabilities{
		Kind: "gcpkms", Hardware: hardware, Keeps: true, OneUse: true, OneAlgorithm: true, MaxData: limits[level], MinData: 1,
		NoImport: []cryptoki.KeyType{cryptoki.CKK_ML_DSA},
	}
	add := func(m provider.Mechanism) {
		if hardware {
			m.Flags |= cryptoki.CKF_HW
		}
		c.Mechanisms = append(c.Mechanisms, m)
	}
	const rsaMin, rsaMax = 2048, 4096
	rsaSizes, aesSizes := []uint64{2048, 3072, 4096}, []uint64{16, 32}
	sha2 := []cryptoki.MechanismType{cryptoki.CKM_SHA256, cryptoki.CKM_SHA512}
	const ecFlags = cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_NAMEDCURVE | cryptoki.CKF_EC_UNCOMPRESS
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, MinSize: rsaMin, MaxSize: rsaMax, Sizes: rsaSizes, Flags: cryptoki.CKF_GENERATE_KEY_PAIR})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN})
	add(provider.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_SIGN, Hashes: sha2, SameMGF: true, SaltIsHash: true})
	add(provider.Mechanism{
		Type: cryptoki.CKM_RSA_PKCS_OAEP, MinSize: rsaMin, MaxSize: rsaMax, Flags: cryptoki.CKF_DECRYPT,
		Hashes: append([]cryptoki.MechanismType{cryptoki.CKM_SHA_1}, sha2...), SameMGF: true, NoLabel: true,
	})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN, MinSize: 256, MaxSize: 384, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_ECDSA, MinSize: 256, MaxSize: 384, Flags: cryptoki.CKF_SIGN | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, MinSize: 255, MaxSize: 255, Flags: cryptoki.CKF_GENERATE_KEY_PAIR | ecFlags})
	add(provider.Mechanism{Type: cryptoki.CKM_EDDSA, MinSize: 255, MaxSize: 255, Flags: cryptoki.CKF_SIGN | ecFlags})
	sets := parameterset.All()
	mldsa := provider.Mechanism{MinSize: uint64(sets[0].Public), MaxSize: uint64(sets[len(sets)-1].Public), AnyLength: true}
	mldsa.Type, mldsa.Flags = cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, cryptoki.CKF_GENERATE_KEY_PAIR
	add(mldsa)
	mldsa.Type, mldsa.Flags = cryptoki.CKM_ML_DSA, cryptoki.CKF_SIGN
	add(mldsa)
	add(provider.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN, MinSize: 16, MaxSize: 32, Sizes: aesSizes, Flags: cryptoki.CKF_GENERATE})
	const cipher = cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT
	add(provider.Mechanism{Type: cryptoki.CKM_AES_CBC, MinSize: 16, MaxSize: 32, Flags: cipher})
	add(provider.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, MinSize: 16, MaxSize: 32, Flags: cipher})
	add(provider.Mechanism{Type: cryptoki.CKM_AES_CTR, MinSize: 16, MaxSize: 32, Flags: cipher})
	add(provider.Mechanism{Type: cryptoki.CKM_AES_GCM, MinSize: 16, MaxSize: 32, Flags: cryptoki.CKF_DECRYPT, IVSize: ivSize, TagSize: tagSize})
	var sizes []uint64
	for _, m := range macs {
		sizes = append(sizes, m.bits)
	}
	add(provider.Mechanism{
		Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, MinSize: sizes[0], MaxSize: sizes[len(sizes)-1], Sizes: sizes, Flags: cryptoki.CKF_GENERATE,
	})
	for _, m := range macs {
		for _, t := range []cryptoki.MechanismType{m.mechanism, m.general} {
			add(provider.Mechanism{Type: t, MinSize: m.bits, MaxSize: m.bits, Flags: cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY})
		}
	}
	for _, a := range algorithms {
		if a.curve != nil {
			c.Curves = append(c.Curves, a.curve.Params)
		}
	}
	return c
}

// The service's AES-GCM has an IV of 12 bytes and a tag of 16.
const ivSize, tagSize = 12, 16
