// Package signature converts between what PKCS#11 has applications sign and what key services take and give: they want
// a digest where CKM_RSA_PKCS brings a DigestInfo, a digest of exactly one length where CKM_ECDSA brings any, and
// answer in DER where PKCS#11 wants r‖s.
package signature

import (
	"bytes"
	"crypto"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// digests are the hashes that a DigestInfo is known for.
var digests = []cryptoki.MechanismType{
	cryptoki.CKM_SHA256, cryptoki.CKM_SHA384, cryptoki.CKM_SHA512, cryptoki.CKM_SHA_1, cryptoki.CKM_SHA224,
	cryptoki.CKM_SHA512_224, cryptoki.CKM_SHA512_256,
	cryptoki.CKM_SHA3_224, cryptoki.CKM_SHA3_256, cryptoki.CKM_SHA3_384, cryptoki.CKM_SHA3_512, cryptoki.CKM_MD5,
}

// prefix is what stands before the digest.
type prefix struct {
	digest cryptoki.MechanismType
	hash   crypto.Hash
	bytes  []byte
}

var prefixes = func() (all []prefix) {
	for _, t := range digests {
		h, ok := mechanism.HashOf(t)
		if !ok {
			continue
		}
		info, err := mechanism.DigestInfo(h, make([]byte, h.Size()))
		if err != nil {
			continue
		}
		all = append(all, prefix{digest: t, hash: h, bytes: info[:len(info)-h.Size()]})
	}
	return all
}()

// Strip takes the digest out of a DigestInfo. Only the one DER encoding with NULL parameters is taken: a service builds
// the DigestInfo anew in that form, and would sign something else than the application asked for.
func Strip(digestInfo []byte) (digest cryptoki.MechanismType, value []byte, err error) {
	for _, p := range prefixes {
		if len(digestInfo) == len(p.bytes)+p.hash.Size() && bytes.HasPrefix(digestInfo, p.bytes) {
			return p.digest, digestInfo[len(p.bytes):], nil
		}
	}
	return 0, nil, fault.New(fault.DataInvalid, "the %d bytes are no DigestInfo of a known hash, and the key's service signs nothing else with %s; "+
		"let the application send a DigestInfo, or take a mechanism that hashes", len(digestInfo), cryptoki.CKM_RSA_PKCS)
}

// Fit brings a digest to the length that a service wants for ECDSA on a curve of some bits, such that the signature is
// valid for the digest as it was: ECDSA takes the leftmost bits of a long digest, and leading zeros change nothing.
func Fit(digest []byte, length, bits int) ([]byte, error) {
	switch {
	case len(digest) == length:
		return digest, nil
	case len(digest) < length:
		return append(make([]byte, length-len(digest)), digest...), nil
	case 8*length == bits:
		return digest[:length], nil
	}
	return nil, fault.New(fault.DataLenRange, "a digest of %d bytes cannot be signed on a curve of %d bits by a service that takes %d; use a hash of at most %d bytes",
		len(digest), bits, length, length)
}
