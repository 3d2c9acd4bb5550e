package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// How long certificates are good for. Clocks of client and daemon may differ by the skew.
const (
	authorityLife   = 20 * 365 * 24 * time.Hour
	applicationLife = 365 * 24 * time.Hour
	serverLife      = 90 * 24 * time.Hour
	skew            = 10 * time.Minute
)

// Where the authority is kept, and the purpose under which its key is sealed.
const (
	authorityMeta    = "certificate-authority"
	authorityPurpose = "certificate-authority"
)

// Meta keeps the authority; keystore.Store is one.
type Meta interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	InitMeta(ctx context.Context, key string, value []byte) ([]byte, error)
}

// Sealer protects the authority's key; seal.Root is one.
type Sealer interface {
	Seal(purpose string, plaintext, aad []byte) ([]byte, error)
	Open(purpose string, sealed, aad []byte) ([]byte, error)
}

// Authority is the built-in certificate authority. All replicas behind one store have the same.
type Authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
	now         func() time.Time
}

// stored is how the authority lies in the store.
type stored struct {
	Certificate []byte
	SealedKey   []byte
}

// OpenAuthority returns the store's authority; the first time it makes one.
func OpenAuthority(ctx context.Context, meta Meta, sealer Sealer) (*Authority, error) {
	value, err := meta.Meta(ctx, authorityMeta)
	if err != nil {
		return nil, err
	}
	if value == nil {
		if value, err = newAuthority(sealer); err != nil {
			return nil, err
		}
		// Another replica may have been quicker: what is there now counts.
		if value, err = meta.InitMeta(ctx, authorityMeta, value); err != nil {
			return nil, err
		}
	}
	return readAuthority(value, sealer)
}

func newAuthority(sealer Sealer) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"AnyHSM"}, CommonName: "AnyHSM built-in CA"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(pkcs8)
	sealed, err := sealer.Seal(authorityPurpose, pkcs8, der)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(stored{Certificate: der, SealedKey: sealed})
}

func readAuthority(value []byte, sealer Sealer) (*Authority, error) {
	damaged := func(err error) error {
		return fault.New(fault.StoreDamaged, "the certificate authority in the store cannot be read: %w; restore the store from a backup", err)
	}
	var s stored
	if rest, err := asn1.Unmarshal(value, &s); err != nil {
		return nil, damaged(err)
	} else if len(rest) > 0 {
		return nil, damaged(fmt.Errorf("%d bytes too many", len(rest)))
	}
	certificate, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		return nil, damaged(err)
	}
	pkcs8, err := sealer.Open(authorityPurpose, s.SealedKey, s.Certificate)
	if err != nil {
		return nil, err
	}
	defer clear(pkcs8)
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, damaged(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(certificate.PublicKey) {
		return nil, damaged(fmt.Errorf("key and certificate do not belong together"))
	}
	return &Authority{certificate: certificate, key: key, now: time.Now}, nil
}

// Verify tells whether the store's authority, if it has one, can be read and its key opens.
func Verify(ctx context.Context, meta interface {
	Meta(ctx context.Context, key string) ([]byte, error)
}, sealer Sealer,
) error {
	value, err := meta.Meta(ctx, authorityMeta)
	if err != nil || value == nil {
		return err
	}
	_, err = readAuthority(value, sealer)
	return err
}

// Resealer opens what the current root key has sealed and seals it under the next one; seal.Root is one.
type Resealer interface {
	Reseal(purpose string, sealed, aad []byte) ([]byte, error)
}

// AuthorityMeta is where the store keeps the authority.
const AuthorityMeta = authorityMeta

// Reseal returns the authority as it is stored, with its key sealed under the next root key.
func Reseal(value []byte, resealer Resealer) ([]byte, error) {
	var s stored
	if _, err := asn1.Unmarshal(value, &s); err != nil {
		return nil, fault.New(fault.StoreDamaged, "the certificate authority in the store cannot be read: %w; restore the store from a backup", err)
	}
	sealed, err := resealer.Reseal(authorityPurpose, s.SealedKey, s.Certificate)
	if err != nil {
		return nil, err
	}
	s.SealedKey = sealed
	return asn1.Marshal(s)
}

// Certificate returns the authority's own certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.certificate }

// Pool returns a pool that holds the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// SignApplication gives an application a certificate for the key of a PKCS#10 request. Of the request only the key
// counts: name, lifetime and use are the authority's.
func (a *Authority) SignApplication(application string, request []byte) (certificate *x509.Certificate, err error) {
	csr, err := ParseRequest(request)
	if err != nil {
		return nil, err
	}
	return a.sign(&x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"AnyHSM"}, CommonName: application},
		NotAfter:    a.now().Add(applicationLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey)
}

// ParseRequest reads a PKCS#10 request, and checks that the applicant has the key and that the key is strong enough.
func ParseRequest(der []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the certificate request is no PKCS#10 in DER: %v; make it with anyhsm enroll", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fault.New(fault.InvalidInput, "the certificate request is not signed by its own key: %v; make it with anyhsm enroll", err)
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve.Params().BitSize >= 256 {
			return csr, nil
		}
	case ed25519.PublicKey:
		return csr, nil
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 {
			return csr, nil
		}
	}
	return nil, fault.New(fault.InvalidInput, "the certificate request's key is of a kind or size that is not accepted; use P-256, P-384, P-521, Ed25519 or RSA with 2048 to 8192 bits")
}

// sign completes a template and signs it.
func (a *Authority) sign(template *x509.Certificate, public any) (*x509.Certificate, error) {
	template.SerialNumber = serial()
	template.NotBefore = a.now().Add(-skew)
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, fault.New(fault.Internal, "the certificate could not be signed: %w; see the daemon's log", err)
	}
	return x509.ParseCertificate(der)
}

// serial returns 127 random bits: no two certificates share a number, and none tells how many there are.
func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}
