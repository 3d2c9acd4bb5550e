package keystore

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// keyed is an audit.Authenticator for tests.
type keyed string

func (k keyed) MAC(purpose string, data []byte) []byte {
	mac := hmac.New(sha256.New, []byte(string(k)+purpose))
	mac.Write(data)
	return mac.Sum(nil)
}

func (k keyed) Authentic(purpose string, data, mac []byte) bool {
	return hmac.Equal(k.MAC(purpose, data), mac)
}

// open opens a store and ends it with the test.
func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	s.Authenticate(keyed("root"))
	t.Cleanup(func() { s.Close() })
	return s
}

// change runs a Change without a request id that must succeed.
func change(t testing.TB, s *Store, do func(tx *Tx) error) {
	t.Helper()
	_, replayed, err := s.Change(t.Context(), Change{Application: "test", Event: audit.Event{Operation: "test", Outcome: "OK"}},
		func(tx *Tx) ([]byte, error) { return nil, do(tx) })
	if err != nil || replayed {
		t.Fatalf("Change: replayed %v, %v", replayed, err)
	}
}

func newToken(t testing.TB, s *Store, label string) Token {
	t.Helper()
	token := Token{Label: label, Provider: "software", SealedKey: []byte("sealed"), SO: PIN{Hash: "so-hash", Epoch: 1}, User: PIN{Hash: "user-hash", Epoch: 1}}
	change(t, s, func(tx *Tx) error { return tx.CreateToken(&token) })
	return token
}

func newObject(t testing.TB, s *Store, token, label string, more ...cryptoki.Attribute) Object {
	t.Helper()
	o := Object{Token: token, Attributes: append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
		cryptoki.String(cryptoki.CKA_LABEL, label),
	}, more...), Provider: "software", Ref: []byte("ref of " + label)}
	change(t, s, func(tx *Tx) error { return tx.CreateObject(&o) })
	return o
}

func wantKind(t testing.TB, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: got %v (kind %v), want kind %v", what, err, fault.From(err), kind)
	}
}

// wantVerified checks the audit's chain.
func wantVerified(t testing.TB, s *Store) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), s, keyed("root"))
	if err != nil || report.Break != nil {
		t.Fatalf("the audit does not verify: %+v, %v", report.Break, err)
	}
	return report
}

func TestInitMeta(t *testing.T) { onEach(t, testInitMeta) }

func testInitMeta(t *testing.T, on database) {
	s := on.fresh(t)
	if got, err := s.Meta(t.Context(), "x"); got != nil || err != nil {
		t.Errorf("nothing there: %q, %v", got, err)
	}
	for _, value := range []string{"first", "second"} {
		if got, err := s.InitMeta(t.Context(), "x", []byte(value)); err != nil || string(got) != "first" {
			t.Errorf("InitMeta %s: %q, %v", value, got, err)
		}
	}
	change(t, s, func(tx *Tx) error { return tx.PutMeta("x", []byte("third")) })
	if got, _ := s.Meta(t.Context(), "x"); string(got) != "third" {
		t.Errorf("after PutMeta: %q", got)
	}
	change(t, s, func(tx *Tx) error { return tx.PutMeta("x", nil) })
	if got, err := s.Meta(t.Context(), "x"); got != nil || err != nil {
		t.Errorf("after deleting: %q, %v", got, err)
	}
}

// A view sees one state, whatever is changed meanwhile.
func TestView(t *testing.T) { onEach(t, testView) }

func testView(t *testing.T, on database) {
	s := on.fresh(t)
	token := newToken(t, s, "a")
	err := s.View(t.Context(), func(r *Reader) error {
		before, err := r.Revision(t.Context(), token.UID)
		if err != nil {
			return err
		}
		newObject(t, s, token.UID, "key")
		after, err := r.Revision(t.Context(), token.UID)
		if err != nil {
			return err
		}
		objects, err := r.Objects(t.Context(), ObjectQuery{Token: token.UID})
		if before != after || len(objects) != 0 {
			t.Errorf("the view changed: revision %d, then %d and %d objects", before, after, len(objects))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := s.Revision(t.Context(), token.UID); now != token.Revision+1 {
		t.Errorf("revision %d", now)
	}
}

func TestEvents(t *testing.T) { onEach(t, testEvents) }

func testEvents(t *testing.T, on database) {
	s := on.fresh(t)
	for n := range 10 {
		if err := s.AppendEvents(t.Context(), []audit.Event{{Operation: "sign", Object: fmt.Sprint(n)}, {Operation: "decrypt", Outcome: "OK", Detail: "ü"}}); err != nil {
			t.Fatal(err)
		}
	}
	report := wantVerified(t, s)
	if report.Events != 20 {
		t.Errorf("%d events", report.Events)
	}
	for _, c := range []struct {
		after       uint64
		limit       int
		first, last uint64
	}{{0, 0, 1, 20}, {0, 5, 1, 5}, {18, 5, 19, 20}} {
		events, err := s.Events(t.Context(), c.after, c.limit)
		if err != nil || len(events) == 0 || events[0].Sequence != c.first || events[len(events)-1].Sequence != c.last {
			t.Errorf("Events(%d, %d): %d events, %v", c.after, c.limit, len(events), err)
		}
	}
	newest, err := s.NewestEvents(t.Context(), 3)
	if err != nil || len(newest) != 3 || newest[0].Sequence != 18 || newest[2].Sequence != 20 {
		t.Errorf("NewestEvents: %+v, %v", newest, err)
	}
	if none, err := s.Events(t.Context(), 1<<63+5, 1); err != nil || len(none) != 0 {
		t.Errorf("after the end: %v, %v", none, err)
	}
	head, err := s.AuditHead(t.Context())
	if err != nil || head.Sequence != 20 || !bytes.Equal(head.Hash, report.Hash) || len(head.MAC) == 0 {
		t.Errorf("head %+v, %v", head, err)
	}
}
