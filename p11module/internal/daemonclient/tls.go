package daemonclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc/credentials"

	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

// mutualTLS reads the identity's files at each handshake, so that renewed ones need no restart.
type mutualTLS struct {
	files  config.TLS
	server string
	shown  *shown
}

// shown remembers which certificates the connections of a channel have shown to the daemon.
type shown struct {
	mu   sync.Mutex
	last []byte
	// mixed says that they were different ones.
	mixed bool
}

func (s *shown) note(der []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mixed = s.mixed || s.last != nil && !bytes.Equal(s.last, der)
	s.last = der
}

// old tells whether a connection may have shown another certificate than the one in the file.
func (s *shown) old(file string) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	return block != nil && s.last != nil && (s.mixed || !bytes.Equal(s.last, block.Bytes))
}

// ClientHandshake makes the connection a TLS 1.3 one with both sides' certificates.
func (m *mutualTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := m.config()
	if err != nil {
		return nil, nil, err
	}
	m.shown.note(c.Certificates[0].Certificate[0])
	return credentials.NewTLS(c).ClientHandshake(ctx, authority, raw)
}

func (m *mutualTLS) config() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(m.files.Certificate, m.files.Key)
	if err != nil {
		return nil, fmt.Errorf("the client certificate %s cannot be used; enroll again: %w", m.files.Certificate, err)
	}
	authorities, err := os.ReadFile(m.files.CA)
	if err != nil {
		return nil, fmt.Errorf("the certificate authority cannot be read; enroll again: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no PEM certificate; enroll again", m.files.CA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}, RootCAs: roots, ServerName: m.server,
	}, nil
}

// ServerHandshake is for servers.
func (m *mutualTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("the module is no server")
}

// Info describes the protocol.
func (m *mutualTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns a copy.
func (m *mutualTLS) Clone() credentials.TransportCredentials {
	clone := *m
	return &clone
}

// OverrideServerName is not used; gRPC's interface still wants it.
func (m *mutualTLS) OverrideServerName(name string) error {
	m.server = name
	return nil
}
