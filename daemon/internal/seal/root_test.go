package seal

import (
	"bytes"
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/internal/fault"
)

func testRoot(t testing.TB, fill byte) *Root {
	t.Helper()
	root, err := NewRoot(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// The construction's published test vectors (C2SP, XAES-256-GCM): nonce "ABCDEFGHIJKLMNOPQRSTUVWX", plaintext
// "XAES-256-GCM". One key has the carry of CMAC's doubling, the other has not.
func TestKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		key       byte
		aad, want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		b := newBox(bytes.Repeat([]byte{c.key}, KeySize))
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		got := b.message(nonce).Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(c.aad))
		if hex.EncodeToString(got) != c.want {
			t.Errorf("key %#x: got %x, want %s", c.key, got, c.want)
		}
	}
}

func TestRootSealAndOpen(t *testing.T) {
	root := testRoot(t, 1)
	for _, size := range []int{0, 1, 32, 1 << 16} {
		plain := bytes.Repeat([]byte{0xAB}, size)
		sealed, err := root.Seal("purpose", plain, []byte("aad"))
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != size+Overhead {
			t.Errorf("%d bytes became %d, want %d", size, len(sealed), size+Overhead)
		}
		got, err := root.Open("purpose", sealed, []byte("aad"))
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestTampering(t *testing.T) {
	root := testRoot(t, 1)
	sealed, err := root.Seal("purpose", []byte("secret"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, r *Root, purpose string, sealed, aad []byte) {
		t.Helper()
		got, err := r.Open(purpose, sealed, aad)
		if !fault.Is(err, fault.StoreDamaged) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x40
		refused("a changed byte", root, "purpose", changed, []byte("aad"))
		refused("a cut value", root, "purpose", sealed[:i], []byte("aad"))
	}
	refused("a longer value", root, "purpose", append(bytes.Clone(sealed), 0), []byte("aad"))
	refused("other associated data", root, "purpose", sealed, []byte("aae"))
	refused("no associated data", root, "purpose", sealed, nil)
	refused("another purpose", root, "purpose2", sealed, []byte("aad"))
	refused("another root key", testRoot(t, 2), "purpose", sealed, []byte("aad"))
}

func TestSealsDiffer(t *testing.T) {
	root := testRoot(t, 1)
	a, _ := root.Seal("purpose", []byte("secret"), nil)
	b, _ := root.Seal("purpose", []byte("secret"), nil)
	if bytes.Equal(a, b) {
		t.Error("two seals of one value are equal")
	}
}

func TestMAC(t *testing.T) {
	root := testRoot(t, 1)
	mac := root.MAC("head", []byte("data"))
	if len(mac) != 32 || !bytes.Equal(mac, root.MAC("head", []byte("data"))) {
		t.Errorf("got %x", mac)
	}
	for what, other := range map[string][]byte{
		"data": root.MAC("head", []byte("data2")), "purpose": root.MAC("head2", []byte("data")), "root": testRoot(t, 2).MAC("head", []byte("data")),
	} {
		if bytes.Equal(mac, other) {
			t.Errorf("another %s gives the same MAC", what)
		}
	}
}

func TestWipedRootRefuses(t *testing.T) {
	root := testRoot(t, 1)
	sealed, err := root.Seal("purpose", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	root.Wipe()
	if _, err := root.Seal("purpose", nil, nil); !fault.Is(err, fault.DeviceError) {
		t.Errorf("Seal: %v", err)
	}
	if _, err := root.Open("purpose", sealed, nil); !fault.Is(err, fault.DeviceError) {
		t.Errorf("Open: %v", err)
	}
	if root.MAC("purpose", nil) != nil {
		t.Error("MAC works on")
	}
	if !bytes.Equal(root.current.key, make([]byte, KeySize)) {
		t.Error("the key is still in memory")
	}
}

func TestKeyLength(t *testing.T) {
	for _, size := range []int{0, 16, 31, 33} {
		if _, err := NewRoot(make([]byte, size)); !fault.Is(err, fault.InvalidInput) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	root := testRoot(t, 1)
	var users sync.WaitGroup
	for n := range 16 {
		users.Go(func() {
			purpose := strings.Repeat("p", 1+n%4)
			sealed, err := root.Seal(purpose, []byte("secret"), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := root.Open(purpose, sealed, nil); err != nil || string(got) != "secret" {
				t.Errorf("%q, %v", got, err)
			}
			root.MAC(purpose, nil)
		})
	}
	users.Wait()
}

func FuzzOpen(f *testing.F) {
	root := testRoot(f, 1)
	good, err := root.Seal("purpose", []byte("secret"), []byte("aad"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte("aad"))
	f.Add(good[:len(good)-1], []byte("aad"))
	f.Add([]byte{}, []byte{})
	f.Add(make([]byte, Overhead), []byte{})
	f.Add([]byte{2}, []byte("aad"))
	f.Fuzz(func(t *testing.T, sealed, aad []byte) {
		got, err := root.Open("purpose", sealed, aad)
		// Each worker of the fuzzer has sealed a good value of its own: what opens holds the secret.
		if err == nil && (string(aad) != "aad" || string(got) != "secret") {
			t.Fatalf("%x with %x opened as %x", sealed, aad, got)
		}
		if err != nil && !fault.Is(err, fault.StoreDamaged) {
			t.Fatalf("got %v", err)
		}
	})
}

func FuzzParseStretch(f *testing.F) {
	f.Add(newStretch().encode())
	f.Add([]byte("argon2id m=65536 t=3 p=4 00"))
	f.Add([]byte("argon2id m=99999999999 t=3 p=4 0011223344556677"))
	f.Fuzz(func(t *testing.T, stored []byte) {
		s, err := parseStretch(stored)
		if err == nil && (!bytes.Equal(s.encode(), stored) || s.memory > 4<<20 || s.passes > 64) {
			t.Fatalf("%q was accepted as %+v", stored, s)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	root := testRoot(b, 1)
	plain := make([]byte, 1200)
	for b.Loop() {
		if _, err := root.Seal("purpose", plain, nil); err != nil {
			b.Fatal(err)
		}
	}
}
