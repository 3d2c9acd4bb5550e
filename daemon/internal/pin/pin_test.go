package pin

import (
	"bytes"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestHashAndVerify(t *testing.T) {
	for _, pin := range []string{"1234", "ünïcödé", strings.Repeat("x", MaxLength), "a\x00b\x00"} {
		stored, err := Hash([]byte(pin))
		if err != nil {
			t.Fatalf("Hash(%q): %v", pin, err)
		}
		if strings.Contains(stored, pin) {
			t.Errorf("the hash holds the PIN: %s", stored)
		}
		if ok, err := Verify(stored, []byte(pin)); !ok || err != nil {
			t.Errorf("Verify(%q) = %v, %v", pin, ok, err)
		}
		for _, wrong := range []string{"", pin + "0", pin[:len(pin)-1], strings.ToUpper(pin) + "x", strings.Repeat("y", 1<<20)} {
			if ok, err := Verify(stored, []byte(wrong)); ok || err != nil {
				t.Errorf("Verify(%q) with the PIN %q = %v, %v", wrong, pin, ok, err)
			}
		}
	}
}

func TestSaltsDiffer(t *testing.T) {
	a, _ := Hash([]byte("1234"))
	b, _ := Hash([]byte("1234"))
	if a == b {
		t.Error("two hashes of one PIN are equal")
	}
}

func TestLengths(t *testing.T) {
	for length, ok := range map[int]bool{0: false, 3: false, 4: true, 255: true, 256: false, 1 << 20: false} {
		_, err := Hash(bytes.Repeat([]byte("1"), length))
		if (err == nil) != ok {
			t.Errorf("a PIN of %d bytes: %v", length, err)
		}
		if err != nil && !fault.Is(err, fault.PINLenRange) {
			t.Errorf("a PIN of %d bytes: kind %v", length, fault.From(err).Kind)
		}
	}
}

// Hashes of another cost, made by an older or newer version, keep working.
func TestOtherCost(t *testing.T) {
	h := hash{cost: cost{memory: 64, passes: 1, lanes: 4}, salt: []byte("saltsaltsalt")}
	h.sum = derive([]byte("password"), h.salt, h.cost, 24)
	if ok, err := Verify(h.String(), []byte("password")); !ok || err != nil {
		t.Errorf("a hash of another cost: %v, %v", ok, err)
	}
}

var damaged = []string{
	"",
	"x",
	"$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=16$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=4000000,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=0,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=2,p=0$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=8,t=2,p=16$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=2,p=1$$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$",
	"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAA=",
	"$argon2id$v=19$m=+19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA$",
}

func TestDamagedHash(t *testing.T) {
	for _, stored := range damaged {
		if ok, err := Verify(stored, []byte("1234")); ok || !fault.Is(err, fault.StoreDamaged) {
			t.Errorf("Verify(%q) = %v, %v", stored, ok, err)
		}
	}
}

// Guessing in parallel may not take more memory than the turns allow: 64 hashes at once would be 1.2 GiB.
func TestBruteForceMemoryIsBounded(t *testing.T) {
	stored, err := Hash([]byte("1234"))
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var guesses sync.WaitGroup
	for range 64 {
		guesses.Go(func() {
			if ok, _ := Verify(stored, []byte("4321")); ok {
				t.Error("a wrong PIN passed")
			}
		})
	}
	guesses.Wait()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapSys) - int64(before.HeapSys)
	// The garbage of finished hashes counts too until it is collected: hence twice, and some room.
	if most := int64(2*cap(turns)+4) * 20 << 20; grown > most {
		t.Errorf("the heap grew by %d MiB, more than %d", grown>>20, most>>20)
	}
}

func FuzzParse(f *testing.F) {
	for _, stored := range damaged {
		f.Add(stored)
	}
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, stored string) {
		h, err := parse(stored)
		if err != nil {
			return
		}
		if h.memory > maxMemory || h.passes > maxPasses || h.lanes > maxLanes || h.lanes == 0 || h.passes == 0 {
			t.Fatalf("%q was accepted with the cost %+v", stored, h.cost)
		}
		if again := h.String(); again != stored {
			t.Fatalf("%q became %q", stored, again)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	stored, err := Hash([]byte("1234"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		Verify(stored, []byte("1234"))
	}
}
