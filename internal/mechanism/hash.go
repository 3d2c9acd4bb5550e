package mechanism

import (
	"crypto"
	_ "crypto/md5"    // registers crypto.MD5
	_ "crypto/sha1"   // registers crypto.SHA1
	_ "crypto/sha256" // registers crypto.SHA224 and SHA256
	_ "crypto/sha3"   // registers crypto.SHA3_224 to SHA3_512
	_ "crypto/sha512" // registers crypto.SHA384 to SHA512_256
	"encoding/asn1"
	"hash"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// family is a hash and the mechanisms that are named after it; 0 where there is none.
type family struct {
	hash                                       crypto.Hash
	digest, hmac, hmacGeneral, rsa, pss, ecdsa cryptoki.MechanismType
	hmacKey                                    cryptoki.KeyType
	mgf, kdf, kdfSP800                         uint64
	oid                                        asn1.ObjectIdentifier
}

var nistHash = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2}

func nist(arc int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, nistHash...), arc)
}

var hashes = []family{
	{hash: crypto.MD5, digest: cryptoki.CKM_MD5, oid: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 5}},
	{
		hash: crypto.SHA1, digest: cryptoki.CKM_SHA_1, hmac: cryptoki.CKM_SHA_1_HMAC, hmacGeneral: cryptoki.CKM_SHA_1_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA1_RSA_PKCS, pss: cryptoki.CKM_SHA1_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA1,
		hmacKey: cryptoki.CKK_SHA_1_HMAC, mgf: cryptoki.CKG_MGF1_SHA1, kdf: cryptoki.CKD_SHA1_KDF,
		kdfSP800: cryptoki.CKD_SHA1_KDF_SP800, oid: asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26},
	},
	{
		hash: crypto.SHA224, digest: cryptoki.CKM_SHA224, hmac: cryptoki.CKM_SHA224_HMAC, hmacGeneral: cryptoki.CKM_SHA224_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA224_RSA_PKCS, pss: cryptoki.CKM_SHA224_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA224,
		hmacKey: cryptoki.CKK_SHA224_HMAC, mgf: cryptoki.CKG_MGF1_SHA224, kdf: cryptoki.CKD_SHA224_KDF,
		kdfSP800: cryptoki.CKD_SHA224_KDF_SP800, oid: nist(4),
	},
	{
		hash: crypto.SHA256, digest: cryptoki.CKM_SHA256, hmac: cryptoki.CKM_SHA256_HMAC, hmacGeneral: cryptoki.CKM_SHA256_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA256_RSA_PKCS, pss: cryptoki.CKM_SHA256_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA256,
		hmacKey: cryptoki.CKK_SHA256_HMAC, mgf: cryptoki.CKG_MGF1_SHA256, kdf: cryptoki.CKD_SHA256_KDF,
		kdfSP800: cryptoki.CKD_SHA256_KDF_SP800, oid: nist(1),
	},
	{
		hash: crypto.SHA384, digest: cryptoki.CKM_SHA384, hmac: cryptoki.CKM_SHA384_HMAC, hmacGeneral: cryptoki.CKM_SHA384_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA384_RSA_PKCS, pss: cryptoki.CKM_SHA384_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA384,
		hmacKey: cryptoki.CKK_SHA384_HMAC, mgf: cryptoki.CKG_MGF1_SHA384, kdf: cryptoki.CKD_SHA384_KDF,
		kdfSP800: cryptoki.CKD_SHA384_KDF_SP800, oid: nist(2),
	},
	{
		hash: crypto.SHA512, digest: cryptoki.CKM_SHA512, hmac: cryptoki.CKM_SHA512_HMAC, hmacGeneral: cryptoki.CKM_SHA512_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA512_RSA_PKCS, pss: cryptoki.CKM_SHA512_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA512,
		hmacKey: cryptoki.CKK_SHA512_HMAC, mgf: cryptoki.CKG_MGF1_SHA512, kdf: cryptoki.CKD_SHA512_KDF,
		kdfSP800: cryptoki.CKD_SHA512_KDF_SP800, oid: nist(3),
	},
	{
		hash: crypto.SHA512_224, digest: cryptoki.CKM_SHA512_224, hmac: cryptoki.CKM_SHA512_224_HMAC,
		hmacGeneral: cryptoki.CKM_SHA512_224_HMAC_GENERAL, hmacKey: cryptoki.CKK_SHA512_224_HMAC, oid: nist(5),
	},
	{
		hash: crypto.SHA512_256, digest: cryptoki.CKM_SHA512_256, hmac: cryptoki.CKM_SHA512_256_HMAC,
		hmacGeneral: cryptoki.CKM_SHA512_256_HMAC_GENERAL, hmacKey: cryptoki.CKK_SHA512_256_HMAC, oid: nist(6),
	},
	{
		hash: crypto.SHA3_224, digest: cryptoki.CKM_SHA3_224, hmac: cryptoki.CKM_SHA3_224_HMAC, hmacGeneral: cryptoki.CKM_SHA3_224_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA3_224_RSA_PKCS, pss: cryptoki.CKM_SHA3_224_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA3_224,
		hmacKey: cryptoki.CKK_SHA3_224_HMAC, mgf: cryptoki.CKG_MGF1_SHA3_224, kdf: cryptoki.CKD_SHA3_224_KDF,
		kdfSP800: cryptoki.CKD_SHA3_224_KDF_SP800, oid: nist(7),
	},
	{
		hash: crypto.SHA3_256, digest: cryptoki.CKM_SHA3_256, hmac: cryptoki.CKM_SHA3_256_HMAC, hmacGeneral: cryptoki.CKM_SHA3_256_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA3_256_RSA_PKCS, pss: cryptoki.CKM_SHA3_256_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA3_256,
		hmacKey: cryptoki.CKK_SHA3_256_HMAC, mgf: cryptoki.CKG_MGF1_SHA3_256, kdf: cryptoki.CKD_SHA3_256_KDF,
		kdfSP800: cryptoki.CKD_SHA3_256_KDF_SP800, oid: nist(8),
	},
	{
		hash: crypto.SHA3_384, digest: cryptoki.CKM_SHA3_384, hmac: cryptoki.CKM_SHA3_384_HMAC, hmacGeneral: cryptoki.CKM_SHA3_384_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA3_384_RSA_PKCS, pss: cryptoki.CKM_SHA3_384_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA3_384,
		hmacKey: cryptoki.CKK_SHA3_384_HMAC, mgf: cryptoki.CKG_MGF1_SHA3_384, kdf: cryptoki.CKD_SHA3_384_KDF,
		kdfSP800: cryptoki.CKD_SHA3_384_KDF_SP800, oid: nist(9),
	},
	{
		hash: crypto.SHA3_512, digest: cryptoki.CKM_SHA3_512, hmac: cryptoki.CKM_SHA3_512_HMAC, hmacGeneral: cryptoki.CKM_SHA3_512_HMAC_GENERAL,
		rsa: cryptoki.CKM_SHA3_512_RSA_PKCS, pss: cryptoki.CKM_SHA3_512_RSA_PKCS_PSS, ecdsa: cryptoki.CKM_ECDSA_SHA3_512,
		hmacKey: cryptoki.CKK_SHA3_512_HMAC, mgf: cryptoki.CKG_MGF1_SHA3_512, kdf: cryptoki.CKD_SHA3_512_KDF,
		kdfSP800: cryptoki.CKD_SHA3_512_KDF_SP800, oid: nist(10),
	},
}

