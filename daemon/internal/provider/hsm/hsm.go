// Package hsm is the provider that keeps keys in a PKCS#11 token: an HSM, a smart card, SoftHSM.
package hsm

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Provider is one token of a PKCS#11 library.
type Provider struct{ config Config }

// New loads the library, finds the token and logs in.
func New(_ context.Context, config Config) (*Provider, error) {
	return &Provider{config: config}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Capabilities tells what the token can do.
func (p *Provider) Capabilities() provider.Capabilities {
	return provider.Capabilities{Kind: "hsm", Hardware: true, Keeps: true}
}

// Generate makes a key in the token.
func (p *Provider) Generate(context.Context, provider.GenerateRequest) (provider.Generated, error) {
	return provider.Generated{}, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Key finds a key in the token.
func (p *Provider) Key(context.Context, provider.Reference) (provider.Key, error) {
	return nil, cryptoki.CKR_FUNCTION_NOT_SUPPORTED
}

// Close ends the sessions and lets go of the library.
func (p *Provider) Close() error { return nil }

var _ provider.Provider = (*Provider)(nil)
