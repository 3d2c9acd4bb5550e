package enrollment

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// TLSConfig returns what the applicant dials the daemon with: TLS 1.3, where the server's chain must end at the
// authority that the code names and its certificate must be for serverName. The authority comes along in the chain,
// so nothing has to be installed first.
func TLSConfig(code Code, serverName string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		NextProtos: []string{"h2"},
		// The usual verification wants the authority before the handshake; VerifyConnection does the same with the one
		// that the code names.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(code, serverName, state.PeerCertificates)
		},
	}
}

func verify(code Code, serverName string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the daemon sent no certificate")
	}
	roots, intermediates, found := x509.NewCertPool(), x509.NewCertPool(), false
	for _, certificate := range chain[1:] {
		if code.Names(certificate) {
			roots.AddCert(certificate)
			found = true
		} else {
			intermediates.AddCert(certificate)
		}
	}
	if !found {
		return errors.New("the daemon's certificate authority is not the one that the code names: the code is another daemon's, or somebody sits in between; ask for a new code")
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: serverName})
	if err != nil {
		return fmt.Errorf("the daemon's certificate: %w; put the name you dial into listen.advertise of anyhsmd.toml", err)
	}
	return nil
}
