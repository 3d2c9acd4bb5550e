package daemonclient

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// server answers ListSlots and DestroyObject, and lets a test decide how.
type server struct {
	anyhsmv1.UnimplementedTokenServiceServer
	anyhsmv1.UnimplementedObjectServiceServer
	anyhsmv1.UnimplementedCryptoServiceServer

	name string
	grpc *grpc.Server
	mu   sync.Mutex
	// answer is asked at each call with its number, from 1 on.
	answer func(call int) error
	ids    []string
	calls  int
	header metadata.MD
}

func serve(t *testing.T, listener net.Listener, name string, security *tls.Config) *server {
	t.Helper()
	return serveWith(t, listener, name, security, nil)
}

// serveWith lets a test register another service before the server starts.
func serveWith(t *testing.T, listener net.Listener, name string, security *tls.Config, register func(s *server)) *server {
	t.Helper()
	s := &server{name: name}
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(wire.MaxMessage)}
	if security != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(security)))
	}
	s.grpc = grpc.NewServer(options...)
	anyhsmv1.RegisterTokenServiceServer(s.grpc, s)
	anyhsmv1.RegisterObjectServiceServer(s.grpc, s)
	anyhsmv1.RegisterCryptoServiceServer(s.grpc, s)
	if register != nil {
		register(s)
	}
	go func() { _ = s.grpc.Serve(listener) }()
	t.Cleanup(s.grpc.Stop)
	return s
}

func (s *server) note(ctx context.Context, id string) error {
	s.mu.Lock()
	s.calls++
	s.ids = append(s.ids, id)
	s.header, _ = metadata.FromIncomingContext(ctx)
	call, answer := s.calls, s.answer
	s.mu.Unlock()
	if answer == nil {
		return nil
	}
	return wire.StatusFromError(answer(call))
}

func (s *server) seen() (calls int, ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, append([]string(nil), s.ids...)
}

func (s *server) ListSlots(ctx context.Context, _ *anyhsmv1.ListSlotsRequest) (*anyhsmv1.ListSlotsResponse, error) {
	return &anyhsmv1.ListSlotsResponse{DaemonVersion: s.name}, s.note(ctx, "")
}

func (s *server) InitToken(ctx context.Context, r *anyhsmv1.InitTokenRequest) (*anyhsmv1.InitTokenResponse, error) {
	return &anyhsmv1.InitTokenResponse{}, s.note(ctx, r.GetRequestId())
}

func (s *server) DestroyObject(ctx context.Context, r *anyhsmv1.DestroyObjectRequest) (*anyhsmv1.DestroyObjectResponse, error) {
	return &anyhsmv1.DestroyObjectResponse{}, s.note(ctx, r.GetHeader().GetRequestId())
}

func (s *server) Sign(ctx context.Context, r *anyhsmv1.SignRequest) (*anyhsmv1.SignResponse, error) {
	return &anyhsmv1.SignResponse{Signature: r.GetData()}, s.note(ctx, r.GetHeader().GetRequestId())
}

// sockets returns a directory whose name is short enough for sockets in it.
func sockets(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "anyhsm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func unixServer(t *testing.T, path, name string) *server {
	t.Helper()
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, listener, name, nil)
}

func newClient(t *testing.T, c config.Config) *Client {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	c.Transport = underTest
	client, err := New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// one is a client of one server on a Unix socket.
func one(t *testing.T) (*Client, *server, string) {
	t.Helper()
	path := filepath.Join(sockets(t), "s")
	s := unixServer(t, path, "one")
	return newClient(t, config.Config{Endpoints: []string{"unix://" + path}}), s, path
}

func listSlots(c *Client) (string, error) {
	ctx, cancel := c.Call()
	defer cancel()
	answer, err := c.Tokens.ListSlots(ctx, &anyhsmv1.ListSlotsRequest{})
	return answer.GetDaemonVersion(), err
}
