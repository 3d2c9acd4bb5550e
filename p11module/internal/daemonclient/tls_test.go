package daemonclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

// authority is a certificate authority of a test.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

// issue writes a certificate, its key and the authority to files.
func (a *authority) issue(dir, name string) config.TLS {
	a.t.Helper()
	a.serial++
	key := a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	files := config.TLS{Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"), CA: filepath.Join(dir, "ca.crt")}
	for path, block := range map[string]*pem.Block{
		files.Certificate: {Type: "CERTIFICATE", Bytes: der},
		files.Key:         {Type: "PRIVATE KEY", Bytes: pkcs8},
		files.CA:          {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return files
}

// listen starts a server that accepts the authority's clients.
func (a *authority) listen(address string, names chan<- string) *server {
	a.t.Helper()
	files := a.issue(a.t.TempDir(), "server")
	certificate, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		a.t.Fatal(err)
	}
	s := serve(a.t, listener, listener.Addr().String(), &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13,
		VerifyConnection: func(state tls.ConnectionState) error {
			names <- state.PeerCertificates[0].Subject.CommonName
			return nil
		},
	})
	return s
}

// TestMutualTLS: the identity is read at each connection, so a renewed one counts without a restart.
func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	names := make(chan string, 10)
	s := a.listen("127.0.0.1:0", names)
	dir := t.TempDir()
	files := a.issue(dir, "old")
	ready := s.name
	c := newClient(t, config.Config{Endpoints: []string{"tcp://" + ready}, TLS: files})
	if _, err := listSlots(c); err != nil {
		t.Fatal(err)
	}
	if name := <-names; name != "old" {
		t.Errorf("the client was %q", name)
	}
	renewed := a.issue(dir, "new")
	for from, to := range map[string]string{renewed.Certificate: files.Certificate, renewed.Key: files.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	s.grpc.Stop()
	a.listen(ready, names)
	if _, err := listSlots(c); err != nil {
		t.Fatal(err)
	}
	if name := <-names; name != "new" {
		t.Errorf("the client was %q", name)
	}
}

// TestExpiredWhileConnected: a daemon that refuses the certificate of a connection is called again with the renewed one,
// and with none if there is no other.
func TestExpiredWhileConnected(t *testing.T) {
	a := newAuthority(t)
	names := make(chan string, 10)
	s := a.listen("127.0.0.1:0", names)
	dir := t.TempDir()
	files := a.issue(dir, "old")
	c := newClient(t, config.Config{Endpoints: []string{"tcp://" + s.name}, TLS: files})
	if _, err := listSlots(c); err != nil {
		t.Fatal(err)
	}
	<-names
	s.mu.Lock()
	s.answer = func(int) error {
		if len(names) == 0 {
			return fault.New(fault.Unauthenticated, "the client certificate expired")
		}
		return nil
	}
	s.mu.Unlock()
	if _, err := listSlots(c); !fault.Is(err, fault.Unauthenticated) {
		t.Fatalf("without another certificate: %v", err)
	}
	if calls, _ := s.seen(); calls != 2 {
		t.Errorf("%d calls", calls)
	}
	renewed := a.issue(dir, "new")
	for from, to := range map[string]string{renewed.Certificate: files.Certificate, renewed.Key: files.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listSlots(c); err != nil {
		t.Fatal(err)
	}
	if name := <-names; name != "new" {
		t.Errorf("the client was %q", name)
	}
}

// TestWrongAuthority: neither side talks to a stranger.
func TestWrongAuthority(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	names := make(chan string, 100)
	s := a.listen("127.0.0.1:0", names)
	for name, files := range map[string]config.TLS{
		"a strange client": func() config.TLS {
			files := stranger.issue(t.TempDir(), "x")
			files.CA = a.issue(t.TempDir(), "y").CA
			return files
		}(),
		"a strange server": func() config.TLS {
			files := a.issue(t.TempDir(), "x")
			files.CA = stranger.issue(t.TempDir(), "y").CA
			return files
		}(),
		"no files": {Certificate: "/nowhere/c", Key: "/nowhere/k", CA: "/nowhere/ca"},
	} {
		c := newClient(t, config.Config{Endpoints: []string{"tcp://" + s.name}, TLS: files, Timeout: 300 * time.Millisecond})
		if _, err := listSlots(c); fault.RV(err) != cryptoki.CKR_DEVICE_ERROR {
			t.Errorf("%s: %v", name, err)
		}
	}
	if calls, _ := s.seen(); calls != 0 {
		t.Errorf("%d calls came through", calls)
	}
}
