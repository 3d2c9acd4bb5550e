package keyservice

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"
)

func TestPad(t *testing.T) {
	for length := range 50 {
		data := bytes.Repeat([]byte{0xaa}, length)
		padded := pad(data)
		if len(padded)%16 != 0 || len(padded) <= length {
			t.Fatalf("%d bytes padded to %d", length, len(padded))
		}
		back, err := unpad(padded)
		if err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%d bytes: %v", length, err)
		}
	}
}

func TestUnpadRefuses(t *testing.T) {
	block := func(tail ...byte) []byte { return append(make([]byte, 16-len(tail)), tail...) }
	for name, padded := range map[string][]byte{
		"empty": nil, "no whole block": make([]byte, 15), "zero": block(0), "seventeen": block(17), "255": block(255),
		"first byte wrong": block(2, 3, 3), "middle byte wrong": block(4, 4, 3, 4), "whole block wrong": append(make([]byte, 16), block(16)...),
	} {
		if _, err := unpad(padded); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if plain, err := unpad(append(make([]byte, 16), bytes.Repeat([]byte{16}, 16)...)); err != nil || len(plain) != 16 {
		t.Errorf("a block of padding: %d bytes, %v", len(plain), err)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("0.1.2")
	f.Add("18446744073709551615.0.0")
	f.Add("1.1")
	f.Add("01.1.1")
	f.Fuzz(func(t *testing.T, page string) {
		if c, err := parseCursor(page); err == nil && c.String() != page {
			t.Errorf("%q reads as %q", page, c)
		}
	})
}

func FuzzSpec(f *testing.F) {
	for _, spec := range []string{"rsa:2048", "ec:p256", "ed25519", "aes:256", "hmac:256", "ec:", "rsa:-1", ":"} {
		f.Add(spec)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		order, err := parseSpec(spec)
		if err != nil {
			return
		}
		public, private, err := order.templates("label", []byte{1}, []string{"sign"}, false)
		if err != nil || len(private) == 0 || order.pair != (len(public) > 0) {
			t.Errorf("%q: %v", spec, err)
		}
	})
}

func FuzzFields(f *testing.F) {
	f.Add(appendField(appendField(nil, []byte("uid")), []byte("ref")))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		field, rest, ok := cutField(b)
		if ok && !bytes.Equal(append(appendField(nil, field), rest...), b) {
			t.Error("what was cut is not what was there")
		}
	})
}

func TestTurns(t *testing.T) {
	var turns turns
	var running, most int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			done, err := turns.take(context.Background(), "app", "id")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			running--
			mu.Unlock()
			done()
		})
	}
	// Another application's id is another id.
	done, err := turns.take(t.Context(), "other", "id")
	if err != nil {
		t.Fatal(err)
	}
	done()
	wg.Wait()
	if most != 1 {
		t.Errorf("%d ran at once", most)
	}
	if len(turns.running) != 0 {
		t.Errorf("%d turns are left", len(turns.running))
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true},
		{"web-*", "web-", true},
		{"web-*", "web", false},
		{"*-key", "a/b-key-key", true},
		{"*a*b*c*", "xxaxxbxxcxx", true},
		{"*a*b*c*", "xxaxxcxxbxx", false},
		{"w?b", "wéb", true},
		{"w?b", "wb", false},
		{"", "a", false},
		{"[a]", "a", false},
	} {
		if glob(c.pattern, c.text) != c.want {
			t.Errorf("%q of %q", c.text, c.pattern)
		}
	}
}
