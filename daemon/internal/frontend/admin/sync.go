package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type syncServer struct {
	anyhsmv1.UnimplementedSyncServiceServer
	keys *keyservice.Service
}

// SyncKeys returns a page of a provider's keys with what we know of each.
func (s syncServer) SyncKeys(ctx context.Context, request *anyhsmv1.SyncKeysRequest) (*anyhsmv1.SyncKeysResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	keys, next, err := s.keys.SyncKeys(ctx, c, keyservice.SyncOrder{
		Provider: request.GetProvider(), Page: request.GetPage(), Adopt: request.GetAdopt(), DryRun: request.GetDryRun(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SyncKeysResponse{Keys: syncKeys(keys), NextPage: next}, nil
}

// ListKnownKeys returns a page of the keys in a provider that objects are made of.
func (s syncServer) ListKnownKeys(ctx context.Context, request *anyhsmv1.ListKnownKeysRequest) (*anyhsmv1.ListKnownKeysResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	ids, next, err := s.keys.ListKnownKeys(ctx, c, request.GetProvider(), request.GetPage())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.ListKnownKeysResponse{KnownIds: ids, NextPage: next}, nil
}

// InspectKeys asks a provider what has become of known keys.
func (s syncServer) InspectKeys(ctx context.Context, request *anyhsmv1.InspectKeysRequest) (*anyhsmv1.InspectKeysResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	keys, err := s.keys.InspectKeys(ctx, c, request.GetProvider(), request.GetKnownIds())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.InspectKeysResponse{Keys: syncKeys(keys)}, nil
}

// SetVerification says which signatures of a token's keys are verified.
func (s syncServer) SetVerification(ctx context.Context, request *anyhsmv1.SetVerificationRequest) (*anyhsmv1.SetVerificationResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	holds, err := s.keys.SetVerification(ctx, c, request.GetSignatures())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SetVerificationResponse{Signatures: holds}, nil
}

// ListCosts estimates what providers cost.
func (s syncServer) ListCosts(ctx context.Context, _ *anyhsmv1.ListCostsRequest) (*anyhsmv1.ListCostsResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	costs, err := s.keys.ListCosts(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListCostsResponse{Currency: costs.Prices.Currency, Date: costs.Prices.Date, File: costs.Prices.File}
	for _, one := range costs.Providers {
		response.Costs = append(response.Costs, &anyhsmv1.ProviderCost{
			Provider: one.Provider, Kind: one.Kind, Keys: one.Keys, Monthly: one.Monthly, Calls: one.Calls, CallsCost: one.CallsCost, Unpriced: one.Unpriced,
		})
	}
	return response, nil
}

func syncKeys(keys []keyservice.SyncKey) []*anyhsmv1.SyncKey {
	messages := make([]*anyhsmv1.SyncKey, len(keys))
	for i, k := range keys {
		messages[i] = &anyhsmv1.SyncKey{
			State: anyhsmv1.SyncState(k.State), Reference: text(k.Reference), Label: text(k.Label), KeyType: uint64(k.KeyType), Bits: k.Bits,
			Detail: text(k.Detail), Version: text(k.Version), Expires: timestamp(k.Expires), Token: text(k.Token), Object: k.Object, KnownId: k.KnownID,
		}
	}
	return messages
}
