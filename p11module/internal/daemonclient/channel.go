package daemonclient

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/version"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

// connectTimeout is how long a connection may take before the next endpoint gets its turn.
const connectTimeout = 3 * time.Second

// lazy is a grpc-go channel that is made at the first call.
type lazy struct {
	endpoint string
	tls      config.TLS

	mu     sync.Mutex
	conn   *grpc.ClientConn
	closed bool
}

// Name returns the endpoint.
func (l *lazy) Name() string { return l.endpoint }

// Invoke makes a call on this endpoint.
func (l *lazy) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	conn, err := l.dial()
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, request, reply, options...)
}

// NewStream makes a stream on this endpoint.
func (l *lazy) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := l.dial()
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, d, method, options...)
}

// Hurry ends gRPC's own pause after a failed dial: Invoke has made its own.
func (l *lazy) Hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.ResetConnectBackoff()
	}
}

// Close closes the connection.
func (l *lazy) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn == nil {
		return nil
	}
	return l.conn.Close()
}

func (l *lazy) dial() (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed()
	}
	if l.conn != nil {
		return l.conn, nil
	}
	network, address, _ := strings.Cut(l.endpoint, "://")
	security := insecure.NewCredentials()
	authority := "localhost"
	if network == "tcp" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fault.New(fault.ArgumentsBad, "endpoint %s has no host and port; write tcp://host:7512", l.endpoint)
		}
		authority = host
		security = credentials.TransportCredentials(&mutualTLS{files: l.tls, server: host})
	}
	// NewClient does no I/O; the dial comes with the first call.
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithAuthority(authority),
		grpc.WithUserAgent("anyhsm-module/"+version.Version),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return open(ctx, network, address)
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.2, MaxDelay: lastPause},
			MinConnectTimeout: connectTimeout,
		}),
	)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "endpoint %s cannot be used; check the configuration: %w", l.endpoint, err)
	}
	l.conn = conn
	return conn, nil
}
