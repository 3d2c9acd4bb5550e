package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// memory is a store's meta.
type memory map[string][]byte

func (m memory) Meta(_ context.Context, key string) ([]byte, error) { return m[key], nil }

func (m memory) InitMeta(_ context.Context, key string, value []byte) ([]byte, error) {
	if m[key] == nil {
		m[key] = value
	}
	return m[key], nil
}

func root(t testing.TB, fill byte) *seal.Root {
	t.Helper()
	r, err := seal.NewRoot(slices.Repeat([]byte{fill}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openAuthority(t testing.TB) *Authority {
	t.Helper()
	a, err := OpenAuthority(t.Context(), memory{}, root(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAuthorityStays(t *testing.T) {
	meta := memory{}
	first, err := OpenAuthority(t.Context(), meta, root(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	second, err := OpenAuthority(t.Context(), meta, root(t, 1))
	if err != nil || !second.Certificate().Equal(first.Certificate()) {
		t.Errorf("the second start has another authority: %v", err)
	}
	if _, err := OpenAuthority(t.Context(), meta, root(t, 2)); err == nil {
		t.Error("the authority opens under another root key")
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(first.key)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(meta[authorityMeta]), string(pkcs8)) {
		t.Error("the authority's key is in the store in clear")
	}
}

func TestAuthorityDamaged(t *testing.T) {
	meta := memory{}
	if _, err := OpenAuthority(t.Context(), meta, root(t, 1)); err != nil {
		t.Fatal(err)
	}
	whole := meta[authorityMeta]
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 1
		if _, err := OpenAuthority(t.Context(), memory{authorityMeta: damaged}, root(t, 1)); err == nil {
			t.Fatalf("a flipped bit in byte %d of %d went unnoticed", i, len(whole))
		}
	}
	if _, err := OpenAuthority(t.Context(), memory{authorityMeta: whole[:20]}, root(t, 1)); !fault.Is(err, fault.StoreDamaged) {
		t.Errorf("a cut authority: %v", err)
	}
}

func TestSignApplication(t *testing.T) {
	a := openAuthority(t)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := request(t, p256(t))
	forged[len(forged)-1] ^= 1
	for _, test := range []struct {
		name    string
		request []byte
		ok      bool
	}{
		{"P-256", request(t, p256(t)), true},
		{"Ed25519", request(t, ed), true},
		{"RSA 1024", request(t, weak), false},
		{"P-224", request(t, p224), false},
		{"somebody else's key", forged, false},
		{"no request", []byte("hello"), false},
		{"nothing", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			leaf, err := a.SignApplication("web", test.request)
			if !test.ok {
				if !fault.Is(err, fault.InvalidInput) {
					t.Fatalf("error = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
				t.Error("an application could pose as the daemon")
			}
			if leaf.IsCA || leaf.Subject.CommonName != "web" {
				t.Errorf("CA %v, subject %s", leaf.IsCA, leaf.Subject)
			}
		})
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	a := openAuthority(t)
	now := time.Now()
	a.now = func() time.Time { return now }
	s := NewServerCertificate(a, []string{"hsm.example.org", "192.0.2.7"})
	get := func() *tls.Certificate {
		t.Helper()
		c, err := s.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	for _, name := range []string{"hsm.example.org", "192.0.2.7"} {
		if err := first.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if get() != first {
		t.Error("a young certificate was renewed")
	}
	now = now.Add(serverLife * 3 / 4)
	second := get()
	if second == first || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Error("an old certificate was not renewed")
	}
	// The clock was ahead, and is set right.
	now = now.Add(-serverLife * 3 / 4)
	if right := get(); right == second || right.Leaf.NotBefore.After(now) {
		t.Error("a certificate that is not valid yet was kept")
	} else {
		second = right
	}
	s.Reload([]string{"new.example.org"})
	if third := get(); third == second || third.Leaf.VerifyHostname("new.example.org") != nil {
		t.Error("a reload did not renew for the new name")
	}
}

func TestExpiredOnALivingConnection(t *testing.T) {
	a := openAuthority(t)
	leaf, err := a.SignApplication("web", request(t, p256(t)))
	if err != nil {
		t.Fatal(err)
	}
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf}}}
	known := directory{IdentityOfKey(leaf.RawSubjectPublicKeyInfo): "web"}
	if caller, err := ofCertificate(state, known, time.Now()); err != nil || caller.Application != "web" {
		t.Fatalf("%v, %v", caller, err)
	}
	if _, err := ofCertificate(state, known, leaf.NotAfter.Add(time.Second)); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error = %v", err)
	}
	if _, err := ofCertificate(state, directory{}, time.Now()); !fault.Is(err, fault.Unauthenticated) || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("error = %v", err)
	}
	// Shown, but not verified by the handshake.
	state.VerifiedChains = nil
	if _, err := ofCertificate(state, known, time.Now()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("error = %v", err)
	}
}

type directory map[string]string

func (d directory) Resolve(identity string) (string, bool) { return d[identity], false }

func FuzzParseRequest(f *testing.F) {
	f.Add(request(f, p256(f)))
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		csr, err := ParseRequest(der)
		if err == nil && csr.CheckSignature() != nil {
			t.Error("a request without a good signature was accepted")
		}
	})
}
