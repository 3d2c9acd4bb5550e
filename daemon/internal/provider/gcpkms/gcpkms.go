// Package gcpkms keeps keys in Google Cloud KMS. A key there has one algorithm: padding and hash are chosen when it is
// made. What a key cannot do is refused before a call is made, because a call that fails is paid for too.
package gcpkms

import (
	"context"
	"log/slog"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/sync/singleflight"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Config is one instance: a key ring.
type Config struct {
	// Name is the instance's, for the log.
	Name string
	// KeyRing is the resource name projects/P/locations/L/keyRings/R in which keys are made and looked for.
	KeyRing string
	// Endpoint is host:port of the service, empty for Google's. http://host:port is plaintext without credentials,
	// and only for this machine.
	Endpoint string
	// Credentials are those of a JSON file; empty for the SDK's standard chain.
	Credentials []byte
	// ProtectionLevel is SOFTWARE or HSM, for new keys; SOFTWARE if empty.
	ProtectionLevel string
	// RSASigning is what an RSA key signs with whose template does not say: pkcs1 or pss; pkcs1 if empty.
	RSASigning string
	// DestroyAfter is how long a key that was destroyed can still be rescued; 0 for the service's own (30 days).
	DestroyAfter time.Duration
	// AttemptTimeout bounds one attempt of a call; 0 for 10 s. CallTimeout bounds a call that has no deadline; 0 for
	// a minute.
	AttemptTimeout, CallTimeout time.Duration
	Log                         *slog.Logger
}

// RSASigning's values.
const (
	SignPKCS1 = "pkcs1"
	SignPSS   = "pss"
)

// Provider is one key ring of Google Cloud KMS.
type Provider struct {
	config Config
	level  kmspb.ProtectionLevel
	limit  int
	client client
	log    *slog.Logger

	capabilities provider.Capabilities
	keys         cache
	looks        singleflight.Group
	imports      singleflight.Group

	// life ends when the provider is closed.
	life context.Context
	end  context.CancelFunc
}

// New makes a provider. No call is made, so that the daemon starts while Google cannot be reached.
func New(ctx context.Context, c Config) (*Provider, error) {
	level, err := c.complete()
	if err != nil {
		return nil, err
	}
	made, err := newClient(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &Provider{config: c, level: level, limit: limits[level], client: made, log: c.Log}
	p.capabilities = capabilities(level)
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

// complete sets what was left out and refuses what makes no sense.
func (c *Config) complete() (kmspb.ProtectionLevel, error) {
	if c.ProtectionLevel == "" {
		c.ProtectionLevel = kmspb.ProtectionLevel_SOFTWARE.String()
	}
	level := kmspb.ProtectionLevel(kmspb.ProtectionLevel_value[c.ProtectionLevel])
	if c.RSASigning == "" {
		c.RSASigning = SignPKCS1
	}
	switch {
	case limits[level] == 0:
		return level, fault.New(fault.InvalidInput, "protection_level = %q is unknown; choose SOFTWARE or HSM", c.ProtectionLevel)
	case !keyRingName.MatchString(c.KeyRing):
		return level, fault.New(fault.InvalidInput, "key_ring = %q is no key ring; write projects/PROJECT/locations/LOCATION/keyRings/RING", c.KeyRing)
	case c.RSASigning != SignPKCS1 && c.RSASigning != SignPSS:
		return level, fault.New(fault.InvalidInput, "rsa_signing = %q is unknown; choose %s or %s", c.RSASigning, SignPKCS1, SignPSS)
	case c.DestroyAfter != 0 && (c.DestroyAfter < 24*time.Hour || c.DestroyAfter > 120*24*time.Hour):
		return level, fault.New(fault.InvalidInput, "destroy_after = %s is out of range; Google Cloud KMS takes 24h to 2880h", c.DestroyAfter)
	}
	if c.AttemptTimeout == 0 {
		c.AttemptTimeout = 10 * time.Second
	}
	if c.CallTimeout == 0 {
		c.CallTimeout = time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return level, nil
}

// limits are the bytes that one call takes, by protection level.
var limits = map[kmspb.ProtectionLevel]int{
	kmspb.ProtectionLevel_SOFTWARE: 64 << 10,
	kmspb.ProtectionLevel_HSM:      8 << 10,
}

// Close ends the calls that are under way.
func (p *Provider) Close() error {
	p.end()
	_ = p.client.Close() // A second time it complains that it was the second.
	return nil
}

// Capabilities tells what the service can do.
func (p *Provider) Capabilities() provider.Capabilities { return p.capabilities }
