package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type routeServer struct {
	anyhsmv1.UnimplementedRouteServiceServer
	keys *keyservice.Service
}

// SetRules gives a token its rules.
func (s routeServer) SetRules(ctx context.Context, request *anyhsmv1.SetRulesRequest) (*anyhsmv1.SetRulesResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	var rules []keyservice.Rule
	for _, r := range request.GetRules() {
		rules = append(rules, keyservice.Rule{
			Provider: r.GetProvider(), Keys: r.GetKeys(), MinBits: r.GetMinBits(), MaxBits: r.GetMaxBits(), Label: r.GetLabel(), OnRequest: r.GetOnRequest(),
		})
	}
	if err := s.keys.SetRules(ctx, c, rules); err != nil {
		return nil, err
	}
	return &anyhsmv1.SetRulesResponse{}, nil
}

// GetRules returns the rules of a token.
func (s routeServer) GetRules(ctx context.Context, request *anyhsmv1.GetRulesRequest) (*anyhsmv1.GetRulesResponse, error) {
	c, err := call(ctx, request.GetToken(), "")
	if err != nil {
		return nil, err
	}
	rules, otherwise, err := s.keys.Rules(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.GetRulesResponse{Otherwise: otherwise}
	for _, r := range rules {
		response.Rules = append(response.Rules, &anyhsmv1.PlacementRule{
			Provider: r.Provider, Keys: r.Keys, MinBits: r.MinBits, MaxBits: r.MaxBits, Label: r.Label, OnRequest: r.OnRequest,
		})
	}
	return response, nil
}

// SetTokenRouting sets the policy of a token.
func (s routeServer) SetTokenRouting(ctx context.Context, request *anyhsmv1.SetTokenRoutingRequest) (*anyhsmv1.SetTokenRoutingResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.SetTokenRoutingResponse{}, s.keys.SetTokenRouting(ctx, c, request.GetRouting())
}

// GetTokenRouting returns the policy of a token.
func (s routeServer) GetTokenRouting(ctx context.Context, request *anyhsmv1.GetTokenRoutingRequest) (*anyhsmv1.GetTokenRoutingResponse, error) {
	c, err := call(ctx, request.GetToken(), "")
	if err != nil {
		return nil, err
	}
	routing, err := s.keys.TokenRouting(ctx, c)
	return &anyhsmv1.GetTokenRoutingResponse{Routing: string(routing)}, err
}

// SetKeyRouting sets the policy of a key and the order of its places.
func (s routeServer) SetKeyRouting(ctx context.Context, request *anyhsmv1.SetKeyRoutingRequest) (*anyhsmv1.SetKeyRoutingResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	routing, err := s.keys.RouteKey(ctx, c, request.GetKey(), request.GetRouting(), request.GetOrder())
	return &anyhsmv1.SetKeyRoutingResponse{Routing: keyRouting(routing)}, err
}

// GetKeyRouting tells where a key is.
func (s routeServer) GetKeyRouting(ctx context.Context, request *anyhsmv1.GetKeyRoutingRequest) (*anyhsmv1.GetKeyRoutingResponse, error) {
	c, err := call(ctx, request.GetToken(), "")
	if err != nil {
		return nil, err
	}
	routing, err := s.keys.KeyRouting(ctx, c, request.GetKey())
	return &anyhsmv1.GetKeyRoutingResponse{Routing: keyRouting(routing)}, err
}

// JoinKey takes a key of a provider as another place of a key.
func (s routeServer) JoinKey(ctx context.Context, request *anyhsmv1.JoinKeyRequest) (*anyhsmv1.JoinKeyResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	routing, err := s.keys.JoinKey(ctx, c, request.GetKey(), request.GetProvider(), request.GetReference())
	return &anyhsmv1.JoinKeyResponse{Routing: keyRouting(routing)}, err
}

func keyRouting(r keyservice.KeyRouting) *anyhsmv1.KeyRouting {
	message := &anyhsmv1.KeyRouting{Own: string(r.Own), Effective: string(r.Effective)}
	for _, p := range r.Places {
		place := &anyhsmv1.Place{Provider: p.Provider, State: p.State, Detail: text(p.Detail)}
		for _, m := range p.Mechanisms {
			place.Mechanisms = append(place.Mechanisms, uint64(m))
		}
		message.Places = append(message.Places, place)
	}
	return message
}
