package credential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs what it is given, for tests.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, certificate}
}

func (a authority) sign(t *testing.T, public any, usage x509.ExtKeyUsage) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCheck(t *testing.T) {
	files, err := Prepare(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(files.Request())
	if err != nil || request.CheckSignature() != nil {
		t.Fatalf("the request is wrong: %v", err)
	}
	ours, other := newAuthority(t), newAuthority(t)
	expected := func(c *x509.Certificate) bool { return c.Equal(ours.certificate) }
	good := ours.sign(t, request.PublicKey, x509.ExtKeyUsageClientAuth)
	if err := files.Check(good, ours.certificate.Raw, expected); err != nil {
		t.Errorf("a good answer: %v", err)
	}
	for name, answer := range map[string]struct{ chain, ca []byte }{
		"another CA":            {other.sign(t, request.PublicKey, x509.ExtKeyUsageClientAuth), other.certificate.Raw},
		"signed by another CA":  {other.sign(t, request.PublicKey, x509.ExtKeyUsageClientAuth), ours.certificate.Raw},
		"another key":           {ours.sign(t, other.key.Public(), x509.ExtKeyUsageClientAuth), ours.certificate.Raw},
		"for servers":           {ours.sign(t, request.PublicKey, x509.ExtKeyUsageServerAuth), ours.certificate.Raw},
		"no certificate at all": {[]byte("x"), ours.certificate.Raw},
		"no CA at all":          {good, nil},
	} {
		if err := files.Check(answer.chain, answer.ca, expected); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestFilesAppearTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	files, err := Prepare(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	files.Discard()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
	if files, err = Prepare(dir, false); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Keep([]byte{1}, []byte{2}, "text"); err != nil {
		t.Fatal(err)
	}
	files.Discard()
	for name, mode := range map[string]os.FileMode{"app.key": 0o600, "app.crt": 0o644, "ca.crt": 0o644, "module.toml": 0o644} {
		if is, err := os.Stat(filepath.Join(dir, name)); err != nil || is.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, is, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("%v, %v", left, err)
	}
	if _, err := Prepare(dir, false); err == nil {
		t.Error("an enrolled directory is taken without force")
	}
	if _, err := Prepare(dir, true); err != nil {
		t.Errorf("with force: %v", err)
	}
}
