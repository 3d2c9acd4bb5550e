package signature

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// FromDER turns the DER form of an ECDSA signature into r‖s, each of `length` bytes. An encoding that is not DER is
// refused: a service that sends one is not what it seems.
func FromDER(der []byte, length int) ([]byte, error) {
	input := cryptobyte.String(der)
	var sequence cryptobyte.String
	var r, s []byte
	if !input.ReadASN1(&sequence, asn1.SEQUENCE) || !input.Empty() ||
		!sequence.ReadASN1Integer(&r) || !sequence.ReadASN1Integer(&s) || !sequence.Empty() ||
		len(r) > length || len(s) > length || zero(r) || zero(s) {
		return nil, fault.New(fault.FunctionFailed, "the service's answer of %d bytes is no DER signature of a curve with %d bytes; look at the service's endpoint", len(der), length)
	}
	raw := make([]byte, 2*length)
	copy(raw[length-len(r):length], r)
	copy(raw[2*length-len(s):], s)
	return raw, nil
}

// ToDER turns r‖s into DER.
func ToDER(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fault.New(fault.SignatureLenRange, "r‖s has two halves of one length, not %d bytes together", len(raw))
	}
	half := len(raw) / 2
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addInteger(b, raw[:half])
		addInteger(b, raw[half:])
	})
	return b.Bytes()
}

func addInteger(b *cryptobyte.Builder, value []byte) {
	for len(value) > 1 && value[0] == 0 {
		value = value[1:]
	}
	b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
		if value[0] >= 0x80 {
			b.AddUint8(0)
		}
		b.AddBytes(value)
	})
}

// zero tells whether a number, without leading zeros, is zero: no signature has r or s zero.
func zero(n []byte) bool { return len(n) == 0 || len(n) == 1 && n[0] == 0 }
