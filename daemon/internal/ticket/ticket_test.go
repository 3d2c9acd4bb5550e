package ticket

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func issuer(t testing.TB, fill byte, lifetime time.Duration) (*Issuer, *time.Time) {
	t.Helper()
	root, err := seal.NewRoot(bytes.Repeat([]byte{fill}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	i := NewIssuer(root, lifetime)
	i.now = func() time.Time { return now }
	return i, &now
}

func issue(t testing.TB, i *Issuer, role Role) []byte {
	t.Helper()
	sealed, err := i.Issue("token", "web", role, 7)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestOpenReturnsWhatWasIssued(t *testing.T) {
	i, now := issuer(t, 1, time.Hour)
	for _, role := range []Role{SO, User, Context} {
		sealed := issue(t, i, role)
		got, err := i.Open(sealed, "token", "web")
		if err != nil {
			t.Fatalf("role %d: %v", role, err)
		}
		life := time.Hour
		if role == Context {
			life = ContextLifetime
		}
		if got.Role != role || got.Epoch != 7 || got.Token != "token" || got.Application != "web" || !got.Issued.Equal(*now) ||
			!got.Expires.Equal(now.Add(life)) || got.ID == "" {
			t.Errorf("role %d: got %+v", role, got)
		}
		if bytes.Contains(sealed, []byte("web")) {
			t.Error("a ticket shows the application in clear")
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	i, _ := issuer(t, 1, 0)
	a, _ := i.Open(issue(t, i, User), "token", "web")
	b, _ := i.Open(issue(t, i, User), "token", "web")
	if a.ID == b.ID {
		t.Errorf("two tickets have the id %s", a.ID)
	}
}

// A restarted daemon, or another replica, has another Issuer with the same root key.
func TestAnotherReplicaAccepts(t *testing.T) {
	i, _ := issuer(t, 1, 0)
	replica, _ := issuer(t, 1, 0)
	if _, err := replica.Open(issue(t, i, User), "token", "web"); err != nil {
		t.Error(err)
	}
}

func TestRefusedTickets(t *testing.T) {
	i, _ := issuer(t, 1, 0)
	foreign, _ := issuer(t, 2, 0)
	good := issue(t, i, User)
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	otherPurpose, err := i.sealer.Seal("token key", []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name               string
		sealed             []byte
		token, application string
	}{
		{"no ticket", nil, "token", "web"},
		{"of another root key", issue(t, foreign, User), "token", "web"},
		{"changed", changed, "token", "web"},
		{"cut", good[:len(good)-1], "token", "web"},
		{"empty seal", good[:1], "token", "web"},
		{"for another token", good, "token2", "web"},
		{"for another application", good, "token", "mail"},
		{"sealed for another purpose", otherPurpose, "token", "web"},
		{"huge", make([]byte, 1<<20), "token", "web"},
	} {
		if got, err := i.Open(c.sealed, c.token, c.application); !fault.Is(err, fault.UserNotLoggedIn) || got != (Ticket{}) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}

func TestExpiryAndSkew(t *testing.T) {
	i, now := issuer(t, 1, time.Hour)
	start := *now
	for _, c := range []struct {
		role  Role
		after time.Duration
		ok    bool
	}{
		{User, 0, true},
		{User, time.Hour, true},
		{User, time.Hour + Skew - time.Second, true},
		{User, time.Hour + Skew, false},
		{User, 1000 * time.Hour, false},
		{User, -Skew, true},
		{User, -Skew - time.Second, true},
		{User, -time.Hour - Skew, true},
		{User, -time.Hour - Skew - time.Second, false},
		{Context, -ContextLifetime - Skew - time.Second, false},
		{Context, ContextLifetime, true},
		{Context, ContextLifetime + Skew, false},
	} {
		*now = start
		sealed := issue(t, i, c.role)
		*now = start.Add(c.after)
		if _, err := i.Open(sealed, "token", "web"); (err == nil) != c.ok {
			t.Errorf("role %d after %s: %v", c.role, c.after, err)
		}
	}
}

func TestRenew(t *testing.T) {
	i, now := issuer(t, 1, time.Hour)
	start := *now
	for _, c := range []struct {
		role  Role
		after time.Duration
		renew bool
	}{
		{User, 0, false},
		{User, 29 * time.Minute, false},
		{User, 30 * time.Minute, true},
		{SO, 59 * time.Minute, true},
		{User, -Skew, false},
		{User, -Skew - time.Second, true},
		{Context, 4 * time.Minute, false},
	} {
		*now = start
		sealed := issue(t, i, c.role)
		*now = start.Add(c.after)
		old, err := i.Open(sealed, "token", "web")
		if err != nil {
			t.Fatal(err)
		}
		renewed, err := i.Renew(old)
		if err != nil || (renewed != nil) != c.renew {
			t.Errorf("role %d after %s: %v, %v", c.role, c.after, renewed != nil, err)
		}
		if renewed == nil {
			continue
		}
		*now = start.Add(c.after + 55*time.Minute)
		if got, err := i.Open(renewed, "token", "web"); err != nil || got.Epoch != old.Epoch || got.Role != old.Role || got.ID == old.ID {
			t.Errorf("the renewed ticket is %+v, %v", got, err)
		}
	}
}

func TestNamesTooLong(t *testing.T) {
	i, _ := issuer(t, 1, 0)
	if _, err := i.Issue("token", strings.Repeat("x", maxName+1), User, 1); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("got %v", err)
	}
	long := strings.Repeat("x", maxName)
	sealed, err := i.Issue(long, long, User, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Open(sealed, long, long); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, t := range []Ticket{
		{Role: User},
		{Role: SO, Token: "token", Application: "web", ID: "id", Epoch: 1 << 60, Issued: time.UnixMicro(1)},
		{Role: Context, Application: strings.Repeat("x", maxName), Issued: time.UnixMicro(-5)},
	} {
		b, err := t.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 0))
	}
	f.Add([]byte{})
	f.Add([]byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		ticket, err := decode(b)
		if err != nil {
			return
		}
		again, err := ticket.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	i, _ := issuer(f, 1, 0)
	f.Add(issue(f, i, User))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if _, err := i.Open(sealed, "other", "other"); !fault.Is(err, fault.UserNotLoggedIn) {
			t.Fatalf("got %v", err)
		}
	})
}