// NewHash returns the hash of a digest mechanism (CKM_SHA256…), not of a mechanism that only uses one.
func NewHash(t cryptoki.MechanismType) (hash.Hash, bool) {
	if i, ok := infos[t]; ok && i.Flags&cryptoki.CKF_DIGEST != 0 {
		return i.Hash.New(), true
	}
	return nil, false
}

// HashOf returns the hash that a mechanism uses by its name: CKM_SHA256, CKM_SHA256_RSA_PKCS, CKM_ECDSA_SHA256,
// CKM_SHA256_HMAC… give crypto.SHA256.
func HashOf(t cryptoki.MechanismType) (crypto.Hash, bool) {
	i := infos[t]
	return i.Hash, i.Hash != 0
}

// MGFHash returns the hash of a mask generation function (CKG_MGF1_SHA256…).
func MGFHash(mgf uint64) (crypto.Hash, bool) {
	for _, h := range hashes {
		if h.mgf == mgf && mgf != 0 {
			return h.hash, true
		}
	}
	return 0, false
}

// KDFHash returns the hash of an ANSI X9.63 key derivation function (CKD_SHA256_KDF…), or with sp800 of one of
// SP 800-56A (CKD_SHA256_KDF_SP800…).
func KDFHash(kdf uint64) (h crypto.Hash, sp800, ok bool) {
	for _, h := range hashes {
		switch {
		case h.kdf != 0 && h.kdf == kdf:
			return h.hash, false, true
		case h.kdfSP800 != 0 && h.kdfSP800 == kdf:
			return h.hash, true, true
		}
	}
	return 0, false, false
}

// digestInfo is PKCS#1's DigestInfo.
type digestInfo struct {
	Algorithm struct {
		ID   asn1.ObjectIdentifier
		Null asn1.RawValue
	}
	Digest []byte
}

// DigestInfo wraps a digest as CKM_RSA_PKCS takes it.
func DigestInfo(h crypto.Hash, digest []byte) ([]byte, error) {
	for _, f := range hashes {
		if f.hash == h {
			if len(digest) != h.Size() {
				return nil, fault.New(fault.DataLenRange, "a digest of %v has %d bytes, not %d; pass the whole digest", h, h.Size(), len(digest))
			}
			info := digestInfo{Digest: digest}
			info.Algorithm.ID = f.oid
			info.Algorithm.Null = asn1.NullRawValue
			return asn1.Marshal(info)
		}
	}
	return nil, cryptoki.CKR_MECHANISM_INVALID
}

// Reduce turns a hashing mechanism and the digest into the raw mechanism and what it takes: the DigestInfo for
// CKM_SHAx_RSA_PKCS, the digest for PSS and ECDSA. A raw mechanism comes back as it is.
func Reduce(m cryptoki.Mechanism, digest []byte) (cryptoki.Mechanism, []byte, error) {
	i, ok := infos[m.Type]
	if !ok {
		return cryptoki.Mechanism{}, nil, unknown(m.Type)
	}
	if !i.Hashing() {
		return m, digest, nil
	}
	if len(digest) != i.Hash.Size() {
		return cryptoki.Mechanism{}, nil, fault.New(fault.DataLenRange,
			"the digest for %v has %d bytes, not %d; pass the whole digest", m.Type, i.Hash.Size(), len(digest))
	}
	raw := cryptoki.Mechanism{Type: i.Base, Params: m.Params}
	if i.Base != cryptoki.CKM_RSA_PKCS {
		return raw, digest, nil
	}
	wrapped, err := DigestInfo(i.Hash, digest)
	return raw, wrapped, err
}

func unknown(t cryptoki.MechanismType) error {
	return fault.New(fault.MechanismInvalid, "%v is not supported; use one of C_GetMechanismList", t)
}
