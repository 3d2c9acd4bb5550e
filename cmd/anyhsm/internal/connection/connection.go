// Package connection finds the daemon and speaks to it: one gRPC connection, errors that name the cause and the next
// step, and retries that keep the request's id.
package connection

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/anyhsm/anyhsm/internal/wire"
)

const connectTimeout = 5 * time.Second

// Connection is a connection to a daemon that was there a moment ago.
type Connection struct {
	*grpc.ClientConn
	Target Target
}

// Open connects to the first target that answers.
func Open(ctx context.Context, options Options) (*Connection, error) {
	targets, err := options.Targets()
	if err != nil {
		return nil, err
	}
	return OpenFirst(ctx, targets)
}

// OpenFirst connects to the first of the targets that answers.
func OpenFirst(ctx context.Context, targets []Target) (*Connection, error) {
	var failures []error
	for _, target := range targets {
		connection, err := target.Open(ctx)
		if err == nil {
			return connection, nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

// Open connects to the target. That nobody is there is found out here and not at the first call.
func (t Target) Open(ctx context.Context) (*Connection, error) {
	if t.network == "unix" {
		return t.open(ctx, insecure.NewCredentials())
	}
	config, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	return t.open(ctx, credentials.NewTLS(config))
}

// OpenPinned connects over TCP without a certificate of one's own; config says by what the daemon at a host is known.
func OpenPinned(ctx context.Context, endpoint string, config func(host string) *tls.Config) (*Connection, error) {
	target, err := parse(endpoint, FilesIn(""))
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(target.address)
	return target.open(ctx, credentials.NewTLS(config(host)))
}

func (t Target) open(ctx context.Context, security credentials.TransportCredentials) (*Connection, error) {
	first, err := t.dial(ctx)
	if err != nil {
		return nil, t.unreachable(err)
	}
	// The connection that proved the daemon to be there becomes the first of gRPC's.
	var take sync.Once
	dialer := func(ctx context.Context, _ string) (connection net.Conn, err error) {
		take.Do(func() { connection = first })
		if connection != nil {
			return connection, nil
		}
		return t.dial(ctx)
	}
	channel, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(dialer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: connectTimeout,
		}),
		grpc.WithUnaryInterceptor(t.call),
		grpc.WithStreamInterceptor(t.stream),
	)
	if err != nil {
		_ = first.Close()
		return nil, err
	}
	return &Connection{ClientConn: channel, Target: t}, nil
}

func (t Target) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTimeout}
	return dialer.DialContext(ctx, t.network, t.address)
}
