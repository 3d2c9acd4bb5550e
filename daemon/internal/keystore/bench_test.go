package keystore

import (
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// On 2 cores of a Xeon with a disk that syncs in about 0.2 ms, 100,000 objects in the store (November 2026):
//
//	one acknowledged key generation    0.6 ms
//	objects in one transaction         28,000/s
//	one object by handle, by label     22 µs, 17 µs
//	a token's revision                 5 µs
//	a page of 500 objects              3.6 ms
//	audit events one by one, by 1024   3,500/s, 160,000/s
//	opening the store                  0.14 s

func filled(b *testing.B, on database, objects int) (*Store, Token) {
	b.Helper()
	s := on.fresh(b)
	token := newToken(b, s, "bench")
	for first := 0; first < objects; first += 1000 {
		change(b, s, func(tx *Tx) error {
			for n := first; n < min(first+1000, objects); n++ {
				if err := tx.CreateObject(typical(token.UID, n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return s, token
}

// typical is a private key with the attributes that one has, and a software key's sealed value.
func typical(token string, n int) *Object {
	attributes := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
		cryptoki.String(cryptoki.CKA_LABEL, fmt.Sprint("key ", n)), cryptoki.Bytes(cryptoki.CKA_ID, fmt.Appendf(nil, "%020d", n)),
		cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, make([]byte, 10)), cryptoki.Bytes(cryptoki.CKA_EC_POINT, make([]byte, 67)),
	}
	for _, t := range []cryptoki.AttributeType{
		cryptoki.CKA_TOKEN, cryptoki.CKA_PRIVATE, cryptoki.CKA_MODIFIABLE, cryptoki.CKA_COPYABLE, cryptoki.CKA_DESTROYABLE, cryptoki.CKA_SENSITIVE,
		cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_ALWAYS_SENSITIVE, cryptoki.CKA_NEVER_EXTRACTABLE, cryptoki.CKA_LOCAL, cryptoki.CKA_SIGN,
		cryptoki.CKA_DERIVE, cryptoki.CKA_ALWAYS_AUTHENTICATE,
	} {
		attributes = append(attributes, cryptoki.Bool(t, true))
	}
	return &Object{Token: token, Attributes: attributes, Provider: "software", Ref: make([]byte, 200)}
}

// One acknowledged key generation: request, object, reference, audit event, one durable commit.
func BenchmarkChange(b *testing.B) { benchEach(b, benchmarkChange) }

func benchmarkChange(b *testing.B, on database) {
	s, token := filled(b, on, 0)
	n := 0
	for b.Loop() {
		n++
		_, _, err := s.Change(b.Context(), Change{RequestID: fmt.Sprint(n), Application: "web", Event: audit.Event{Operation: "key.create", Outcome: "OK"}},
			func(tx *Tx) ([]byte, error) { return []byte("response"), tx.CreateObject(typical(token.UID, n)) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Objects made in one transaction, as an import does.
func BenchmarkInsertInBulk(b *testing.B) { benchEach(b, benchmarkInsertInBulk) }

func benchmarkInsertInBulk(b *testing.B, on database) {
	s, token := filled(b, on, 0)
	change(b, s, func(tx *Tx) error {
		for n := 0; b.Loop(); n++ {
			if err := tx.CreateObject(typical(token.UID, n)); err != nil {
				return err
			}
		}
		return nil
	})
}

// One object by its handle among 100,000: what a signature needs when it is in no cache.
func BenchmarkObject(b *testing.B) { benchEach(b, benchmarkObject) }

func benchmarkObject(b *testing.B, on database) {
	s, token := filled(b, on, 100_000)
	n := uint64(0)
	for b.Loop() {
		n = (n*48271 + 1) % 100_000
		if _, err := s.Object(b.Context(), token.UID, n+1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkObjectParallel(b *testing.B) { benchEach(b, benchmarkObjectParallel) }

func benchmarkObjectParallel(b *testing.B, on database) {
	s, token := filled(b, on, 100_000)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for n := uint64(0); pb.Next(); n = (n*48271 + 1) % 100_000 {
			if _, err := s.Object(b.Context(), token.UID, n+1); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRevision(b *testing.B) { benchEach(b, benchmarkRevision) }

func benchmarkRevision(b *testing.B, on database) {
	s, token := filled(b, on, 1000)
	for b.Loop() {
		if _, err := s.Revision(b.Context(), token.UID); err != nil {
			b.Fatal(err)
		}
	}
}

// A page of 500 objects.
func BenchmarkPage(b *testing.B) { benchEach(b, benchmarkPage) }

func benchmarkPage(b *testing.B, on database) {
	s, token := filled(b, on, 10_000)
	for b.Loop() {
		if found, err := s.Objects(b.Context(), ObjectQuery{Token: token.UID, AfterID: 5000, Limit: 500}); err != nil || len(found) != 500 {
			b.Fatal(err)
		}
	}
}

func BenchmarkByLabel(b *testing.B) { benchEach(b, benchmarkByLabel) }

func benchmarkByLabel(b *testing.B, on database) {
	s, token := filled(b, on, 100_000)
	label := "key 77777"
	for b.Loop() {
		if found, err := s.Objects(b.Context(), ObjectQuery{Token: token.UID, Label: &label}); err != nil || len(found) != 1 {
			b.Fatal(err)
		}
	}
}

// Audit events of key uses, in the order of the group committer's batches.
func BenchmarkAppendEvents(b *testing.B) { benchEach(b, benchmarkAppendEvents) }

func benchmarkAppendEvents(b *testing.B, on database) {
	for _, size := range []int{1, 32, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := on.fresh(b)
			events := make([]audit.Event, size)
			for b.Loop() {
				for i := range events {
					events[i] = audit.Event{Application: "web", Identity: "uid:33", Operation: "sign", Token: "0123456789abcdef", Object: "0123456789abcdef", Mechanism: "CKM_ECDSA", Outcome: "OK"}
				}
				if err := s.AppendEvents(b.Context(), events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// The start of a daemon: the whole file is read.
func BenchmarkOpen(b *testing.B) {
	s, _ := filled(b, onSQLite, 100_000)
	path := s.Name()
	s.Close()
	for b.Loop() {
		s, err := Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
