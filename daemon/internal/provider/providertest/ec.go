package providertest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/big"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// proveEC checks ECDSA and ECDH of a key with Go's crypto.
func (s *suite) proveEC(t *testing.T, k *testKey, m cryptoki.MechanismType, on *curve.Curve) {
	if m == cryptoki.CKM_ECDH1_DERIVE {
		s.proveECDH(t, k, on)
		return
	}
	public := k.public.(*ecdsa.PublicKey)
	// Digests shorter, as long as, and longer than the curve's order.
	for _, length := range []int{1, 20, 28, 32, 48, 64, 66, 100} {
		digest := random(length)
		signature, err := s.sign(t, k, cryptoki.Mechanism{Type: m}, digest)
		if row, _ := s.capabilities.Mechanism(m); row.HashSized && length > crypto.SHA512.Size() && on.Bits > 8*crypto.SHA512.Size() {
			wants(t, err, fault.DataLenRange)
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		if len(signature) != 2*on.Bytes() {
			t.Fatalf("%d bytes: the signature has %d bytes, not %d", length, len(signature), 2*on.Bytes())
		}
		r, v := new(big.Int).SetBytes(signature[:on.Bytes()]), new(big.Int).SetBytes(signature[on.Bytes():])
		if !ecdsa.Verify(public, digest, r, v) {
			t.Errorf("%d bytes: Go's crypto does not take the signature", length)
		}
	}
}

// proveECDH derives with a key of Go's as the other side.
func (s *suite) proveECDH(t *testing.T, k *testKey, on *curve.Curve) {
	peer, err := ecdsa.GenerateKey(on.Elliptic, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := peer.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	shared := agree(t, peer, k.public.(*ecdsa.PublicKey))
	for name, data := range map[string][]byte{"a raw point": point, "an OCTET STRING": curve.OctetString(point)} {
		t.Run(name, func(t *testing.T) {
			m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: data}}
			for _, length := range []int{0, 16, len(shared)} {
				got, err := s.derive(t, k, m, length)
				want := shared
				if length > 0 {
					want = shared[len(shared)-length:]
				}
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes: not the secret that Go's crypto has: %v", length, err)
				}
			}
			_, err := s.derive(t, k, m, len(shared)+1)
			wants(t, err, fault.KeySizeRange)
		})
	}
	for _, kdf := range []uint64{cryptoki.CKD_SHA1_KDF, cryptoki.CKD_SHA224_KDF, cryptoki.CKD_SHA256_KDF, cryptoki.CKD_SHA384_KDF, cryptoki.CKD_SHA512_KDF} {
		t.Run(fmt.Sprintf("KDF %d", kdf), func(t *testing.T) {
			h, _, _ := mechanism.KDFHash(kdf)
			info := []byte("shared info")
			m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: kdf, SharedData: info, PublicData: point}}
			got, err := s.derive(t, k, m, 100)
			var want []byte
			for i := uint32(1); len(want) < 100; i++ {
				want = append(want, hashed(h, shared, binary.BigEndian.AppendUint32(nil, i), info)...)
			}
			if err != nil || !bytes.Equal(got, want[:100]) {
				t.Errorf("not what ANSI X9.63 derives: %v", err)
			}
		})
	}
	s.refuseECDH(t, k, on, point)
}

// refuseECDH sends points and parameters that are wrong.
func (s *suite) refuseECDH(t *testing.T, k *testKey, on *curve.Curve, point []byte) {
	beside := bytes.Clone(point)
	beside[len(beside)-1] ^= 1
	for name, params := range map[string]cryptoki.Params{
		"no parameter":             nil,
		"no point":                 cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL},
		"a point beside the curve": cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: beside},
		"a short point":            cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: point[:len(point)-1]},
		"a long point":             cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: append(bytes.Clone(point), 0)},
		"the point at infinity":    cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: []byte{0}},
		"zero":                     cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: append([]byte{4}, make([]byte, 2*on.Bytes())...)},
		"an unknown KDF":           cryptoki.ECDH1Params{KDF: 999, PublicData: point},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.derive(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: params}, 0)
			wants(t, err, fault.MechanismParamInvalid, fault.PublicKeyInvalid)
		})
	}
}

// agree computes the shared secret with Go's crypto.
func agree(t *testing.T, private *ecdsa.PrivateKey, public *ecdsa.PublicKey) []byte {
	t.Helper()
	if private.Curve == elliptic.P224() {
		// crypto/ecdh has no P-224. This is a test: that it is the old way does no harm.
		scalar, err := private.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		x, _ := public.Curve.ScalarMult(public.X, public.Y, scalar) //lint:ignore SA1019 there is no other for P-224
		return x.FillBytes(make([]byte, 28))
	}
	own, err := private.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	other, err := public.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	shared, err := own.ECDH(other)
	if err != nil {
		t.Fatal(err)
	}
	return shared
}

// proveEdwards checks Ed25519 with Go's crypto.
func (s *suite) proveEdwards(t *testing.T, k *testKey) {
	for _, length := range []int{0, 1, 32, 5000} {
		message := random(length)
		if s.tooLong(length) {
			_, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, message)
			wants(t, err, fault.DataLenRange)
			continue
		}
		for _, params := range []cryptoki.Params{nil, cryptoki.EDDSAParams{}} {
			signature, err := s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA, Params: params}, message)
			if err != nil || !ed25519.Verify(k.public.(ed25519.PublicKey), message, signature) {
				t.Errorf("%d bytes: Go's crypto does not take the signature: %v", length, err)
			}
		}
	}
}
