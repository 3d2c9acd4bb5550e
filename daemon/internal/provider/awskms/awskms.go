// Package awskms keeps keys in AWS Key Management Service. The service holds the keys and uses them; what it cannot do
// by PKCS#11's names is refused before a call is made, because a call that fails is paid for too.
package awskms

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Config is one instance: an account and a region.
type Config struct {
	// Name is the instance's, for the log.
	Name string
	// Region and Endpoint say where the service is; both have the SDK's defaults.
	Region, Endpoint string
	// Profile is one of ~/.aws/config. RoleARN is assumed with the credentials found, ExternalID is what its trust
	// policy may want.
	Profile, RoleARN, ExternalID string
	// AccessKeyID, SecretAccessKey and SessionToken are static credentials; empty for the SDK's standard chain.
	AccessKeyID, SecretAccessKey, SessionToken string
	// DeletionDays is how long a key that was destroyed can still be rescued, 7 to 30; 0 for 30.
	DeletionDays int
	// AttemptTimeout bounds one attempt of a call; 0 for 10 s. CallTimeout bounds a call that has no deadline, and the
	// making of a key whose caller has gone; 0 for a minute.
	AttemptTimeout, CallTimeout time.Duration
	Log                         *slog.Logger
}

// Provider is one account and region of AWS KMS.
type Provider struct {
	config  Config
	region  string
	client  client
	retryer aws.RetryerV2
	idle    func()
	log     *slog.Logger

	keys    cache
	makings flights[provider.Generated]
	looks   flights[*material]
	orphans orphanage
	// blind lets one warning out about tags that may not be read.
	blind sync.Once

	// life ends when the provider is closed.
	life context.Context
	end  context.CancelFunc
}

// New makes a provider. No call is made, so that the daemon starts while AWS cannot be reached.
func New(ctx context.Context, c Config) (*Provider, error) {
	if c.DeletionDays == 0 {
		c.DeletionDays = 30
	}
	if c.DeletionDays < 7 || c.DeletionDays > 30 {
		return nil, fault.New(fault.InvalidInput, "deletion_days = %d is out of range; AWS KMS takes 7 to 30", c.DeletionDays)
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
	made, region, idle, err := newClient(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &Provider{config: c, region: region, client: made, retryer: standard(), idle: idle, log: c.Log}
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	return p, nil
}

// Close ends the calls that are under way.
func (p *Provider) Close() error {
	p.end()
	p.idle()
	return nil
}

// Capabilities tells what the service can do.
func (p *Provider) Capabilities() provider.Capabilities { return capabilities() }
