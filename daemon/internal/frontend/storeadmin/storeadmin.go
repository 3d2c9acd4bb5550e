// Package storeadmin is the front end of what concerns the store as a whole: it decodes calls of
// proto/anyhsm/v1/store.proto. Every call needs an administrator.
package storeadmin

import (
	"bufio"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/backup"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/rootkey"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// Config is what the front end stands on.
type Config struct {
	Store   *keystore.Store
	Root    *seal.Root
	RootKey *rootkey.Service
}

// Register registers the service.
func Register(registrar grpc.ServiceRegistrar, config Config) {
	anyhsmv1.RegisterStoreServiceServer(registrar, storeServer{config: config})
}

type storeServer struct {
	anyhsmv1.UnimplementedStoreServiceServer
	config Config
}

// administrator returns the audit event of a call, if an administrator calls.
func administrator(ctx context.Context, operation string) (caller authn.Caller, event audit.Event, err error) {
	caller = authn.FromContext(ctx)
	if !caller.Admin {
		return caller, event, fault.New(fault.NotGranted, "%s is no administrator; call as root, or add the identity to admins in anyhsmd.toml", caller)
	}
	return caller, audit.Event{Application: caller.Application, Identity: caller.Identity, Operation: operation, Outcome: "OK"}, nil
}

// message is how much of a backup one message carries.
const message = 256 << 10

// sender makes messages of what is written.
type sender struct {
	stream grpc.ServerStreamingServer[anyhsmv1.BackupResponse]
}

// Write implements io.Writer.
func (s sender) Write(p []byte) (int, error) {
	return len(p), s.stream.Send(&anyhsmv1.BackupResponse{Data: p})
}

// Backup streams a backup. That somebody took one is on record before the first byte leaves.
func (s storeServer) Backup(_ *anyhsmv1.BackupRequest, stream grpc.ServerStreamingServer[anyhsmv1.BackupResponse]) error {
	ctx := stream.Context()
	_, event, err := administrator(ctx, "store.backup")
	if err != nil {
		return err
	}
	if err := s.config.Store.AppendEvents(ctx, []audit.Event{event}); err != nil {
		return err
	}
	state, err := s.config.RootKey.State(ctx)
	if err != nil {
		return err
	}
	chunks := bufio.NewWriterSize(sender{stream}, message)
	summary, err := backup.Write(ctx, chunks, s.config.Store, s.config.Root)
	if err == nil {
		err = chunks.Flush()
	}
	if err != nil {
		return err
	}
	return stream.Send(&anyhsmv1.BackupResponse{Summary: &anyhsmv1.BackupSummary{
		Created: timestamppb.New(summary.Created), Rows: summary.Rows, RootKey: summary.RootKey, RootKeySource: state.Source,
	}})
}

// GetRootKey tells which daemon has which root key.
func (s storeServer) GetRootKey(ctx context.Context, _ *anyhsmv1.GetRootKeyRequest) (*anyhsmv1.GetRootKeyResponse, error) {
	if _, _, err := administrator(ctx, ""); err != nil {
		return nil, err
	}
	state, err := s.config.RootKey.State(ctx)
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.GetRootKeyResponse{State: encode(state)}, nil
}

// StageRootKey makes or takes the next root key.
func (s storeServer) StageRootKey(ctx context.Context, _ *anyhsmv1.StageRootKeyRequest) (*anyhsmv1.StageRootKeyResponse, error) {
	_, event, err := administrator(ctx, "root-key.stage")
	if err != nil {
		return nil, err
	}
	state, err := s.config.RootKey.Stage(ctx)
	if err != nil {
		return nil, err
	}
	event.Detail = seal.Fingerprint(state.Next) + " on " + state.Name
	return &anyhsmv1.StageRootKeyResponse{State: encode(state)}, s.config.Store.AppendEvents(ctx, []audit.Event{event})
}

// RotateRootKey seals the store anew.
func (s storeServer) RotateRootKey(ctx context.Context, request *anyhsmv1.RotateRootKeyRequest) (*anyhsmv1.RotateRootKeyResponse, error) {
	caller, event, err := administrator(ctx, "root-key.rotate")
	if err != nil {
		return nil, err
	}
	rotated, err := s.config.RootKey.Rotate(ctx, caller.Identity, request.GetRequestId(), event)
	if err != nil {
		return nil, err
	}
	state, err := s.config.RootKey.State(ctx)
	if err != nil {
		return nil, err
	}
	return &anyhsmv1.RotateRootKeyResponse{State: encode(state), Retired: rotated.Retired, Tokens: uint32(rotated.Tokens)}, nil
}

func encode(state rootkey.State) *anyhsmv1.RootKeyState {
	encoded := &anyhsmv1.RootKeyState{
		Current: seal.Fingerprint(state.Current), Next: seal.Fingerprint(state.Next), Source: state.Source, NextSource: state.NextSource,
	}
	for _, r := range state.Replicas {
		encoded.Replicas = append(encoded.Replicas, &anyhsmv1.RootKeyReplica{
			Name: r.Name, Version: r.Version, Seen: timestamppb.New(r.Seen), Current: seal.Fingerprint(r.Root), Next: seal.Fingerprint(r.Next),
			This: r.Name == state.Name,
		})
	}
	return encoded
}
