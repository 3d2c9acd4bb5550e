package daemonclient

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/grpcwire"
	"github.com/anyhsm/anyhsm/internal/version"
	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
)

// connectTimeout is how long a connection may take before the next endpoint gets its turn.
const connectTimeout = 3 * time.Second

// lazy is a channel that is made at the first call: ours, or grpc-go's as the reference.
type lazy struct {
	endpoint  string
	tls       config.TLS
	reference bool

	mu     sync.Mutex
	conn   connection
	closed bool
	// shown are the certificates that conn has shown.
	shown *shown
}

// connection is what both kinds of channel can do.
type connection interface {
	grpc.ClientConnInterface
	Close() error
}

// Name returns the endpoint.
func (l *lazy) Name() string { return l.endpoint }

// Invoke makes a call on this endpoint. A connection can outlive the certificate that it was made with: a daemon that
// does not take it any more is called again with the one that has taken its place, if there is one.
func (l *lazy) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	conn, err := l.dial()
	if err != nil {
		return err
	}
	err = conn.Invoke(ctx, method, request, reply, options...)
	if status.Code(err) != codes.Unauthenticated || !l.renew(conn) {
		return err
	}
	if conn, err = l.dial(); err != nil {
		return err
	}
	return conn.Invoke(ctx, method, request, reply, options...)
}

// renew closes connections that were made with another certificate than the one on disk, and tells whether there were
// any. What else runs on them is repeated by whoever called.
func (l *lazy) renew(conn connection) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return true // somebody else has done it
	}
	if l.shown == nil || !l.shown.old(l.tls.Certificate) {
		return false
	}
	l.conn = nil
	_ = conn.Close()
	return true
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
	if reference, ok := l.conn.(*grpc.ClientConn); ok {
		reference.ResetConnectBackoff()
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

func (l *lazy) dial() (connection, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed()
	}
	if l.conn != nil {
		return l.conn, nil
	}
	network, address, _ := strings.Cut(l.endpoint, "://")
	var security credentials.TransportCredentials
	authority := "localhost"
	if network == "tcp" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fault.New(fault.ArgumentsBad, "endpoint %s has no host and port; write tcp://host:7512", l.endpoint)
		}
		authority = host
		l.shown = &shown{}
		security = &mutualTLS{files: l.tls, server: host, shown: l.shown}
	}
	dial := func(ctx context.Context) (net.Conn, error) { return open(ctx, network, address) }
	// Neither does I/O; the dial comes with the first call.
	if !l.reference {
		grpcwire.AdmitThreads()
		l.conn = grpcwire.NewClient(grpcwire.ClientOptions{
			Dial: dial, Credentials: security, Authority: authority, UserAgent: userAgent, ConnectTimeout: connectTimeout,
			Opened: SocketOpened, Closing: SocketClosed,
			Metadata: metadata.Pairs(wire.ProtocolHeader, wire.Protocol), MaxReceive: wire.MaxMessage, MaxSend: wire.MaxMessage,
		})
		return l.conn, nil
	}
	conn, err := l.dialReference(dial, security, address, authority)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	return conn, nil
}

// speak says with each call of the reference which version of the protocol it speaks.
func speak(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol), method, request, reply, conn, options...)
}

// userAgent is what the daemon sees of the module.
var userAgent = "anyhsm-module/" + version.Version

func (l *lazy) dialReference(
	dial func(ctx context.Context) (net.Conn, error), security credentials.TransportCredentials, address, authority string,
) (*grpc.ClientConn, error) {
	if security == nil {
		security = insecure.NewCredentials()
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithAuthority(authority),
		grpc.WithUserAgent(userAgent),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage), grpc.MaxCallSendMsgSize(wire.MaxMessage)),
		grpc.WithUnaryInterceptor(speak),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
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
	return conn, nil
}
