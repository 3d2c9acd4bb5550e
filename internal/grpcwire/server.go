package grpcwire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// ServerOptions say how a server serves.
type ServerOptions struct {
	// Credentials make a connection secure and say who the peer is; nil where neither is needed.
	Credentials credentials.TransportCredentials
	// MaxReceive and MaxSend are the longest messages; 4 MiB and no limit if 0.
	MaxReceive, MaxSend int
	// MaxStreams is how many calls a connection may have at once; 1024 if 0.
	MaxStreams int
	// Unary and Stream are the interceptors, from the outermost.
	Unary  []grpc.UnaryServerInterceptor
	Stream []grpc.StreamServerInterceptor
}

const (
	defaultStreams = 1024
	// blockedReaders is how many connections may hold a thread while they wait for the next call.
	blockedReaders = 64
)

// Server serves the services that are registered. It serves unary calls and calls with a stream of answers.
type Server struct {
	options  ServerOptions
	methods  map[string]*method
	services map[string]bool
	held     *threads
	overseer overseer
	// unary is the chain of interceptors as one.
	unary     grpc.UnaryServerInterceptor
	context   context.Context
	cancel    context.CancelFunc
	mu        sync.Mutex
	listeners []net.Listener
	conns     map[*serverConn]struct{}
	// ending and ended are set by GracefulStop and Stop.
	ending, ended bool
	// work counts connections and handlers.
	work sync.WaitGroup
}

// method is what a path leads to.
type method struct {
	service any
	unary   grpc.MethodHandler
	info    *grpc.UnaryServerInfo
	stream  grpc.StreamHandler
	about   *grpc.StreamServerInfo
}

// NewServer makes a server. Register services, then Serve.
func NewServer(options ServerOptions) *Server {
	if options.MaxReceive == 0 {
		options.MaxReceive = defaultMessage
	}
	if options.MaxSend == 0 {
		options.MaxSend = maxWindow
	}
	if options.MaxStreams == 0 {
		options.MaxStreams = defaultStreams
	}
	s := &Server{
		options: options, methods: map[string]*method{}, services: map[string]bool{}, conns: map[*serverConn]struct{}{},
		held: &threads{limit: blockedReaders},
	}
	s.unary = s.intercept()
	s.context, s.cancel = context.WithCancel(context.Background())
	return s
}

// RegisterService implements grpc.ServiceRegistrar. It panics on a method whose client streams, as none of ours does.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, service any) {
	s.services[desc.ServiceName] = true
	for _, m := range desc.Methods {
		path := "/" + desc.ServiceName + "/" + m.MethodName
		s.methods[path] = &method{service: service, unary: m.Handler, info: &grpc.UnaryServerInfo{Server: service, FullMethod: path}}
	}
	for _, m := range desc.Streams {
		path := "/" + desc.ServiceName + "/" + m.StreamName
		if m.ClientStreams {
			panic(fmt.Sprintf("grpcwire: %s streams from the client, which this server does not serve", path))
		}
		s.methods[path] = &method{
			service: service, stream: m.Handler,
			about: &grpc.StreamServerInfo{FullMethod: path, IsServerStream: true},
		}
	}
}

// intercept is the chain of unary interceptors as one.
func (s *Server) intercept() grpc.UnaryServerInterceptor {
	chain := s.options.Unary
	if len(chain) == 0 {
		return nil
	}
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		for i := len(chain) - 1; i > 0; i-- {
			interceptor, inner := chain[i], handler
			handler = func(ctx context.Context, request any) (any, error) { return interceptor(ctx, request, info, inner) }
		}
		return chain[0](ctx, request, info, handler)
	}
}

// runStream runs a streaming handler through its interceptors.
func (s *Server) runStream(m *method, stream grpc.ServerStream) error {
	handler := m.stream
	for _, interceptor := range slices.Backward(s.options.Stream) {
		inner := handler
		handler = func(service any, stream grpc.ServerStream) error { return interceptor(service, stream, m.about, inner) }
	}
	return handler(m.service, stream)
}

// Serve accepts connections until the listener fails, which it returns, or the server is stopped: then it returns nil.
func (s *Server) Serve(listener net.Listener) error {
	s.mu.Lock()
	if s.ending || s.ended {
		s.mu.Unlock()
		_ = listener.Close()
		return grpc.ErrServerStopped
	}
	s.listeners = append(s.listeners, listener)
	s.mu.Unlock()
	defer func() { _ = listener.Close() }()
	var pause time.Duration
	for {
		conn, err := listener.Accept()
		switch passes, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); {
		case err == nil:
			pause = 0
			s.admit(conn)
		case s.stopping():
			return nil
		case ok && passes.Temporary():
			// As when there are no descriptors left.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			time.Sleep(pause)
		default:
			return err
		}
	}
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending || s.ended
}

func (s *Server) admit(conn net.Conn) {
	c := newServerConn(s, conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.ended {
		_ = conn.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		c.serve()
	}()
}

// dismiss forgets a connection that has ended.
func (s *Server) dismiss(c *serverConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Stop ends all connections and cancels their calls. It returns when their handlers have.
func (s *Server) Stop() {
	s.mu.Lock()
	s.ended = true
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
	for c := range s.conns {
		c.kill()
	}
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	s.overseer.stop()
}

// GracefulStop takes no new calls, lets those in flight finish, and returns when all connections have ended.
func (s *Server) GracefulStop() {
	s.mu.Lock()
	s.ending = true
	for _, listener := range s.listeners {
		_ = listener.Close()
	}
	conns := make([]*serverConn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		go c.leave()
	}
	s.work.Wait()
	s.overseer.stop()
}
