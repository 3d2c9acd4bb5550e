package rootkey

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// passphrase is a root key's source of a passphrase.
func passphrase(words string) seal.Source {
	return seal.Source{Passphrase: func() ([]byte, error) { return []byte(words), nil }}
}

// opened is what a daemon has open.
type opened struct {
	*Service
	store *keystore.Store
	root  *seal.Root
	login *seal.LoginKeys
}

// open opens a store as a daemon does, until the test ends or close is called.
func open(t *testing.T, path string, current, next seal.Source) (o opened, err error) {
	t.Helper()
	store, err := keystore.Open(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	root, err := seal.Open(t.Context(), current, next, store)
	if err != nil {
		return o, err
	}
	store.Authenticate(root)
	_, err = authn.OpenAuthority(t.Context(), store, root)
	must(t, err)
	login, err := seal.OpenLoginKeys(t.Context(), root, store, time.Hour)
	must(t, err)
	return opened{New(Config{
		Store: store, Root: root, Login: login, Name: "this", Current: current, Next: next, Logger: slog.New(slog.DiscardHandler),
	}), store, root, login}, nil
}

func (o opened) rotate(t *testing.T, request string) (Rotated, error) {
	t.Helper()
	return o.Rotate(t.Context(), "uid:0", request, audit.Event{Operation: "root-key.rotate"})
}

const token = "0123456789abcdef0123456789abcdef"

// createToken makes a token, whose key is sealed under the root key.
func (o opened) createToken(t *testing.T) {
	t.Helper()
	sealed, err := seal.NewKeyring(o.root, nil).NewKey(token)
	must(t, err)
	_, _, err = o.store.Change(t.Context(), keystore.Change{Event: audit.Event{Operation: "token.create"}}, func(tx *keystore.Tx) ([]byte, error) {
		return nil, tx.CreateToken(&keystore.Token{UID: token, Label: "web", Provider: "software", NoLogin: true, SealedKey: sealed})
	})
	must(t, err)
}

// opens tells what of the store a root key opens.
func (o opened) opens(t *testing.T, root *seal.Root) (what []string) {
	t.Helper()
	stored, err := o.store.Token(t.Context(), token)
	must(t, err)
	if seal.VerifyToken(root, token, stored.SealedKey) == nil {
		what = append(what, "the token's key")
	}
	if _, err := seal.OpenLoginKeys(t.Context(), root, o.store, time.Hour); err == nil {
		what = append(what, "the login keys")
	}
	if _, err := authn.OpenAuthority(t.Context(), o.store, root); err == nil {
		what = append(what, "the authority")
	}
	head, err := o.store.AuditHead(t.Context())
	must(t, err)
	if head.Authentic(root) {
		what = append(what, "the audit's head")
	}
	return what
}

func fileKey(t *testing.T, path string) *seal.Root {
	t.Helper()
	root, err := seal.Source{File: path}.Read(nil)
	must(t, err)
	return root
}

// After a rotation the new key opens everything and the one before nothing; a repeated request rotates once.
func TestRotate(t *testing.T) {
	dir := t.TempDir()
	file := seal.Source{File: filepath.Join(dir, "root.key")}
	o, err := open(t, filepath.Join(dir, "s.db"), file, seal.Source{})
	must(t, err)
	o.createToken(t)
	old := fileKey(t, file.File)
	if got := o.opens(t, old); len(got) != 4 {
		t.Fatalf("before, the key opens only %v", got)
	}
	ticket, err := o.login.Seal("", []byte("ticket"), nil)
	must(t, err)
	done, err := o.rotate(t, "first")
	must(t, err)
	if done.Tokens != 1 || done.Retired != seal.Fingerprint(old.Check()) || done.New != seal.Fingerprint(o.root.Check()) {
		t.Errorf("%+v", done)
	}
	if again, err := o.rotate(t, "first"); err != nil || again != done {
		t.Errorf("the request repeated: %+v, %v", again, err)
	}
	o.settle(t.Context())
	if got := o.opens(t, old); len(got) != 0 {
		t.Errorf("the key before opens %v", got)
	}
	if got := o.opens(t, fileKey(t, file.File)); len(got) != 4 {
		t.Errorf("the key in %s opens only %v", file.File, got)
	}
	if _, err := os.Stat(seal.NextFile(file.File)); !os.IsNotExist(err) {
		t.Errorf("the next file is left: %v", err)
	}
	if got, err := o.login.Open("", ticket, nil); err != nil || string(got) != "ticket" {
		t.Errorf("a ticket of before: %q, %v", got, err)
	}
}

// A daemon that writes under the key before, because it has not seen the rotation, is stopped by the audit's head.
func TestOldKeyCannotWrite(t *testing.T) {
	dir := t.TempDir()
	path, file := filepath.Join(dir, "s.db"), seal.Source{File: filepath.Join(dir, "root.key")}
	o, err := open(t, path, file, seal.Source{})
	must(t, err)
	other, err := keystore.Open(t.Context(), path)
	must(t, err)
	defer other.Close()
	old := fileKey(t, file.File)
	other.Authenticate(old)
	must(t, other.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}}))
	_, err = o.rotate(t, "first")
	must(t, err)
	if err := other.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}}); err == nil {
		t.Error("an event was written under the key before")
	}
	must(t, o.store.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}}))
}

