package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// ServerCertificate is the daemon's own certificate. Its key lives in memory only; it is renewed when a third of its
// life is left, without a restart and without touching open connections.
type ServerCertificate struct {
	authority *Authority

	mu      sync.Mutex
	names   []string
	current *tls.Certificate
}

// NewServerCertificate returns a certificate for the names and addresses that clients dial. Without any it is for this
// host's name and for the local host.
func NewServerCertificate(authority *Authority, advertise []string) *ServerCertificate {
	return &ServerCertificate{authority: authority, names: namesFor(advertise)}
}

func namesFor(advertise []string) []string {
	if len(advertise) > 0 {
		return slices.Clone(advertise)
	}
	local := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && host != "" && host != "localhost" {
		return append([]string{host}, local...)
	}
	return local
}

// Reload makes the next connection get a new certificate, for other names perhaps.
func (s *ServerCertificate) Reload(advertise []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = namesFor(advertise)
	s.current = nil
}

// Names returns what the certificate is for.
func (s *ServerCertificate) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

// Get is a tls.Config's GetCertificate.
func (s *ServerCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	// One that is not valid yet was made while the clock was ahead.
	if s.current != nil && now.Before(renewAt(s.current.Leaf)) && !now.Before(s.current.Leaf.NotBefore) {
		return s.current, nil
	}
	renewed, err := s.issue()
	if err != nil {
		if s.current != nil && now.Before(s.current.Leaf.NotAfter) {
			return s.current, nil // still good; the next connection tries again
		}
		return nil, err
	}
	s.current = renewed
	return renewed, nil
}

// renewAt is when a third of the life is left.
func renewAt(leaf *x509.Certificate) time.Time {
	return leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 3)
}

func (s *ServerCertificate) issue() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{Organization: []string{"AnyHSM"}, CommonName: "anyhsmd"},
		NotAfter:    s.authority.now().Add(serverLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	leaf, err := s.authority.sign(template, key.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{
		// The authority comes along, so that an applicant who knows only its fingerprint can check the chain.
		Certificate: [][]byte{leaf.Raw, s.authority.certificate.Raw},
		PrivateKey:  key,
		Leaf:        leaf,
	}, nil
}

// TLSConfig returns the daemon's TLS: version 1.3 only, client certificates of the built-in authority only. A client
// may come without one, to enroll; Authenticate refuses everything else that it tries.
func TLSConfig(authority *Authority, certificate *ServerCertificate) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: certificate.Get,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      authority.Pool(),
	}
}
