// Package azurekv keeps keys in Azure Key Vault or an Azure Managed HSM. The service holds the keys and uses them; what
// it cannot do by PKCS#11's names is refused before a call is made.
package azurekv

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Config is one instance: a vault or a Managed HSM.
type Config struct {
	// Name is the instance's, for the log.
	Name string
	// VaultURL is https://NAME.vault.azure.net or https://NAME.managedhsm.azure.net.
	VaultURL string
	// HSM tells that it is a Managed HSM. Premium tells that it is a vault of the Premium tier, whose keys are to be
	// made in hardware.
	HSM, Premium bool
	// TenantID and ClientID name the application that signs in with ClientSecret or ClientCertificate (a PEM or PKCS#12
	// file with certificate and key). With neither it is the SDK's default chain; ClientID then names a user-assigned
	// managed identity.
	TenantID, ClientID string
	ClientSecret       string
	ClientCertificate  []byte
	// Authority is the sign-in host of another cloud than the public one.
	Authority string
	// Purge tells that a key that was destroyed is purged as well, so that nobody can recover it.
	Purge bool
	// AttemptTimeout bounds one attempt of a call; 0 for 15 s. CallTimeout bounds a call that has no deadline, and the
	// making of a key whose caller has gone; 0 for a minute.
	AttemptTimeout, CallTimeout time.Duration
	Log                         *slog.Logger
}

// Provider is one vault.
type Provider struct {
	config Config
	// vault is the URL without a slash at the end, in lower case: the beginning of every key's id.
	vault        string
	client       client
	idle         func()
	log          *slog.Logger
	capabilities provider.Capabilities

	keys    cache
	makings singleflight.Group
	looks   singleflight.Group

	// life ends when the provider is closed.
	life context.Context
	end  context.CancelFunc
}

// New makes a provider. No call is made, so that the daemon starts while Azure cannot be reached.
func New(ctx context.Context, c Config) (provider.Provider, error) {
	vault, err := CheckVaultURL(c.VaultURL)
	if err != nil {
		return nil, err
	}
	if c.HSM && c.Premium {
		return nil, fault.New(fault.InvalidInput, "hsm and premium exclude each other: a Managed HSM keeps all keys in hardware; leave out premium")
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
	made, idle, err := newClient(c, vault)
	if err != nil {
		return nil, err
	}
	p := &Provider{config: c, vault: vault, client: made, idle: idle, log: c.Log, capabilities: capabilities(c)}
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	if c.HSM {
		return &managed{p}, nil
	}
	return p, nil
}

// CheckVaultURL tells what is wrong with the URL of a vault, and returns it as keys' ids begin.
func CheckVaultURL(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil {
		parsed = &url.URL{}
	}
	if parsed.Scheme != "https" || parsed.Hostname() == "" || strings.Trim(parsed.Path, "/") != "" ||
		parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil {
		return "", fault.New(fault.InvalidInput, "%q is no vault's URL; write it as https://NAME.vault.azure.net, or https://NAME.managedhsm.azure.net with hsm = true", parsed.Redacted())
	}
	return "https://" + host(parsed), nil
}

// host is a URL's host as keys' ids have it. Azure itself writes the port that goes without saying in some places.
func host(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Host), ":443") }

// Close ends the calls that are under way.
func (p *Provider) Close() error {
	p.end()
	p.idle()
	return nil
}

// Capabilities tells what the service can do.
func (p *Provider) Capabilities() provider.Capabilities { return p.capabilities }

// service is what people call it.
func (p *Provider) service() string {
	if p.config.HSM {
		return "the Managed HSM " + p.vault
	}
	return "Azure Key Vault " + p.vault
}

var (
	_ provider.Importer      = (*Provider)(nil)
	_ provider.Destroyer     = (*Provider)(nil)
	_ provider.Lister        = (*Provider)(nil)
	_ provider.HealthChecker = (*Provider)(nil)
	_ provider.RandomSource  = (*managed)(nil)
)
