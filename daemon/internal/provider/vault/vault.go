// Package vault keeps keys in the transit engine of HashiCorp Vault or OpenBao. The engine holds the keys and uses them;
// what it cannot do by PKCS#11's names is refused before a call is made.
package vault

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// The ways to log in.
const (
	LoginToken       = "token"
	LoginAppRole     = "approle"
	LoginKubernetes  = "kubernetes"
	LoginCertificate = "cert"
)

// Config is one instance: a mount of a transit engine.
type Config struct {
	// Name is the instance's, for the log.
	Name string
	// Address is https://HOST:PORT, Namespace one of Vault Enterprise or OpenBao, Mount the path of the transit engine;
	// empty for transit.
	Address, Namespace, Mount string
	// CA is the path of a PEM file with the server's authorities, empty for the machine's. ServerName is the name in the
	// server's certificate where it is not the address's.
	CA, ServerName string
	// Certificate and Key are the paths of PEM files with the daemon's certificate. They are read anew for each
	// connection, so that a renewed one counts.
	Certificate, Key string
	// Login is one of the constants above, LoginMount the path of the login where it is not the method's name.
	Login, LoginMount string
	// Role is the role of the Kubernetes or certificate login, RoleID that of AppRole.
	Role, RoleID string
	// Token and SecretID read the secrets of those logins. They are asked anew for each login: an agent may have
	// replaced the file.
	Token, SecretID func() ([]byte, error)
	// ServiceToken is the path of the service account's token for the Kubernetes login.
	ServiceToken string
	// AttemptTimeout bounds one attempt of a call; 0 for 15 s. CallTimeout bounds a call that has no deadline, and the
	// making of a key whose caller has gone; 0 for a minute.
	AttemptTimeout, CallTimeout time.Duration
	Log                         *slog.Logger
}

// Provider is one transit engine.
type Provider struct {
	config       Config
	client       *client
	log          *slog.Logger
	capabilities provider.Capabilities

	session session
	keys    cache
	names   listing
	makings singleflight.Group
	looks   singleflight.Group
	logins  singleflight.Group

	// life ends when the provider is closed.
	life context.Context
	end  context.CancelFunc
}

var mountPath = regexp.MustCompile(`^[0-9A-Za-z_-]([0-9A-Za-z_./-]*[0-9A-Za-z_-])?$`)

// New makes a provider. No call is made, so that the daemon starts while Vault cannot be reached.
func New(ctx context.Context, c Config) (*Provider, error) {
	if err := CheckAddress(c.Address); err != nil {
		return nil, err
	}
	c.Address = strings.TrimRight(c.Address, "/")
	if c.Mount == "" {
		c.Mount = "transit"
	}
	if c.LoginMount == "" {
		c.LoginMount = c.Login
	}
	for _, path := range []string{c.Mount, c.LoginMount} {
		if !mountPath.MatchString(path) || strings.Contains(path, "..") {
			return nil, fault.New(fault.InvalidInput, "%q is no path of a mount; write it as `vault secrets list` and `vault auth list` show it, without the slash at the end", path)
		}
	}
	if err := c.checkLogin(); err != nil {
		return nil, err
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = 15 * time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	made, err := newClient(c)
	if err != nil {
		return nil, err
	}
	p := &Provider{config: c, client: made, log: c.Log, capabilities: capabilities()}
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

// CheckAddress tells what is wrong with an address. Plain HTTP goes no further than this machine: it would show the token.
func CheckAddress(text string) error {
	u, err := url.Parse(text)
	if err == nil && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && strings.Trim(u.Path, "/") == "" {
		if u.Scheme == "https" || u.Scheme == "http" && local(u.Hostname()) {
			return nil
		}
	}
	return fault.New(fault.InvalidInput, "the address is no https URL of a server; write it as https://vault.example.org:8200 (http only to this machine)")
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close ends the calls that are under way, and the renewal of the token.
func (p *Provider) Close() error {
	p.end()
	p.session.end()
	p.client.idle()
	return nil
}

// Capabilities tells what the engine can do.
func (p *Provider) Capabilities() provider.Capabilities { return p.capabilities }

// service is what people call it.
func (p *Provider) service() string { return "Vault at " + p.config.Address }

var (
	_ provider.Importer      = (*Provider)(nil)
	_ provider.Destroyer     = (*Provider)(nil)
	_ provider.Lister        = (*Provider)(nil)
	_ provider.Finder        = (*Provider)(nil)
	_ provider.HealthChecker = (*Provider)(nil)
	_ provider.RandomSource  = (*Provider)(nil)
)
