package software

import (
	"bytes"
	"context"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TestNothingIsKept: a key that is destroyed, or forgotten with its token, is wiped from memory when its last use ends,
// and a call that began before does not put it back.
func TestNothingIsKept(t *testing.T) {
	root, err := seal.NewRoot(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	var ring *seal.Keyring
	var sealed []byte
	ring = seal.NewKeyring(root, func(context.Context, string) ([]byte, error) { return sealed, nil })
	if sealed, err = ring.NewKey("token"); err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Sealer: ring})
	if err != nil {
		t.Fatal(err)
	}
	make := func(uid string) *key {
		t.Helper()
		identity := provider.Identity{UID: uid, Token: "token"}
		made, err := p.Generate(t.Context(), provider.GenerateRequest{
			Identity: identity, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}, Private: cryptoki.Attributes{
				cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
				cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32)),
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		opened, err := p.Key(t.Context(), provider.Reference{Identity: identity, Ref: made.Ref})
		if err != nil {
			t.Fatal(err)
		}
		return opened.(*key)
	}
	acquire := func(k *key) *entry {
		t.Helper()
		e, err := k.acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	wiped := func(e *entry) bool {
		_, err := e.key.Sign(cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, nil)
		return err != nil
	}
	kept := func() int { return len(p.cache.byName) + p.cache.order.Len() }

	doomed, other := make("doomed"), make("other")
	inUse := acquire(doomed)
	if err := p.Destroy(t.Context(), doomed.reference); err != nil {
		t.Fatal(err)
	}
	if wiped(inUse) {
		t.Error("a key was wiped while it was used")
	}
	p.cache.release(inUse)
	if !wiped(inUse) {
		t.Error("a destroyed key was not wiped after its last use")
	}
	late := acquire(doomed)
	p.cache.release(late)
	if !wiped(late) || kept() != 2 {
		t.Errorf("a destroyed key came back; %d are kept", kept())
	}

	entry := acquire(other)
	p.cache.release(entry)
	p.Forget()
	if !wiped(entry) || kept() != 0 {
		t.Errorf("a key is in memory after all were forgotten; %d are kept", kept())
	}
	again := acquire(other)
	if wiped(again) || again == entry {
		t.Error("a key that was forgotten does not come back")
	}
	p.cache.release(again)
	if kept() != 2 {
		t.Errorf("%d are kept", kept())
	}
}
