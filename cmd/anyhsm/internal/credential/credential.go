// Package credential makes the key of an enrolling application and writes what enrollment gave: files that either all
// appear or leave what was there before.
package credential

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
)

// ModuleFile is the name of the module's configuration in an enrolled directory.
const ModuleFile = "module.toml"

const pending = ".new"

// Files is a directory that is about to hold a credential.
type Files struct {
	dir     string
	key     *ecdsa.PrivateKey
	request []byte
}

// Prepare makes a key and writes it under a preliminary name, so that what can go wrong with the directory goes wrong
// before a code is used up. Without force it leaves a directory with a credential in it alone.
func Prepare(dir string, force bool) (*Files, error) {
	if !force {
		for _, name := range []string{connection.KeyFile, connection.CertificateFile, ModuleFile} {
			path := filepath.Join(dir, name)
			if _, err := os.Lstat(path); err == nil {
				return nil, fmt.Errorf("%s is there already; give another --dir, or --force to replace it", path)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	f := &Files{dir: dir, key: key, request: request}
	path := f.path(connection.KeyFile) + pending
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return f, write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// Request returns the certificate request, PKCS#10 in DER.
func (f *Files) Request() []byte { return f.request }

// Check tells whether the certificate is for our key and comes from the authority that was asked for.
func (f *Files) Check(chain, authority []byte, expected func(*x509.Certificate) bool) error {
	leaf, err := certificate(chain)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	ca, err := certificate(authority)
	if err != nil {
		return fmt.Errorf("CA certificate: %w", err)
	}
	switch {
	case !expected(ca):
		return errors.New("its CA is not the one that the code names")
	case !f.key.PublicKey.Equal(leaf.PublicKey):
		return errors.New("its certificate is for another key")
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// certificate reads the first certificate of a PEM text, or one in DER.
func certificate(text []byte) (*x509.Certificate, error) {
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	return x509.ParseCertificate(text)
}

// Keep writes the certificates and the module's configuration, puts the key in its place last but one and returns the
// paths of all.
func (f *Files) Keep(chain, authority []byte, configuration string) ([]string, error) {
	content := map[string][]byte{
		connection.CertificateFile: asPEM(chain), connection.CAFile: asPEM(authority), ModuleFile: []byte(configuration),
	}
	names := []string{connection.CAFile, connection.CertificateFile, connection.KeyFile, ModuleFile}
	for name, text := range content {
		path := f.path(name) + pending
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := write(path, text, 0o644); err != nil {
			return nil, err
		}
	}
	var written []string
	for _, name := range names {
		path := f.path(name)
		if err := os.Rename(path+pending, path); err != nil {
			return nil, err
		}
		written = append(written, path)
	}
	return written, nil
}

// Discard removes what Keep did not put in its place.
func (f *Files) Discard() {
	for _, name := range []string{connection.CAFile, connection.CertificateFile, connection.KeyFile, ModuleFile} {
		_ = os.Remove(f.path(name) + pending)
	}
}

func (f *Files) path(name string) string { return filepath.Join(f.dir, name) }

func asPEM(certificate []byte) []byte {
	if bytes.Contains(certificate, []byte("-----BEGIN")) {
		return certificate
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
}

// write makes a new file and brings it to the disk.
func write(path string, content []byte, mode os.FileMode) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Sync(), file.Close())
}
