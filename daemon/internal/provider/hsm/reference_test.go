package hsm

import (
	"bytes"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// FuzzReference reads references that the store may hold after damage: no panic, and what is read is written the same.
func FuzzReference(f *testing.F) {
	f.Add(reference{Class: cryptoki.CKO_PRIVATE_KEY, KeyType: cryptoki.CKK_EC, ID: make([]byte, 16), Public: make([]byte, 32)}.encode())
	f.Add(reference{Class: cryptoki.CKO_SECRET_KEY, KeyType: cryptoki.CKK_AES, Label: []byte("a \"label\" \xff")}.encode())
	f.Add([]byte(`{"class":3,"type":3,"id":"0x"}`))
	f.Add([]byte(`{"class":3,"type":3,"id":"00"} {}`))
	f.Add([]byte(`null`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ref []byte) {
		r, err := parseReference(ref)
		if err != nil {
			if !fault.Is(err, fault.KeyHandleInvalid) {
				t.Errorf("the error means %s", fault.RV(err))
			}
			return
		}
		again, err := parseReference(r.encode())
		if err != nil || !bytes.Equal(again.encode(), r.encode()) {
			t.Errorf("%q is not read as it was written: %v", r.encode(), err)
		}
	})
}
