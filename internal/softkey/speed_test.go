package softkey

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Loading a key is on the way of every call that finds no cached one.
func BenchmarkFromAttributes(b *testing.B) {
	for name, as := range map[string]cryptoki.Attributes{
		"RSA2048private": rsa2048().private, "RSA2048public": rsa2048().public, "P256private": curvePair(b, "P-256").private,
		"P256public": curvePair(b, "P-256").public,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				load(b, as)
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	digest := make([]byte, 32)
	for name, test := range map[string]struct {
		as cryptoki.Attributes
		m  cryptoki.Mechanism
	}{
		"RSA2048":    {rsa2048().private, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}},
		"RSA2048raw": {rsa2048().private, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}},
		"P256":       {curvePair(b, "P-256").private, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}},
	} {
		k := load(b, test.as)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := k.Sign(test.m, digest); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
