package softkey

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// pssScheme is CK_RSA_PKCS_PSS_PARAMS read. crypto/rsa takes one hash for message and mask and takes a salt of no bytes
// as "find out", so what it cannot express is encoded here (RFC 8017, section 9.1).
type pssScheme struct {
	hash, mask crypto.Hash
	salt       int
	// bits is the length of the encoded message: one less than the modulus.
	bits int
}

func (k *Key) pss(m cryptoki.Mechanism, digest []byte) (pssScheme, error) {
	p := m.Params.(cryptoki.PSSParams)
	hash, _ := mechanism.HashOf(p.Hash)
	mask, _ := mechanism.MGFHash(p.MGF)
	s := pssScheme{hash: hash, mask: mask, salt: int(p.SaltLength), bits: k.rsaPublic.N.BitLen() - 1}
	if len(digest) != hash.Size() {
		return s, dataLength(m, len(digest))
	}
	if s.bytes() < hash.Size()+s.salt+2 {
		return s, fault.New(fault.MechanismParamInvalid, "a salt of %d bytes does not fit the key; use a shorter one", s.salt)
	}
	return s, nil
}

// plain tells whether crypto/rsa can do it.
func (s pssScheme) plain() bool { return s.hash == s.mask && s.salt > 0 }

func (s pssScheme) bytes() int { return (s.bits + 7) / 8 }

func (k *Key) signPSS(m cryptoki.Mechanism, digest []byte) ([]byte, error) {
	s, err := k.pss(m, digest)
	if err != nil {
		return nil, err
	}
	if s.plain() && k.rsaBy == nil {
		signature, err := rsa.SignPSS(rand.Reader, k.rsaPrivate, s.hash, digest, &rsa.PSSOptions{SaltLength: s.salt})
		return signature, failed(m, err)
	}
	salt := make([]byte, s.salt)
	rand.Read(salt) // never fails
	return k.raw(m, s.encode(digest, salt))
}

func (k *Key) verifyPSS(m cryptoki.Mechanism, digest, signature []byte) error {
	s, err := k.pss(m, digest)
	if err != nil {
		return err
	}
	if s.plain() {
		if rsa.VerifyPSS(k.rsaPublic, s.hash, digest, signature, &rsa.PSSOptions{SaltLength: s.salt}) != nil {
			return cryptoki.CKR_SIGNATURE_INVALID
		}
		return nil
	}
	encoded, err := publicRSA(k.rsaPublic, signature)
	if err != nil || !s.fits(encoded, digest) {
		return cryptoki.CKR_SIGNATURE_INVALID
	}
	return nil
}

// encode is EMSA-PSS-ENCODE.
func (s pssScheme) encode(digest, salt []byte) []byte {
	encoded := make([]byte, s.bytes())
	hash := s.hashed(digest, salt)
	masked := encoded[:len(encoded)-len(hash)-1]
	masked[len(masked)-len(salt)-1] = 1
	copy(masked[len(masked)-len(salt):], salt)
	s.unmask(masked, hash)
	copy(encoded[len(masked):], hash)
	encoded[len(encoded)-1] = 0xbc
	return encoded
}

// fits is EMSA-PSS-VERIFY on the result of the public operation, which is as long as the modulus.
func (s pssScheme) fits(recovered, digest []byte) bool {
	extra := len(recovered) - s.bytes()
	encoded := recovered[extra:]
	if extra > 0 && recovered[0] != 0 || encoded[len(encoded)-1] != 0xbc || encoded[0]&^s.topMask() != 0 {
		return false
	}
	masked := append([]byte(nil), encoded[:len(encoded)-s.hash.Size()-1]...)
	hash := encoded[len(masked) : len(encoded)-1]
	s.unmask(masked, hash)
	zeros, salt := masked[:len(masked)-s.salt-1], masked[len(masked)-s.salt:]
	for _, b := range zeros {
		if b != 0 {
			return false
		}
	}
	return masked[len(zeros)] == 1 && subtle.ConstantTimeCompare(hash, s.hashed(digest, salt)) == 1
}

// topMask keeps the bits of the first byte that the encoded message has.
func (s pssScheme) topMask() byte { return 0xff >> (8*s.bytes() - s.bits) }

func (s pssScheme) hashed(digest, salt []byte) []byte {
	h := s.hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	return h.Sum(nil)
}

// unmask applies MGF1 of the seed, which masks and unmasks alike, and clears the bits that do not exist.
func (s pssScheme) unmask(block, seed []byte) {
	h := s.mask.New()
	var counter [4]byte
	for done := 0; done < len(block); {
		h.Reset()
		h.Write(seed)
		h.Write(counter[:])
		done += subtle.XORBytes(block[done:], block[done:], h.Sum(nil))
		binary.BigEndian.PutUint32(counter[:], binary.BigEndian.Uint32(counter[:])+1)
	}
	block[0] &= s.topMask()
}
