// Package enrollment is the one-time code by which an application gets its certificate: the daemon makes it, `anyhsm
// enroll` reads it. The code carries the fingerprint of the daemon's certificate authority, so that the applicant knows
// whom it talks to before it has any certificate.
package enrollment

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"strings"
)

const (
	prefix       = "anyhsm1"
	secretSize   = 16
	caSize       = 16
	checksumSize = 2
)

// The alphabet is base32's in lower case: no case to lose, and 0, 1, 8 and 9 do not occur.
var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Code is an enrollment code.
type Code struct {
	// Secret is what the daemon accepts once.
	Secret [secretSize]byte
	// CA is the front of the SHA-256 of the authority's public key; 128 bits, since only a second preimage would help.
	CA [caSize]byte
}

// New makes a code for the authority with that certificate.
func New(authority *x509.Certificate) Code {
	code := Code{CA: fingerprint(authority)}
	rand.Read(code.Secret[:]) // never fails: it ends the process instead
	return code
}

// Hash is what the store keeps in the secret's place.
func (c Code) Hash() []byte {
	sum := sha256.Sum256(append([]byte("anyhsm enrollment code\x00"), c.Secret[:]...))
	return sum[:]
}

// Names tells whether the code was made for the authority with that certificate.
func (c Code) Names(authority *x509.Certificate) bool {
	f := fingerprint(authority)
	return authority.IsCA && subtle.ConstantTimeCompare(c.CA[:], f[:]) == 1
}

// String returns the code as a person copies it: one word of letters and digits.
func (c Code) String() string {
	raw := append(c.Secret[:], c.CA[:]...)
	return prefix + encoding.EncodeToString(append(raw, checksum(raw)...))
}

// Parse reads a code; spaces and hyphens in it and its case do not matter.
func Parse(text string) (Code, error) {
	text = strings.Map(func(r rune) rune {
		switch r {
		case ' ', '\t', '\r', '\n', '-':
			return -1
		}
		return r
	}, strings.ToLower(text))
	body, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Code{}, errors.New("this is no enrollment code: one starts with " + prefix + "; copy the whole code that anyhsm app code printed")
	}
	raw, err := encoding.DecodeString(body)
	if err != nil || len(raw) != secretSize+caSize+checksumSize || encoding.EncodeToString(raw) != body {
		return Code{}, errors.New("the enrollment code is incomplete or has a wrong character in it; copy the whole code again")
	}
	payload := raw[:secretSize+caSize]
	if subtle.ConstantTimeCompare(checksum(payload), raw[secretSize+caSize:]) != 1 {
		return Code{}, errors.New("the enrollment code is mistyped: its checksum is wrong; copy the whole code again")
	}
	var code Code
	copy(code.Secret[:], payload)
	copy(code.CA[:], payload[secretSize:])
	return code, nil
}

func checksum(payload []byte) []byte {
	sum := sha256.Sum256(payload)
	return sum[:checksumSize]
}

func fingerprint(authority *x509.Certificate) [caSize]byte {
	sum := sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	return [caSize]byte(sum[:caSize])
}
