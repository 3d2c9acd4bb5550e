package keyservice_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// BenchmarkSign is what keyservice adds to a P-256 signature, which alone takes about 15 µs.
func BenchmarkSign(b *testing.B) {
	f := newFixture(b)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	_, private := f.pair(call)
	b.ResetTimer()
	for b.Loop() {
		if _, _, err := f.Sign(b.Context(), call, ref(private), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest, false); err != nil {
			b.Fatal(err)
		}
	}
}
