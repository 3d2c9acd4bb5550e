package audit

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyed is an Authenticator for tests.
type keyed string

func (k keyed) MAC(purpose string, data []byte) []byte {
	mac := hmac.New(sha256.New, []byte(string(k)+purpose))
	mac.Write(data)
	return mac.Sum(nil)
}

func (k keyed) Authentic(purpose string, data, mac []byte) bool {
	return hmac.Equal(k.MAC(purpose, data), mac)
}

// chain is a Source in memory.
type chain struct {
	events []Event
	head   Head
}

func (c *chain) Events(_ context.Context, after uint64, limit int) ([]Event, error) {
	var found []Event
	for _, e := range c.events {
		if e.Sequence > after && len(found) < limit {
			found = append(found, e)
		}
	}
	return found, nil
}

func (c *chain) AuditHead(context.Context) (Head, error) { return c.head, nil }

func (c *chain) add(a Authenticator, count int) {
	for n := range count {
		event := []Event{{Application: "web", Operation: "sign", Object: fmt.Sprint(n), Outcome: "OK"}}
		c.head = Append(c.head, event, time.Unix(1_800_000_000, int64(n)), a)
		c.events = append(c.events, event[0])
	}
}

func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name string
		// change damages a chain of 10,000 events.
		change func(c *chain)
		sound  uint64
		reason string
	}{
		{"sound", func(*chain) {}, 10_000, ""},
		{"nothing", func(c *chain) { *c = chain{} }, 0, ""},
		{"changed detail", func(c *chain) { c.events[4999].Detail = "x" }, 4999, "event 5000 was changed"},
		{"changed outcome of the first", func(c *chain) { c.events[0].Outcome = "CKR_PIN_INCORRECT" }, 0, "event 1 was changed"},
		{"changed last", func(c *chain) { c.events[9999].Token = "x" }, 9999, "event 10000 was changed"},
		{"changed time", func(c *chain) { c.events[7].Time = c.events[7].Time.Add(time.Microsecond) }, 7, "event 8 was changed"},
		{"changed hash", func(c *chain) { c.events[7].Hash = c.events[8].Hash }, 7, "event 8 was changed"},
		{"text moved between fields", func(c *chain) { c.events[7].Application, c.events[7].Identity = "we", "b" }, 7, "event 8 was changed"},
		{"removed", func(c *chain) { c.events = slices.Delete(c.events, 100, 102) }, 100, "event 101 is missing: 103 follows 100"},
		{"removed first", func(c *chain) { c.events = c.events[1:] }, 0, "event 1 is missing"},
		{"removed and renumbered", func(c *chain) {
			c.events = slices.Delete(c.events, 100, 101)
			for i := 100; i < len(c.events); i++ {
				c.events[i].Sequence--
			}
		}, 100, "event 101 was changed"},
		{"exchanged", func(c *chain) {
			c.events[10], c.events[11] = c.events[11], c.events[10]
			c.events[10].Sequence, c.events[11].Sequence = 11, 12
		}, 10, "event 11 was changed"},
		{"tail cut", func(c *chain) { c.events = c.events[:9990] }, 9990, "the events 9991 to 10000 were removed from the end"},
		{"all removed", func(c *chain) { c.events = nil }, 0, "the events 1 to 10000 were removed"},
		{"tail and head cut", func(c *chain) {
			c.events = c.events[:9990]
			c.head.Sequence, c.head.Hash = 9990, c.events[9989].Hash
		}, 9990, "the head of the chain was changed"},
		{"tail cut, head forged without the key", func(c *chain) {
			c.events = c.events[:9990]
			c.head = Append(Head{Sequence: 9989, Hash: c.events[9988].Hash}, c.events[9989:9990], time.Now(), keyed("other"))
		}, 9990, "the head of the chain was changed"},
		{"head without a MAC", func(c *chain) { c.head.MAC = nil }, 10_000, "the head of the chain was changed"},
		{"head removed", func(c *chain) { c.head = Head{} }, 0, "the head of the chain is missing"},
		{"replaced as a whole", func(c *chain) {
			head := c.head
			*c = chain{}
			c.add(keyed("other"), 10_000-1)
			c.add(nil, 1)
			c.head = head
		}, 10_000, "is not the one that the head of the chain names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := &chain{}
			source.add(keyed("key"), 10_000)
			c.change(source)
			report, err := Verify(t.Context(), source, keyed("key"))
			if err != nil {
				t.Fatal(err)
			}
			if report.Events != c.sound {
				t.Errorf("%d events are sound, want %d", report.Events, c.sound)
			}
			switch {
			case report.Break == nil && c.reason != "":
				t.Error("no break was found")
			case report.Break != nil && (c.reason == "" || !strings.Contains(report.Break.Reason, c.reason)):
				t.Errorf("break at %d: %s", report.Break.Sequence, report.Break.Reason)
			}
		})
	}
}

// What is added while Verify runs is not a break.
func TestVerifyWhileEventsAreAdded(t *testing.T) {
	source := &growing{}
	source.add(keyed("key"), 10)
	report, err := Verify(t.Context(), source, keyed("key"))
	if err != nil || report.Break != nil || report.Events != 10 {
		t.Errorf("%+v, %v", report, err)
	}
}

type growing struct{ chain }

func (g *growing) Events(ctx context.Context, after uint64, limit int) ([]Event, error) {
	g.add(keyed("key"), 5)
	return g.chain.Events(ctx, after, limit)
}

// The encoding may never change: stored chains would no longer verify.
func TestEncodingIsFixed(t *testing.T) {
	e := Event{
		Sequence: 1, Time: time.UnixMicro(1_800_000_000_000_001), Application: "web", Identity: "uid:33", Operation: "sign",
		Token: "t", Object: "o", Mechanism: "CKM_ECDSA", Outcome: "OK", Detail: "ü",
	}
	const want = "01000000000000000100066517289880010000000377656200000006" +
		"7569643a3333000000047369676e00000001740000000" + "16f00000009434b4d5f4543445341000000024f4b00000002c3bc"
	if got := hex.EncodeToString(e.encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	previous := bytes.Repeat([]byte{7}, HashSize)
	sum := sha256.Sum256(append(previous, e.encode()...))
	if !bytes.Equal(e.chained(previous), sum[:]) {
		t.Error("the hash is not SHA-256 of the previous hash and the encoding")
	}
}

func FuzzDecodeHead(f *testing.F) {
	f.Add([]byte{})
	f.Add(Head{Sequence: 3, Hash: make([]byte, HashSize)}.Encode())
	f.Add(Head{Sequence: 3, Hash: make([]byte, HashSize), MAC: make([]byte, 32)}.Encode())
	f.Add(make([]byte, 41))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := DecodeHead(b); ok && len(b) > 0 && !bytes.Equal(h.Encode(), b) {
			t.Fatalf("%x became %x", b, h.Encode())
		}
	})
}
