package admin

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type placementServer struct {
	anyhsmv1.UnimplementedPlacementServiceServer
	keys *keyservice.Service
}

// CopyKey brings a key into another provider as well.
func (s placementServer) CopyKey(ctx context.Context, request *anyhsmv1.CopyKeyRequest) (*anyhsmv1.CopyKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	done, err := s.keys.CopyKey(ctx, c, request.GetSelector().GetKey(), request.GetProvider())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.CopyKeyResponse{Key: keySummary(done.Key), Places: keyPlaces(done.Places), Known: done.Known, Proof: done.Proof}, nil
}

// MoveKey brings a key into another provider and uses it there.
func (s placementServer) MoveKey(ctx context.Context, request *anyhsmv1.MoveKeyRequest) (*anyhsmv1.MoveKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	done, err := s.keys.MoveKey(ctx, c, keyservice.Move{
		Key: request.GetSelector().GetKey(), To: request.GetProvider(), KeepOld: request.GetKeepOld(), DestroyOld: request.GetDestroyOld(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.MoveKeyResponse{
		Key: keySummary(done.Key), Places: keyPlaces(done.Places), Known: done.Known, Proof: done.Proof, Destroyed: done.Destroyed,
	}, nil
}

// RetireKey stops using a key in a provider.
func (s placementServer) RetireKey(ctx context.Context, request *anyhsmv1.RetireKeyRequest) (*anyhsmv1.RetireKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	done, err := s.keys.RetireKey(ctx, c, request.GetSelector().GetKey(), request.GetProvider(), request.GetDestroy(), request.GetLeaveBehind())
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.RetireKeyResponse{
		Key: keySummary(done.Key), Places: keyPlaces(done.Places), Destroyed: len(done.Destroyed) > 0, Left: leftKeys(done.Left),
	}, nil
}

// RotateKey makes a new version of a key, or finishes with the older ones.
func (s placementServer) RotateKey(ctx context.Context, request *anyhsmv1.RotateKeyRequest) (*anyhsmv1.RotateKeyResponse, error) {
	c, err := call(ctx, request.GetSelector().GetToken(), request.GetRequestId())
	if err != nil {
		return nil, err
	}
	done, err := s.keys.RotateKey(ctx, c, keyservice.Rotation{
		Key: request.GetSelector().GetKey(), Provider: request.GetProvider(), Now: request.GetNow(), Finish: request.GetFinish(),
	})
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.RotateKeyResponse{Key: keySummary(done.Key), Older: keySummaries(done.Older), Certificates: keySummaries(done.Certificates)}, nil
}

func keyPlaces(places []keyservice.KeyPlace) []*anyhsmv1.KeyPlace {
	messages := make([]*anyhsmv1.KeyPlace, len(places))
	for i, p := range places {
		messages[i] = &anyhsmv1.KeyPlace{Provider: p.Provider, Kind: p.Kind, Retired: p.Retired, Cannot: p.Cannot}
	}
	return messages
}
