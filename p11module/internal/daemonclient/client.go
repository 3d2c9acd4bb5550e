// Package daemonclient speaks to the daemon: one call with one deadline, retried over the endpoints until it is
// answered or the time is up. Callers use the generated stubs, which know only grpc.ClientConnInterface, so that the
// channel underneath can be another one.
package daemonclient

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/grpclog"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/grpcwire"
	"github.com/anyhsm/anyhsm/p11module/internal/config"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func init() {
	// gRPC writes errors to the standard error unless told otherwise, and that belongs to the host.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}

// Client is the connection to the daemon and its replicas. Nothing is dialled before the first call.
type Client struct {
	// Tokens answers for slots, tokens and logins.
	Tokens anyhsmv1.TokenServiceClient
	// Objects answers for objects.
	Objects anyhsmv1.ObjectServiceClient
	// Crypto uses keys.
	Crypto anyhsmv1.CryptoServiceClient

	timeout   time.Duration
	log       *slog.Logger
	endpoints []*endpoint
	// quiet is how long a call may be under way before the endpoint is asked whether it is well.
	quiet     time.Duration
	connected atomic.Bool

	ctx   context.Context
	stop  context.CancelFunc
	calls sync.WaitGroup
	mu    sync.Mutex
	ended bool
}

// channel is a connection to one endpoint.
type channel interface {
	grpc.ClientConnInterface
	// Name is the endpoint as it was configured.
	Name() string
	// Hurry makes the next call dial at once if the last dial failed.
	Hurry()
	Close() error
}

// New makes a client of a checked configuration. It does no I/O.
func New(c config.Config, log *slog.Logger) (*Client, error) {
	channels := make([]channel, len(c.Endpoints))
	for i, endpoint := range c.Endpoints {
		channels[i] = &lazy{endpoint: endpoint, tls: c.TLS, reference: c.Transport == "grpc-go"}
	}
	return over(channels, c.Timeout, log), nil
}

func over(channels []channel, timeout time.Duration, log *slog.Logger) *Client {
	c := &Client{endpoints: spread(channels), timeout: timeout, quiet: max(timeout/quietShare, leastQuiet), log: log}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.Tokens = anyhsmv1.NewTokenServiceClient(c)
	c.Objects = anyhsmv1.NewObjectServiceClient(c)
	c.Crypto = anyhsmv1.NewCryptoServiceClient(c)
	return c
}

// Call returns the context of one C_ call: its deadline holds for all that the call asks of the daemon.
func (c *Client) Call() (context.Context, context.CancelFunc) {
	return grpcwire.WithDeadline(c.ctx, time.Now().Add(c.timeout))
}

// Timeout is the deadline of one C_ call.
func (c *Client) Timeout() time.Duration { return c.timeout }

// Connected tells whether the daemon has ever answered.
func (c *Client) Connected() bool { return c.connected.Load() }

// Log is where the module logs.
func (c *Client) Log() *slog.Logger { return c.log }

// After runs do once after a while unless the client is closed first; the returned function calls it off. Close waits
// for a `do` that runs.
func (c *Client) After(wait time.Duration, do func(context.Context)) (cancel func() bool) {
	timer := time.AfterFunc(wait, func() {
		if !c.enter() {
			return
		}
		defer c.calls.Done()
		ctx, cancel := c.Call()
		defer cancel()
		do(ctx)
	})
	return timer.Stop
}

// Close ends calls that run and closes the connections.
func (c *Client) Close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.stop()
	for _, endpoint := range c.endpoints {
		_ = endpoint.Close()
	}
	c.calls.Wait()
}

// enter counts a call in, unless the client is closed.
func (c *Client) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.calls.Add(1)
	return true
}

// errClosed is what a call gets that C_Finalize overtook.
func errClosed() error {
	return fault.New(fault.CryptokiNotInitialized, "C_Finalize ended the call; call C_Initialize again")
}
