package software_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// makeSecrets generates HMAC keys.
func makeSecrets(t *testing.T, p *software.Provider, count int) []provider.Key {
	t.Helper()
	keys := make([]provider.Key, count)
	for i := range keys {
		identity := provider.Identity{UID: fmt.Sprintf("%032x", i), Token: "token"}
		private := cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
			cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32)),
		}
		generated, err := p.Generate(t.Context(), provider.GenerateRequest{
			Identity: identity, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}, Private: private,
		})
		if err != nil {
			t.Fatal(err)
		}
		if keys[i], err = p.Key(t.Context(), provider.Reference{Identity: identity, Ref: generated.Ref}); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func mac(ctx context.Context, k provider.Key) ([]byte, error) {
	return k.(provider.Signer).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, []byte("data"))
}

// TestCache opens a key once while it is in the cache, again when it has fallen out, and never uses a wiped one.
func TestCache(t *testing.T) {
	ring := newKeyring("token")
	p, err := software.New(software.Config{Sealer: ring, CacheSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	keys := makeSecrets(t, p, 4)
	want := make([][]byte, len(keys))
	for i, k := range keys {
		if want[i], err = mac(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	before := ring.opened.Load()
	for range 10 {
		for _, i := range []int{2, 3} {
			if got, err := mac(t.Context(), keys[i]); err != nil || string(got) != string(want[i]) {
				t.Fatalf("key %d: %v", i, err)
			}
		}
	}
	if opened := ring.opened.Load() - before; opened != 0 {
		t.Errorf("two keys in a cache of two were opened %d times", opened)
	}
	if got, err := mac(t.Context(), keys[0]); err != nil || string(got) != string(want[0]) {
		t.Errorf("a key that fell out: %v", err)
	}
	if opened := ring.opened.Load() - before; opened != 1 {
		t.Errorf("a key that fell out was opened %d times", opened)
	}
	// Keys fall out while others use them.
	var wait sync.WaitGroup
	for worker := range 16 {
		wait.Go(func() {
			for round := range 200 {
				i := (worker + round) % len(keys)
				if got, err := mac(t.Context(), keys[i]); err != nil || string(got) != string(want[i]) {
					t.Errorf("key %d: %x is not %x: %v", i, got, want[i], err)
					return
				}
			}
		})
	}
	wait.Wait()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := mac(t.Context(), keys[3]); !fault.Is(err, fault.DeviceError) {
		t.Errorf("a closed provider: %v", err)
	}
}

// TestNewRefuses tells what is missing.
func TestNewRefuses(t *testing.T) {
	for _, config := range []software.Config{{}, {Sealer: newKeyring(), CacheSize: -1}} {
		if _, err := software.New(config); !fault.Is(err, fault.ArgumentsBad) || !strings.Contains(err.Error(), "software") {
			t.Errorf("%v", err)
		}
	}
}
