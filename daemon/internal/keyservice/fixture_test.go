package keyservice_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/software"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

const (
	soPIN   = "so-secret-1"
	userPIN = "user-secret-1"
)

var everything = []policy.Operation{policy.Use, policy.Create, policy.Modify, policy.Destroy, policy.SO}

// fixture is a daemon's inside on a real store with the software provider and a provider that keeps keys.
type fixture struct {
	*keyservice.Service
	t      testing.TB
	ctx    context.Context
	path   string
	root   *seal.Root
	store  *keystore.Store
	policy *policy.Policy
	vault  *vault
	log    *lockedBuffer
	admin  authn.Caller
	// strict makes the audit complete at each answer.
	strict bool
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{
		t: t, ctx: t.Context(), path: storeOf(t), log: &lockedBuffer{},
		admin: authn.Caller{Identity: "uid:0", Admin: true}, vault: newVault(),
		// A benchmark measures the default.
		strict: !benchmark(t),
	}
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	var err error
	if f.root, err = seal.NewRoot(key); err != nil {
		t.Fatal(err)
	}
	f.open()
	return f
}

// storeOf is an empty store: a file, or with ANYHSM_TEST_STORE=postgres, as in `make test`, a database.
func storeOf(t testing.TB) string {
	if onPostgres() {
		return postgrestest.Shared(t).Database(t)
	}
	return filepath.Join(t.TempDir(), "anyhsm.db")
}

