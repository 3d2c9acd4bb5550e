package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/internal/version"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type statusServer struct {
	anyhsmv1.UnimplementedStatusServiceServer
	config Config
}

// GetStatus returns versions, listeners, counts and the health of providers.
func (s statusServer) GetStatus(ctx context.Context, _ *anyhsmv1.GetStatusRequest) (*anyhsmv1.GetStatusResponse, error) {
	c, err := call(ctx, "", "")
	if err != nil {
		return nil, err
	}
	tokens, err := s.config.Store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := s.config.Store.CountObjects(ctx, "")
	if err != nil {
		return nil, err
	}
	applications, err := s.config.Store.Applications(ctx)
	if err != nil {
		return nil, err
	}
	providers, err := s.config.Keys.ListProviders(ctx, c)
	if err != nil {
		return nil, err
	}
	response := &anyhsmv1.GetStatusResponse{
		Version: version.Version, Started: timestamp(s.config.Started), Listeners: s.config.Listeners(),
		Store: s.config.StoreName, ConfigFile: s.config.ConfigFile,
		Tokens: uint64(len(tokens)), Objects: objects, Applications: uint64(len(applications)),
	}
	for _, p := range providers {
		response.Providers = append(response.Providers, &anyhsmv1.ProviderStatus{
			Name: p.Name, Kind: p.Kind, Healthy: p.Healthy, Detail: p.Detail,
		})
	}
	return response, nil
}