// From a file to a passphrase, to another one, and back to a file. A wrong passphrase is refused without being shown.
func TestChangeOfSource(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	first, last := seal.Source{File: filepath.Join(dir, "root.key")}, seal.Source{File: filepath.Join(dir, "last.key")}
	current := first
	for i, next := range []seal.Source{passphrase("correct horse"), passphrase("battery staple"), last} {
		o, err := open(t, path, current, next)
		must(t, err)
		if i == 0 {
			o.createToken(t)
		}
		before := o.root.Check()
		state, err := o.Stage(t.Context())
		must(t, err)
		if !bytes.Equal(state.Current, before) || len(state.Next) == 0 {
			t.Errorf("staged: %+v", state)
		}
		_, err = o.rotate(t, "request "+string(rune('a'+i)))
		must(t, err)
		o.settle(t.Context())
		if got := o.opens(t, o.root); len(got) != 4 || bytes.Equal(o.root.Check(), before) {
			t.Errorf("source %d opens %v", i, got)
		}
		must(t, o.store.Close())

		// With the configuration as it is, and with the next one moved up, the daemon starts; with the one before it does not.
		for what, sources := range map[string][2]seal.Source{"both": {current, next}, "moved up": {next, {}}} {
			again, err := open(t, path, sources[0], sources[1])
			if err != nil {
				t.Fatalf("source %d, %s: %v", i, what, err)
			}
			if got := again.opens(t, again.root); len(got) != 4 {
				t.Errorf("source %d, %s: opens only %v", i, what, got)
			}
			must(t, again.store.Close())
		}
		for what, wrong := range map[string]seal.Source{"the one before": current, "a wrong passphrase": passphrase("incorrect horse")} {
			if _, err := open(t, path, wrong, seal.Source{}); !fault.Is(err, fault.InvalidInput) || strings.Contains(err.Error(), "horse") {
				t.Errorf("source %d, %s: %v", i, what, err)
			}
		}
		current = next
	}
}

// A wrong next passphrase cannot hurt: whatever it is, it is the next one. One that is too short, or the one that the
// store has, is refused.
func TestBadNext(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s.db")
	o, err := open(t, path, passphrase("correct horse"), seal.Source{})
	must(t, err)
	if _, err := o.rotate(t, "no next"); !fault.Is(err, fault.InvalidInput) || !strings.Contains(err.Error(), "root_key.next") {
		t.Errorf("without a next source: %v", err)
	}
	must(t, o.store.Close())
	if _, err := open(t, path, passphrase("correct horse"), passphrase("short")); !fault.Is(err, fault.InvalidInput) || !strings.Contains(err.Error(), "at least") {
		t.Errorf("a short one: %v", err)
	}
}

// A replica that runs and lacks the next key keeps the others from rotating.
func TestReplicaWithout(t *testing.T) {
	dir := t.TempDir()
	file := seal.Source{File: filepath.Join(dir, "root.key")}
	o, err := open(t, filepath.Join(dir, "s.db"), file, seal.Source{})
	must(t, err)
	put := func(next []byte) {
		t.Helper()
		must(t, o.store.PutReplica(t.Context(), keystore.Replica{Name: "other", Root: o.root.Check(), Next: next}))
	}
	put(nil)
	if _, err := o.rotate(t, "1"); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "other") {
		t.Errorf("nothing is staged: %v", err)
	}
	if _, err := os.Stat(seal.NextFile(file.File)); !os.IsNotExist(err) {
		t.Errorf("a key was made for nothing: %v", err)
	}
	_, err = o.Stage(t.Context())
	must(t, err)
	for what, next := range map[string][]byte{"none": nil, "another one": []byte("other")} {
		put(next)
		if _, err := o.rotate(t, "2"); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), what) {
			t.Errorf("the other has %s: %v", what, err)
		}
	}
	put(o.root.Staged())
	_, err = o.rotate(t, "3")
	must(t, err)
}