func onPostgres() bool { return os.Getenv("ANYHSM_TEST_STORE") == "postgres" }

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// files are those that the store's content is in.
func (f *fixture) files() (files []string) {
	f.t.Helper()
	if !onPostgres() {
		return []string{f.path, f.path + "-wal"}
	}
	server := postgrestest.Shared(f.t)
	server.Run(f.t, "postgres", "CHECKPOINT")
	for _, pattern := range []string{"base/*/*", "pg_wal/0*"} {
		found, err := filepath.Glob(filepath.Join(server.Dir, "data", pattern))
		if err != nil || len(found) == 0 {
			f.t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	return files
}

func benchmark(t testing.TB) bool {
	_, is := t.(*testing.B)
	return is
}

// open starts the daemon's inside, again after a restart.
func (f *fixture) open() {
	f.t.Helper()
	var err error
	if f.store, err = keystore.Open(f.ctx, f.path); err != nil {
		f.t.Fatal(err)
	}
	store := f.store
	store.Authenticate(f.root)
	f.policy = policy.New([]string{"uid:0"}, application.Loader(store))
	f.refresh()
	keyring := seal.NewKeyring(f.root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := store.Token(ctx, uid)
		return token.SealedKey, err
	})
	soft, err := software.New(software.Config{Sealer: keyring})
	if err != nil {
		f.t.Fatal(err)
	}
	logger := slog.New(slog.NewTextHandler(f.log, nil))
	uses := audit.NewLog(store, audit.Options{Strict: f.strict, Logger: logger})
	f.t.Cleanup(func() {
		uses.Close()
		store.Close()
	})
	f.Service, err = keyservice.New(keyservice.Config{
		Store: store, Keyring: keyring, Tickets: ticket.NewIssuer(f.root, 0), Policy: f.policy, Audit: uses,
		Providers: map[string]provider.Provider{"software": soft, "vault": f.vault}, MaxFailed: 3, Logger: logger,
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) refresh() {
	f.t.Helper()
	if err := f.policy.Refresh(f.ctx); err != nil {
		f.t.Fatal(err)
	}
}

// token makes a token and returns its uid.
func (f *fixture) token(label, provider string) string {
	f.t.Helper()
	made, err := f.CreateToken(f.ctx, keyservice.Call{Caller: f.admin}, keyservice.NewToken{
		Label: label, Provider: provider, SOPIN: []byte(soPIN), UserPIN: []byte(userPIN),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return made.Token.UID
}

// application makes or changes an application with one grant.
func (f *fixture) application(name, token string, operations ...policy.Operation) authn.Caller {
	f.t.Helper()
	a := keystore.Application{Name: name, Identities: []string{"uid:1" + hex.EncodeToString([]byte(name))}}
	if token != "" {
		grant := keystore.Grant{Token: token}
		for _, o := range operations {
			grant.Operations = append(grant.Operations, string(o))
		}
		a.Grants = append(a.Grants, grant)
	} else {
		a.CreateTokens = true
	}
	_, _, err := f.store.Change(f.ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) { return nil, tx.PutApplication(a) })
	if err != nil {
		f.t.Fatal(err)
	}
	f.refresh()
	return authn.Caller{Identity: a.Identities[0], Application: name}
}

// public is a call in a public session with a fresh request id.
func (f *fixture) public(caller authn.Caller, token string) keyservice.Call {
	return keyservice.Call{Caller: caller, Token: token, RequestID: strings.ToLower(rand.Text())}
}

// user is a call with the user's ticket.
func (f *fixture) user(caller authn.Caller, token string) keyservice.Call {
	f.t.Helper()
	return f.loggedIn(caller, token, cryptoki.CKU_USER, userPIN)
}

func (f *fixture) loggedIn(caller authn.Caller, token string, user cryptoki.UserType, pin string) keyservice.Call {
	f.t.Helper()
	call := f.public(caller, token)
	login, _, err := f.Login(f.ctx, call, user, []byte(pin))
	if err != nil {
		f.t.Fatal(err)
	}
	call.Ticket = login.Ticket
	return call
}

// again is the same session with a new request id.
func again(call keyservice.Call) keyservice.Call {
	call.RequestID = strings.ToLower(rand.Text())
	return call
}

func (f *fixture) events() []audit.Event {
	f.t.Helper()
	events, err := f.store.Events(f.ctx, 0, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	return events
}

// lastEvent returns the newest event of an operation.
func (f *fixture) lastEvent(operation string) audit.Event {
	f.t.Helper()
	events := f.events()
	for _, e := range slices.Backward(events) {
		if e.Operation == operation {
			return e
		}
	}
	f.t.Fatalf("no event %q", operation)
	return audit.Event{}
}

func (f *fixture) count(operation string) (n int) {
	for _, e := range f.events() {
		if e.Operation == operation {
			n++
		}
	}
	return n
}

// pair makes a P-256 token key pair.
func (f *fixture) pair(call keyservice.Call, more ...cryptoki.Attribute) (public, private keyservice.Object) {
	f.t.Helper()
	public, private, _, err := f.GenerateKeyPair(f.ctx, again(call), ecGen, p256(true), append(onToken(), more...))
	if err != nil {
		f.t.Fatal(err)
	}
	return public, private
}

var (
	ecGen    = cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN}
	aesGen   = cryptoki.Mechanism{Type: cryptoki.CKM_AES_KEY_GEN}
	ecdsaRaw = cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	digest   = bytes.Repeat([]byte{7}, 32)
	tokenOn  = cryptoki.Bool(cryptoki.CKA_TOKEN, true)
)

func onToken() cryptoki.Attributes { return cryptoki.Attributes{tokenOn} }

func p256(token bool) cryptoki.Attributes {
	c, _ := curve.ByName("P-256")
	return cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, token), cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params)}
}

func aesTemplate(token bool, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, token), cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32))}, more...)
}

func ref(o keyservice.Object) keyservice.KeyRef {
	return keyservice.KeyRef{Object: o.ID, Sealed: o.Sealed}
}

// refused checks that an error means a CK_RV.
func refused(t testing.TB, err error, rv cryptoki.RV) {
	t.Helper()
	if got := fault.RV(err); got != rv {
		t.Fatalf("got %v (%v), want %v", got, err, rv)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lockedBuffer is a log that goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
