// Package server is everything between a socket and a service: listeners, interceptors, health, metrics and the
// graceful end. Services are registered through grpc.ServiceRegistrar, so that the channel underneath can change.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/memo"
	"github.com/anyhsm/anyhsm/internal/grpcwire"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// Options say how a server is made. Empty addresses mean no such listener.
type Options struct {
	Unix, TCP, Metrics string
	// TLS is for the TCP listener.
	TLS *tls.Config
	// Directory tells whose identities are known.
	Directory authn.Directory
	// Health tells whether the daemon can serve; nil means that it always can.
	Health func(ctx context.Context) error
	// Grace is how long calls in flight may take once the server stops; 10 seconds if 0.
	Grace time.Duration
	// Transport is "grpc-go" for its server instead of ours.
	Transport string
	Logger    *slog.Logger
}

// Server is the daemon's server.
type Server struct {
	options Options
	grpc    transport
	health  *health.Server
	metrics *Metrics
	http    *http.Server

	listeners []net.Listener
	monitor   net.Listener
	unlock    func()
	// draining is closed when the server begins to end.
	draining chan struct{}
}

// transport is what speaks gRPC: ours, or grpc-go's.
type transport interface {
	grpc.ServiceRegistrar
	Serve(listener net.Listener) error
	Stop()
	GracefulStop()
}

// How often the health check runs, and how long it may take.
const (
	healthInterval = 10 * time.Second
	healthTimeout  = 5 * time.Second
	defaultGrace   = 10 * time.Second
	// maxStreams is how many calls one connection may have at once.
	maxStreams = 1024
)

// New makes a server. Register services, then Listen, then Serve.
func New(options Options) *Server {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Grace == 0 {
		options.Grace = defaultGrace
	}
	s := &Server{options: options, metrics: newMetrics(), health: health.NewServer(), draining: make(chan struct{})}
	c := chain{options: options, metrics: s.metrics, draining: s.draining, refused: memo.New[time.Time](maxRefused)}
	s.grpc = newTransport(options, c)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	return s
}

func newTransport(options Options, c chain) transport {
	if options.Transport != "grpc-go" {
		grpcwire.AdmitThreads()
		return grpcwire.NewServer(grpcwire.ServerOptions{
			Credentials: authn.NewCredentials(options.TLS),
			MaxReceive:  wire.MaxMessage,
			MaxSend:     wire.MaxMessage,
			MaxStreams:  maxStreams,
			Unary:       []grpc.UnaryServerInterceptor{c.unary},
			Stream:      []grpc.StreamServerInterceptor{c.stream},
		})
	}
	return grpc.NewServer(
		grpc.Creds(authn.NewCredentials(options.TLS)),
		grpc.MaxRecvMsgSize(wire.MaxMessage),
		grpc.MaxSendMsgSize(wire.MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		// Handlers use the store: Stop must not return before they have.
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.UnaryInterceptor(c.unary),
		grpc.StreamInterceptor(c.stream),
	)
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

// Metrics returns the server's metrics, to add gauges to.
func (s *Server) Metrics() *Metrics { return s.metrics }

// Draining returns a channel that is closed when the server begins to end: calls that only wait answer then.
func (s *Server) Draining() <-chan struct{} { return s.draining }

// Addresses returns where the server listens, as unix:///path and tcp://host:port.
func (s *Server) Addresses() []string {
	var addresses []string
	for _, l := range s.listeners {
		if l.Addr().Network() == "unix" {
			addresses = append(addresses, "unix://"+l.Addr().String())
		} else {
			addresses = append(addresses, "tcp://"+l.Addr().String())
		}
	}
	return addresses
}

// MetricsAddress returns where /metrics and /healthz are, empty if nowhere.
func (s *Server) MetricsAddress() string {
	if s.monitor == nil {
		return ""
	}
	return s.monitor.Addr().String()
}

// Listen opens all listeners. After an error none is open.
func (s *Server) Listen() (err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.options.Unix != "" {
		listener, unlock, err := listenUnix(s.options.Unix)
		if err != nil {
			return err
		}
		s.unlock = unlock
		s.listeners = append(s.listeners, listener)
	}
	if s.options.TCP != "" {
		if s.options.TLS == nil {
			return errors.New("server: a TCP listener needs TLS")
		}
		listener, err := net.Listen("tcp", s.options.TCP)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w; free the address or change listen.tcp", s.options.TCP, err)
		}
		s.listeners = append(s.listeners, listener)
	}
	if s.options.Metrics != "" {
		listener, err := net.Listen("tcp", s.options.Metrics)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w; free the address or change listen.metrics", s.options.Metrics, err)
		}
		s.monitor = listener
	}
	return nil
}

// close closes listeners that nobody serves yet.
func (s *Server) close() {
	for _, l := range s.listeners {
		_ = l.Close()
	}
	if s.monitor != nil {
		_ = s.monitor.Close()
	}
	s.release()
}

func (s *Server) release() {
	if s.unlock != nil {
		s.unlock()
		s.unlock = nil
	}
}

// Serve serves until the context ends, then lets the calls in flight finish, for Options.Grace at most. It returns an
// error if a listener fails before.
func (s *Server) Serve(ctx context.Context) error {
	defer s.release()
	failed := make(chan error, len(s.listeners)+1)
	for _, l := range s.listeners {
		go func() { failed <- s.grpc.Serve(l) }()
	}
	if s.monitor != nil {
		s.http = s.monitoring()
		go func() {
			if err := s.http.Serve(s.monitor); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go s.watch(watching)

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("a listener failed: %w; restart the daemon", err)
	}
	s.end()
	return err
}

// end stops the server gracefully, and after the grace ungracefully.
func (s *Server) end() {
	s.health.Shutdown()
	close(s.draining)
	deadline := time.NewTimer(s.options.Grace)
	defer deadline.Stop()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-deadline.C:
		s.options.Logger.Warn("calls are still in flight after the grace; ending them", "grace", s.options.Grace)
		stopped := make(chan struct{})
		go func() {
			s.grpc.Stop()
			close(stopped)
		}()
		// Stop cancels the calls' contexts and waits for the handlers; one that does not look at its context cannot
		// keep the daemon alive.
		select {
		case <-stopped:
		case <-time.After(healthTimeout):
			s.options.Logger.Error("a call does not end; leaving it behind")
		}
	}
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.http.Shutdown(ctx)
	}
}

// watch keeps the standard health service's answer current.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	healthy := true
	for {
		err := s.check(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err == nil) != healthy {
			healthy = err == nil
			state := healthv1.HealthCheckResponse_SERVING
			if healthy {
				s.options.Logger.Info("the daemon is healthy again")
			} else {
				state = healthv1.HealthCheckResponse_NOT_SERVING
				s.options.Logger.Error("the daemon is not healthy", "error", err)
			}
			s.health.SetServingStatus("", state)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Server) check(ctx context.Context) error {
	if s.options.Health == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return s.options.Health(ctx)
}
