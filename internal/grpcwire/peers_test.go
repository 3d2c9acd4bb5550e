package grpcwire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// service echoes what it is given, unless a test wants something else.
type service struct {
	anyhsmv1.UnimplementedCryptoServiceServer
	mu     sync.Mutex
	answer func(ctx context.Context, r *anyhsmv1.SignRequest) error
	// header and peer are the last call's.
	header metadata.MD
	peer   *peer.Peer
}

func (s *service) Sign(ctx context.Context, r *anyhsmv1.SignRequest) (*anyhsmv1.SignResponse, error) {
	s.mu.Lock()
	answer := s.answer
	s.header, _ = metadata.FromIncomingContext(ctx)
	s.peer, _ = peer.FromContext(ctx)
	s.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, r); err != nil {
			return nil, err
		}
	}
	return &anyhsmv1.SignResponse{Signature: r.GetData()}, nil
}

func (s *service) set(answer func(ctx context.Context, r *anyhsmv1.SignRequest) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *service) seen() (metadata.MD, *peer.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.header, s.peer
}

// stopper is what both servers can do.
type stopper interface {
	grpc.ServiceRegistrar
	Serve(net.Listener) error
	Stop()
	GracefulStop()
}

// network is how the two ends are connected.
type network struct {
	name, kind string
	server     credentials.TransportCredentials
	client     credentials.TransportCredentials
}

func networks(t *testing.T) []network {
	t.Helper()
	server, client := certificates(t)
	return []network{{name: "unix", kind: "unix"}, {"tls", "tcp", credentials.NewTLS(server), credentials.NewTLS(client)}}
}

func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "both"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: own, RootCAs: pool, ServerName: "localhost"}
	return server, client
}

const testLimit = 64 << 20

// startServer starts one of the two servers; address is where it listens.
func startServer(t *testing.T, over network, ours bool, s *service, options ServerOptions) (server stopper, address string) {
	t.Helper()
	options.Credentials, options.MaxReceive = over.server, testLimit
	if ours {
		server = NewServer(options)
	} else {
		o := []grpc.ServerOption{grpc.MaxRecvMsgSize(testLimit), grpc.ChainUnaryInterceptor(options.Unary...), grpc.ChainStreamInterceptor(options.Stream...)}
		if over.server != nil {
			o = append(o, grpc.Creds(over.server))
		}
		server = grpc.NewServer(o...)
	}
	anyhsmv1.RegisterCryptoServiceServer(server, s)
	healthv1.RegisterHealthServer(server, health.NewServer())
	where := "127.0.0.1:0"
	if over.kind == "unix" {
		dir, err := os.MkdirTemp("", "grpcwire")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		where = filepath.Join(dir, "s")
	}
	listener, err := net.Listen(over.kind, where)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		// A test may be over before Serve begins.
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	return server, listener.Addr().String()
}

// connection is what both clients can do.
type connection interface {
	grpc.ClientConnInterface
	Close() error
}

func startClient(t *testing.T, over network, ours bool, address string) connection {
	t.Helper()
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, over.kind, address)
	}
	var c connection
	if ours {
		c = NewClient(ClientOptions{Dial: dial, Credentials: over.client, Authority: "localhost", UserAgent: "test"})
	} else {
		security := over.client
		if security == nil {
			security = insecure.NewCredentials()
		}
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(security), grpc.WithAuthority("localhost"),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(testLimit)))
		if err != nil {
			t.Fatal(err)
		}
		c = conn
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// pair is a client and a server, of which at least one is ours.
type pair struct {
	network
	client  connection
	crypto  anyhsmv1.CryptoServiceClient
	server  stopper
	service *service
	// oursServes and oursCalls say which ends are ours.
	oursServes, oursCalls bool
	address               string
}

// pairs runs a test on all combinations: ours with ours and with grpc-go, over a Unix socket and TLS.
func pairs(t *testing.T, options ServerOptions, test func(t *testing.T, p pair)) {
	t.Helper()
	for _, over := range networks(t) {
		for _, ends := range []struct {
			name           string
			client, server bool
		}{{"both ours", true, true}, {"our client", true, false}, {"our server", false, true}} {
			t.Run(over.name+", "+ends.name, func(t *testing.T) {
				s := &service{}
				server, address := startServer(t, over, ends.server, s, options)
				client := startClient(t, over, ends.client, address)
				test(t, pair{
					network: over, client: client, crypto: anyhsmv1.NewCryptoServiceClient(client), server: server, service: s,
					oursServes: ends.server, oursCalls: ends.client, address: address,
				})
			})
		}
	}
}

// sign makes a call that comes back with its data.
func (p pair) sign(t *testing.T, data []byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	answer, err := p.crypto.Sign(ctx, &anyhsmv1.SignRequest{Data: data}, grpc.MaxCallRecvMsgSize(testLimit), grpc.MaxCallSendMsgSize(testLimit))
	if err == nil && string(answer.GetSignature()) != string(data) {
		t.Errorf("%d bytes came back as %d", len(data), len(answer.GetSignature()))
	}
	return err
}

func wantCode(t *testing.T, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("the error is %v, expected %v", err, code)
	}
}
