package kmip

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// DefaultConnections is how many calls run at once when Config does not say.
const DefaultConnections = 16

// Config says where the server is and how it knows us.
type Config struct {
	// Name is the provider's name, for log lines and errors.
	Name string
	// Address is host:port of the server; 5696 is the port of KMIP.
	Address string
	// Certificate and Key are the paths of our certificate (with its chain) and its key, CA is that of the authorities
	// that may have signed the server's. They are read at each connection, so that a renewed one needs no restart.
	Certificate, Key, CA string
	// Username and Password are those of the request's credential; the server gets none where Username is empty.
	Username, Password string
	// Protocol is the version to speak: 1.4, 2.0 or 2.1.
	Protocol string
	// Connections is how many calls run at once at most, DefaultConnections if 0.
	Connections int
	// Log gets what the provider has to tell. slog.Default if nil.
	Log *slog.Logger
}

// check tells what is missing or contradictory.
func (c Config) check() error {
	for _, path := range []struct{ name, value string }{{"certificate", c.Certificate}, {"key", c.Key}, {"ca", c.CA}} {
		if !filepath.IsAbs(path.value) {
			return fault.New(fault.ArgumentsBad, "provider %s: `%s` is %q; give the absolute path of a PEM file", c.Name, path.name, path.value)
		}
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fault.New(fault.ArgumentsBad, "provider %s: `address` is %q; write it as kmip.example.org:5696", c.Name, c.Address)
	}
	if c.Connections < 0 {
		return fault.New(fault.ArgumentsBad, "provider %s: `sessions` is %d; it must be positive", c.Name, c.Connections)
	}
	if c.Username == "" && c.Password != "" {
		return fault.New(fault.ArgumentsBad, "provider %s: there is a `password` and no `username`; add it", c.Name)
	}
	if _, ok := versions[c.Protocol]; !ok {
		return fault.New(fault.ArgumentsBad, "provider %s: `protocol` is %q; choose \"1.4\", \"2.0\" or \"2.1\"", c.Name, c.Protocol)
	}
	return nil
}

// tls reads the certificates.
func (c Config) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "provider %s: `certificate` and `key` cannot be used: %w; correct the files", c.Name, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) || now.Before(pair.Leaf.NotBefore) {
		return nil, fault.New(fault.DeviceError, "provider %s: our certificate %s is valid from %s to %s only; renew it, or correct the clock",
			c.Name, c.Certificate, pair.Leaf.NotBefore.UTC().Format(time.RFC3339), pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	authorities, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "provider %s: `ca` cannot be read: %w; correct the path", c.Name, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, fault.New(fault.DeviceError, "provider %s: %s holds no certificate in PEM; name the file with that of the server's authority", c.Name, c.CA)
	}
	host, _, _ := net.SplitHostPort(c.Address)
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}
