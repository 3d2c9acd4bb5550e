package application

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/enrollment"
	"github.com/anyhsm/anyhsm/internal/fault"
)

var admin = authn.Caller{Identity: "uid:0", Admin: true}

type fixture struct {
	*Service
	store *keystore.Store
	// token is the uid of the token "tls".
	token string
}

func open(t *testing.T) *fixture {
	t.Helper()
	ctx := t.Context()
	store, err := keystore.Open(ctx, filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	root, err := seal.NewRoot(slices.Repeat([]byte{3}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	store.Authenticate(root)
	authority, err := authn.OpenAuthority(ctx, store, root)
	if err != nil {
		t.Fatal(err)
	}
	p := policy.New([]string{"uid:0"}, Loader(store))
	token := keystore.Token{Label: "tls", Provider: "software", SealedKey: []byte("sealed")}
	if _, _, err := store.Change(ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) {
		return nil, tx.CreateToken(&token)
	}); err != nil {
		t.Fatal(err)
	}
	return &fixture{Service: New(store, p, authority, root), store: store, token: token.UID}
}

func (f *fixture) add(t *testing.T, name string, identities ...string) {
	t.Helper()
	if _, err := f.Add(t.Context(), admin, "", name, identities, false); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) allowed(identity string, operation policy.Operation) error {
	caller := authn.Caller{Identity: identity}
	caller.Application, caller.Admin = f.policy.Resolve(identity)
	return f.policy.Allow(caller, f.token, operation)
}

func TestAddGrantRevoke(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.add(t, "web", "uid:33")
	if err := f.allowed("uid:33", policy.Use); !fault.Is(err, fault.NotGranted) {
		t.Errorf("before the grant: %v", err)
	}
	a, err := f.Grant(ctx, admin, "", "web", "tls", []string{"create", "use", "use"})
	if err != nil || len(a.Grants) != 1 || a.Grants[0].Token != "tls" || !slices.Equal(a.Grants[0].Operations, []string{"use", "create"}) {
		t.Fatalf("Grant = %+v, %v", a, err)
	}
	if err := f.allowed("uid:33", policy.Create); err != nil {
		t.Errorf("after the grant: %v", err)
	}
	// A grant replaces the one before, and without operations means use.
	if a, err = f.Grant(ctx, admin, "", "web", f.token, nil); err != nil || !slices.Equal(a.Grants[0].Operations, []string{"use"}) {
		t.Fatalf("Grant = %+v, %v", a, err)
	}
	if err := f.allowed("uid:33", policy.Create); err == nil {
		t.Error("a grant that was replaced still holds")
	}
	all, err := f.List(ctx)
	if err != nil || len(all) != 1 || all[0].Grants[0].Token != "tls" {
		t.Errorf("List = %+v, %v", all, err)
	}
	if _, err := f.Revoke(ctx, admin, "", "web", "tls"); err != nil {
		t.Fatal(err)
	}
	if err := f.allowed("uid:33", policy.Use); !fault.Is(err, fault.NotGranted) {
		t.Errorf("after the revocation: %v", err)
	}
	if _, err := f.Revoke(ctx, admin, "", "web", "tls"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a grant that is not there: %v", err)
	}
	if _, err := f.Revoke(ctx, admin, "", "web", ""); err != nil {
		t.Fatal(err)
	}
	if err := f.allowed("uid:33", policy.Use); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after the removal: %v", err)
	}
	if _, err := f.Revoke(ctx, admin, "", "web", ""); !fault.Is(err, fault.NotFound) {
		t.Errorf("an application that is not there: %v", err)
	}
}

func TestAddTwiceAddsIdentities(t *testing.T) {
	f := open(t)
	f.add(t, "web", "uid:33")
	if _, err := f.Grant(t.Context(), admin, "", "web", "tls", nil); err != nil {
		t.Fatal(err)
	}
	a, err := f.Add(t.Context(), admin, "", "web", []string{"uid:34", "uid:33"}, true)
	if err != nil || !slices.Equal(a.Identities, []string{"uid:33", "uid:34"}) || !a.CreateTokens || len(a.Grants) != 1 {
		t.Errorf("Add = %+v, %v", a, err)
	}
	if err := f.allowed("uid:34", policy.Use); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	f := open(t)
	f.add(t, "web", "uid:33")
	ctx := t.Context()
	for _, test := range []struct {
		name string
		do   func() error
		kind fault.Kind
		want string
	}{
		{"name", func() error { _, err := f.Add(ctx, admin, "", "Web Server", nil, false); return err }, fault.InvalidInput, "is no name"},
		{"identity", func() error { _, err := f.Add(ctx, admin, "", "x", []string{"root"}, false); return err }, fault.InvalidInput, "is no identity"},
		{"identity of another", func() error { _, err := f.Add(ctx, admin, "", "x", []string{"uid:33"}, false); return err }, fault.AlreadyExists, "already belongs to application web"},
		{"operation", func() error { _, err := f.Grant(ctx, admin, "", "web", "tls", []string{"all"}); return err }, fault.InvalidInput, "is no operation"},
		{"token", func() error { _, err := f.Grant(ctx, admin, "", "web", "none", nil); return err }, fault.NotFound, "none"},
		{"application", func() error { _, err := f.Grant(ctx, admin, "", "none", "tls", nil); return err }, fault.NotFound, "none"},
		{"code for nobody", func() error { _, _, err := f.CreateCode(ctx, admin, "", "none", 0); return err }, fault.NotFound, "none"},
		{"short code", func() error { _, _, err := f.CreateCode(ctx, admin, "", "web", time.Second); return err }, fault.InvalidInput, "1s"},
		{"long code", func() error { _, _, err := f.CreateCode(ctx, admin, "", "web", 1000*time.Hour); return err }, fault.InvalidInput, "1000h"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.do(); !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestRepeatedRequests(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.add(t, "web")
	first, expires, err := f.CreateCode(ctx, admin, "0123456789abcdef0123456789abcdef", "web", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	again, expiresAgain, err := f.CreateCode(ctx, admin, "0123456789abcdef0123456789abcdef", "web", time.Hour)
	if err != nil || again != first || !expiresAgain.Equal(expires) {
		t.Errorf("the repeated request got another code: %v", err)
	}
	other, _, err := f.CreateCode(ctx, admin, "", "web", time.Hour)
	if err != nil || other == first {
		t.Errorf("two requests got one code: %v", err)
	}
	events, err := f.store.Events(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var made int
	for _, e := range events {
		if strings.Contains(e.Detail, first) {
			t.Error("the audit has the code")
		}
		if e.Operation == "enrollment.code" && e.Identity == "uid:0" {
			made++
		}
	}
	if made != 2 {
		t.Errorf("%d codes in the audit, want 2", made)
	}
}

func newRequest(t *testing.T) (der []byte, identity string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der, authn.IdentityOfKey(spki)
}

func (f *fixture) code(t *testing.T, name string) string {
	t.Helper()
	code, _, err := f.CreateCode(t.Context(), admin, "", name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func leafOf(t *testing.T, e Enrolled) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(e.Chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func TestEnroll(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.add(t, "web")
	if _, err := f.Grant(ctx, admin, "", "web", "tls", nil); err != nil {
		t.Fatal(err)
	}
	code := f.code(t, "web")
	request, identity := newRequest(t)
	enrolled, err := f.Enroll(ctx, authn.Caller{}, code, request)
	if err != nil || enrolled.Application != "web" {
		t.Fatalf("Enroll = %+v, %v", enrolled, err)
	}
	leaf := leafOf(t, enrolled)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: f.authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if err := f.allowed(identity, policy.Use); err != nil {
		t.Errorf("right after the enrollment: %v", err)
	}
	// The same key with the same code gets the same certificate: the answer may have been lost.
	again, err := f.Enroll(ctx, authn.Caller{}, code, request)
	if err != nil || !leafOf(t, again).Equal(leaf) {
		t.Errorf("the repeated enrollment: %v", err)
	}
	// Another key does not.
	second, _ := newRequest(t)
	if _, err := f.Enroll(ctx, authn.Caller{}, code, second); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a used code: %v", err)
	}
	// Renewal needs the certificate, and the same key.
	caller := authn.Caller{Identity: identity, Application: "web"}
	if renewed, err := f.Enroll(ctx, caller, "", request); err != nil || leafOf(t, renewed).Equal(leaf) {
		t.Errorf("renewal: %v", err)
	}
	if _, err := f.Enroll(ctx, caller, "", second); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("renewal for another key: %v", err)
	}
	if _, err := f.Enroll(ctx, authn.Caller{}, "", request); !fault.Is(err, fault.InvalidInput) {
		t.Errorf("renewal by nobody: %v", err)
	}
	if _, err := f.Revoke(ctx, admin, "", "web", ""); err != nil {
		t.Fatal(err)
	}
	if err := f.allowed(identity, policy.Use); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("after the removal: %v", err)
	}
	// The recorded answer brings nobody back.
	if _, err := f.Enroll(ctx, authn.Caller{}, code, request); err != nil && !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the repeated enrollment after the removal: %v", err)
	}
	if err := f.allowed(identity, policy.Use); err == nil {
		t.Error("a repeated enrollment brought a removed application back")
	}
}

func TestEnrollRefuses(t *testing.T) {
	f := open(t)
	ctx := t.Context()
	f.add(t, "web")
	f.add(t, "other")
	request, _ := newRequest(t)

	expired := f.code(t, "web")
	if _, _, err := f.store.Change(ctx, keystore.Change{}, func(tx *keystore.Tx) ([]byte, error) {
		parsed, err := enrollment.Parse(expired)
		if err != nil {
			return nil, err
		}
		// Taken out and put back as if it had been made long ago.
		if _, err := tx.TakeEnrollmentCode(parsed.Hash()); err != nil {
			return nil, err
		}
		return nil, tx.PutEnrollmentCode(parsed.Hash(), "web", time.Now().Add(-time.Minute))
	}); err != nil {
		t.Fatal(err)
	}
	removed := f.code(t, "other")
	if _, err := f.Revoke(ctx, admin, "", "other", ""); err != nil {
		t.Fatal(err)
	}
	unknown := enrollment.New(f.authority.Certificate()).String()
	foreign := enrollment.New(open(t).authority.Certificate()).String()
	for _, test := range []struct {
		name, code string
		request    []byte
		kind       fault.Kind
	}{
		{"expired", expired, request, fault.Unauthenticated},
		{"unknown", unknown, request, fault.Unauthenticated},
		{"another daemon's", foreign, request, fault.Unauthenticated},
		{"application removed", removed, request, fault.Unauthenticated},
		{"mistyped", "anyhsm1abc", request, fault.InvalidInput},
		{"no request", f.code(t, "web"), nil, fault.InvalidInput},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := f.Enroll(ctx, authn.Caller{}, test.code, test.request); !fault.Is(err, test.kind) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestEnrollKeepsKeysApart(t *testing.T) {
	f := open(t)
	f.add(t, "web")
	f.add(t, "mail")
	request, identity := newRequest(t)
	if _, err := f.Enroll(t.Context(), authn.Caller{}, f.code(t, "web"), request); err != nil {
		t.Fatal(err)
	}
	code := f.code(t, "mail")
	if _, err := f.Enroll(t.Context(), authn.Caller{}, code, request); !fault.Is(err, fault.AlreadyExists) {
		t.Errorf("error = %v", err)
	}
	if application, _ := f.policy.Resolve(identity); application != "web" {
		t.Errorf("the key belongs to %s", application)
	}
	// The refused attempt did not use the code up.
	other, _ := newRequest(t)
	if _, err := f.Enroll(t.Context(), authn.Caller{}, code, other); err != nil {
		t.Error(err)
	}
}

func TestOneCodeManyApplicants(t *testing.T) {
	f := open(t)
	f.add(t, "web")
	code := f.code(t, "web")
	const applicants = 8
	results := make(chan error, applicants)
	for range applicants {
		request, _ := newRequest(t)
		go func() {
			_, err := f.Enroll(context.Background(), authn.Caller{}, code, request)
			results <- err
		}()
	}
	var good int
	for range applicants {
		if err := <-results; err == nil {
			good++
		} else if !fault.Is(err, fault.Unauthenticated) {
			t.Error(err)
		}
	}
	if good != 1 {
		t.Errorf("one code was good for %d keys", good)
	}
}
