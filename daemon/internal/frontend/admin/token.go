package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type tokenServer struct {
	anyhsmv1.UnimplementedTokenAdminServiceServer
	keys *keyservice.Service
}

// CreateToken makes an initialised token.
func (s tokenServer) CreateToken(ctx context.Context, request *anyhsmv1.CreateTokenRequest) (*anyhsmv1.CreateTokenResponse, error) {
	defer clear(request.GetSoPin())
	defer clear(request.GetUserPin())
	c, err := call(ctx, "", request.GetRequestId())
	if err != nil {
		return nil, err
	}
	token, err := s.keys.CreateToken(ctx, c, keyservice.NewToken{
		Label: request.GetLabel(), Provider: request.GetProvider(),
		SOPIN: request.GetSoPin(), UserPIN: request.GetUserPin(), NoLogin: request.GetNoLogin(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CreateTokenResponse{Token: tokenSummary(token)}, nil
}

// ListTokens returns all tokens.
func (s tokenServer) ListTokens(ctx context.Context, _ *anyhsmv1.ListTokensRequest) (*anyhsmv1.ListTokensResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	tokens, err := s.keys.ListTokens(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.ListTokensResponse{}
	for _, t := range tokens {
		response.Tokens = append(response.Tokens, tokenSummary(t))
	}
	return response, nil
}

// GetToken returns one token.
func (s tokenServer) GetToken(ctx context.Context, request *anyhsmv1.GetTokenRequest) (*anyhsmv1.GetTokenResponse, error) {
	c, err := call(ctx, request.GetToken(), "")
	if err != nil {
		return nil, err
	}
	token, err := s.keys.GetToken(ctx, c)
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GetTokenResponse{Token: tokenSummary(token)}, nil
}

// DeleteToken deletes a token; with objects in it only if forced.
func (s tokenServer) DeleteToken(ctx context.Context, request *anyhsmv1.DeleteTokenRequest) (*anyhsmv1.DeleteTokenResponse, error) {
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	deleted, err := s.keys.DeleteToken(ctx, c, request.GetForce(), request.GetLeaveBehind())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.DeleteTokenResponse{ObjectsDestroyed: deleted.Objects, Left: leftKeys(deleted.Left)}, nil
}

// UnlockToken sets the tries of a PIN back.
func (s tokenServer) UnlockToken(ctx context.Context, request *anyhsmv1.UnlockTokenRequest) (*anyhsmv1.UnlockTokenResponse, error) {
	defer clear(request.GetUserPin())
	c, err := call(ctx, request.GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	token, err := s.keys.UnlockToken(ctx, c, request.GetUserPin())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.UnlockTokenResponse{Token: tokenSummary(token)}, nil
}

func tokenSummary(t keyservice.TokenSummary) *anyhsmv1.TokenSummary {
	return &anyhsmv1.TokenSummary{
		Token: &anyhsmv1.Token{
			Uid: t.Token.UID, Label: text(t.Token.Label), SerialNumber: t.Token.Serial, Model: t.Token.Model,
			Flags: uint64(t.Token.Flags), Revision: t.Token.Revision,
			MinPinLength: t.Token.MinPIN, MaxPinLength: t.Token.MaxPIN,
		},
		SlotId: t.SlotID, Provider: t.Provider, Objects: t.Objects, LoginRequired: t.LoginRequired,
		Created: timestamp(t.Created),
	}
}
