package session

import (
	"bytes"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

var digests = []cryptoki.MechanismType{
	cryptoki.CKM_MD5, cryptoki.CKM_SHA_1, cryptoki.CKM_SHA224, cryptoki.CKM_SHA256, cryptoki.CKM_SHA384, cryptoki.CKM_SHA512,
	cryptoki.CKM_SHA3_224, cryptoki.CKM_SHA3_256, cryptoki.CKM_SHA3_384, cryptoki.CKM_SHA3_512,
}

// TestSavedDigest continues digests from saved states and compares with digests that were never interrupted.
func TestSavedDigest(t *testing.T) {
	text := bytes.Repeat([]byte("state "), 100)
	for _, m := range digests {
		for _, at := range []int{0, 1, 63, 64, 200, len(text)} {
			h, _ := mechanism.NewHash(m)
			first := &digestion{hash: h, mechanism: m, updated: at > 0}
			first.hash.Write(text[:at])
			state, ok := first.save()
			if !ok {
				t.Fatalf("%s cannot be saved", m)
			}
			second, ok := restore(state)
			if !ok || second.mechanism != m || second.updated != first.updated {
				t.Fatalf("%s at %d: not restored", m, at)
			}
			// Both go on, one does not disturb the other.
			first.hash.Write([]byte("something else"))
			second.hash.Write(text[at:])
			whole, _ := mechanism.NewHash(m)
			whole.Write(text)
			if !bytes.Equal(second.hash.Sum(nil), whole.Sum(nil)) {
				t.Errorf("%s at %d: another digest", m, at)
			}
		}
	}
}

func FuzzRestore(f *testing.F) {
	for _, m := range digests {
		h, _ := mechanism.NewHash(m)
		h.Write([]byte("some data"))
		state, _ := (&digestion{hash: h, mechanism: m}).save()
		f.Add(state)
		f.Add(state[:len(state)-1])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, state []byte) {
		op, ok := restore(state)
		if !ok {
			return
		}
		op.hash.Write([]byte("more"))
		if sum := op.hash.Sum(nil); len(sum) != op.hash.Size() {
			t.Errorf("a digest of %d bytes", len(sum))
		}
	})
}
