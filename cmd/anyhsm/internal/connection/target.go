package connection

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
)

// The names of the files in a directory that `anyhsm enroll` wrote.
const (
	CertificateFile = "app.crt"
	KeyFile         = "app.key"
	CAFile          = "ca.crt"
)

// SocketVariable names the environment variable that --socket overrides.
const SocketVariable = "ANYHSM_SOCKET"

// Options is what the command line says about the daemon's place.
type Options struct {
	// Socket is the path of a Unix socket.
	Socket string
	// Endpoint is unix:///PATH or tcp://HOST:PORT.
	Endpoint string
	// TLSDir holds the certificate, key and CA certificate for tcp endpoints.
	TLSDir string
}

// Target is one place where a daemon may listen.
type Target struct {
	network, address string
	files            modulefile.TLS
}

// String returns the target as an endpoint.
func (t Target) String() string { return t.network + "://" + t.address }

// Socket returns the path of a Unix socket, empty for another kind of target.
func (t Target) Socket() string {
	if t.network == "unix" {
		return t.address
	}
	return ""
}

// Check tells what is wrong with --endpoint itself.
func (o Options) Check() error {
	if o.Endpoint == "" {
		return nil
	}
	_, err := parse(o.Endpoint, modulefile.TLS{})
	return err
}

// Targets returns where to look for the daemon, in order: what the command line says, ANYHSM_SOCKET, then what the
// module of this user would do.
func (o Options) Targets() ([]Target, error) {
	if o.Endpoint != "" {
		target, err := parse(o.Endpoint, FilesIn(o.TLSDir))
		if err == nil && target.network == "tcp" && o.TLSDir == "" {
			err = errors.New("--endpoint tcp://… needs --tls-dir with the files that `anyhsm enroll` wrote")
		}
		return []Target{target}, err
	}
	socket := o.Socket
	if socket == "" {
		socket = os.Getenv(SocketVariable)
	}
	if socket != "" {
		absolute, err := filepath.Abs(strings.TrimPrefix(socket, "unix://"))
		return []Target{{network: "unix", address: absolute}}, err
	}
	found, err := modulefile.Here().Find()
	if err != nil {
		return nil, fmt.Errorf("%w; correct it, or name the daemon with --socket", err)
	}
	return FromConfig(found.Config)
}

// FromConfig returns the endpoints of a module's configuration.
func FromConfig(config modulefile.Config) ([]Target, error) {
	targets := make([]Target, 0, len(config.Endpoints))
	for _, endpoint := range config.Endpoints {
		target, err := parse(endpoint, config.TLS)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// FilesIn names the files of an enrolled directory.
func FilesIn(dir string) modulefile.TLS {
	return modulefile.TLS{
		Certificate: filepath.Join(dir, CertificateFile),
		Key:         filepath.Join(dir, KeyFile),
		CA:          filepath.Join(dir, CAFile),
	}
}

func parse(endpoint string, files modulefile.TLS) (Target, error) {
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok && filepath.IsAbs(path) {
		return Target{network: "unix", address: path}, nil
	}
	address, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return Target{}, fmt.Errorf("endpoint %q is neither unix:///PATH nor tcp://HOST:PORT", endpoint)
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return Target{}, fmt.Errorf("endpoint %q lacks a host or a port; write tcp://HOST:PORT", endpoint)
	}
	return Target{network: "tcp", address: address, files: files}, nil
}

// tlsConfig reads the files of a target.
func (t Target) tlsConfig() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(t.files.Certificate, t.files.Key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate of this machine: %w; get one with `anyhsm enroll`", err)
	}
	pem, err := os.ReadFile(t.files.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot read the daemon's CA: %w; get it with `anyhsm enroll`", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate; get it with `anyhsm enroll`", t.files.CA)
	}
	host, _, _ := net.SplitHostPort(t.address)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host, RootCAs: roots, Certificates: []tls.Certificate{certificate},
	}, nil
}

// Files names the certificate, key and CA of a tcp target.
func (t Target) Files() modulefile.TLS { return t.files }
