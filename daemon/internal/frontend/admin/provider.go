package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type providerServer struct {
	anyhsmv1.UnimplementedProviderServiceServer
	keys *keyservice.Service
}

// ListProviders returns the configured providers with their capabilities.
func (s providerServer) ListProviders(ctx context.Context, _ *anyhsmv1.ListProvidersRequest) (*anyhsmv1.ListProvidersResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	providers, err := s.keys.ListProviders(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListProvidersResponse{}
	for _, p := range providers {
		message := &anyhsmv1.ProviderSummary{
			Name: p.Name, Kind: p.Kind, Healthy: p.Healthy, Detail: text(p.Detail), Curves: p.Curves, Abilities: p.Abilities,
		}
		for _, m := range p.Mechanisms {
			message.Mechanisms = append(message.Mechanisms, &anyhsmv1.MechanismInfo{
				Type: uint64(m.Type), MinKeySize: m.MinSize, MaxKeySize: m.MaxSize, Flags: uint64(m.Flags),
			})
		}
		response.Providers = append(response.Providers, message)
	}
	return response, nil
}

// CheckProvider exercises a provider.
func (s providerServer) CheckProvider(ctx context.Context, request *anyhsmv1.CheckProviderRequest) (*anyhsmv1.CheckProviderResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	results, err := s.keys.CheckProvider(ctx, c, request.GetProvider())
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.CheckProviderResponse{}
	for _, r := range results {
		response.Results = append(response.Results, &anyhsmv1.CheckResult{
			Name: r.Name, Passed: r.Passed, Detail: text(r.Detail), Microseconds: uint64(r.Duration.Microseconds()),
		})
	}
	return response, nil
}

// ListProviderKeys returns the keys that a provider holds, known to us or not.
func (s providerServer) ListProviderKeys(ctx context.Context, request *anyhsmv1.ListProviderKeysRequest) (*anyhsmv1.ListProviderKeysResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	keys, next, err := s.keys.ListProviderKeys(ctx, c, request.GetProvider(), request.GetPage())
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListProviderKeysResponse{NextPage: next}
	for _, k := range keys {
		response.Keys = append(response.Keys, &anyhsmv1.ProviderKey{
			Reference: text(k.Reference), Label: text(k.Label), KeyId: k.KeyID, KeyType: uint64(k.KeyType), Bits: k.Bits, Token: text(k.Token),
		})
	}
	return response, nil
}
