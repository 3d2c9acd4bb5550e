package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// service answers with what a test wants.
type service struct {
	anyhsmv1.UnimplementedTokenServiceServer
	anyhsmv1.UnimplementedEnrollmentServiceServer
	anyhsmv1.UnimplementedCryptoServiceServer
	answer func(ctx context.Context) error
}

func (s *service) ListSlots(ctx context.Context, _ *anyhsmv1.ListSlotsRequest) (*anyhsmv1.ListSlotsResponse, error) {
	// The version field tells the test who the server thinks calls.
	return &anyhsmv1.ListSlotsResponse{DaemonVersion: authn.FromContext(ctx).String()}, s.answer(ctx)
}

func (s *service) Enroll(ctx context.Context, _ *anyhsmv1.EnrollRequest) (*anyhsmv1.EnrollResponse, error) {
	return &anyhsmv1.EnrollResponse{Application: authn.FromContext(ctx).String()}, nil
}

func (s *service) Sign(ctx context.Context, _ *anyhsmv1.SignRequest) (*anyhsmv1.SignResponse, error) {
	return &anyhsmv1.SignResponse{}, s.answer(ctx)
}

// directory is whose identities are known; tests change it while the server runs.
type directory struct {
	mu    sync.Mutex
	known map[string]string
}

func (d *directory) Resolve(identity string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[identity], false
}

func (d *directory) set(identity, application string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if application == "" {
		delete(d.known, identity)
	} else {
		d.known[identity] = application
	}
}

type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type fixture struct {
	*Server
	service   *service
	directory *directory
	authority *authn.Authority
	log       *log
	socket    string
	// stop asks the server to end, done has what Serve returned.
	stop func()
	done chan error
}

type memory map[string][]byte

func (m memory) Meta(_ context.Context, key string) ([]byte, error) { return m[key], nil }

func (m memory) InitMeta(_ context.Context, key string, value []byte) ([]byte, error) {
	m[key] = value
	return value, nil
}

func newAuthority(t *testing.T) *authn.Authority {
	t.Helper()
	root, err := seal.NewRoot(slices.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := authn.OpenAuthority(t.Context(), memory{}, root)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func start(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{
		service:   &service{answer: func(context.Context) error { return nil }},
		directory: &directory{known: map[string]string{}}, log: &log{}, authority: newAuthority(t),
		socket: filepath.Join(t.TempDir(), "run", "a.sock"), done: make(chan error, 1),
	}
	certificate := authn.NewServerCertificate(f.authority, []string{"127.0.0.1"})
	options := Options{
		Unix: f.socket, TCP: "127.0.0.1:0", Metrics: "127.0.0.1:0", Grace: 2 * time.Second, Transport: underTest,
		TLS: authn.TLSConfig(f.authority, certificate), Directory: f.directory,
		Logger: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&options)
	}
	f.Server = New(options)
	anyhsmv1.RegisterTokenServiceServer(f.Server, f.service)
	anyhsmv1.RegisterEnrollmentServiceServer(f.Server, f.service)
	anyhsmv1.RegisterCryptoServiceServer(f.Server, f.service)
	if err := f.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go func() {
		f.done <- f.Serve(ctx)
		close(f.done)
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
	})
	return f
}

func dial(t *testing.T, target string, security credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(2*wire.MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func (f *fixture) unix(t *testing.T) *grpc.ClientConn {
	return dial(t, "unix://"+f.socket, insecure.NewCredentials())
}

// tcp dials with TLS; certificate may be nil.
func (f *fixture) tcp(t *testing.T, certificate *tls.Certificate, change func(*tls.Config)) *grpc.ClientConn {
	t.Helper()
	config := &tls.Config{RootCAs: f.authority.Pool(), MinVersion: tls.VersionTLS12}
	if certificate != nil {
		// Sent whether the server lists its issuer or not.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	if change != nil {
		change(config)
	}
	address := strings.TrimPrefix(f.Addresses()[1], "tcp://")
	return dial(t, address, credentials.NewTLS(config))
}

func enroll(t *testing.T, authority *authn.Authority, name string) (*tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.SignApplication(name, request)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, authn.IdentityOfKey(leaf.RawSubjectPublicKeyInfo)
}

func outgoing(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
}

func slots(ctx context.Context, connection grpc.ClientConnInterface) (string, error) {
	response, err := anyhsmv1.NewTokenServiceClient(connection).ListSlots(ctx, &anyhsmv1.ListSlotsRequest{})
	return response.GetDaemonVersion(), err
}

// wants fails unless err is a fault of the kind whose sentence holds the words.
func wants(t *testing.T, err error, kind fault.Kind, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", words)
	}
	f := fault.From(wire.ErrorFromStatus(err))
	if f.Kind != kind || !strings.Contains(f.Message, words) {
		t.Errorf("error of kind %d: %q; want kind %d with %q", f.Kind, f.Message, kind, words)
	}
}

func TestUnixPeer(t *testing.T) {
	f := start(t, nil)
	own := authn.IdentityOfUID(uint32(os.Getuid()))
	if who, err := slots(outgoing(t), f.unix(t)); err != nil || who != own {
		t.Fatalf("caller = %q, %v", who, err)
	}
	f.directory.set(own, "web")
	if who, err := slots(outgoing(t), f.unix(t)); err != nil || who != "web ("+own+")" {
		t.Errorf("caller = %q, %v", who, err)
	}
	info, err := os.Stat(f.socket)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("socket: %v, %v", info, err)
	}
	if directory, err := os.Stat(filepath.Dir(f.socket)); err != nil || directory.Mode().Perm() != 0o755 {
		t.Errorf("directory: %v, %v", directory, err)
	}
}

func TestMutualTLS(t *testing.T) {
	f := start(t, nil)
	good, identity := enroll(t, f.authority, "web")
	f.directory.set(identity, "web")
	foreign, _ := enroll(t, newAuthority(t), "web")

	connection := f.tcp(t, good, nil)
	if who, err := slots(outgoing(t), connection); err != nil || who != "web ("+identity+")" {
		t.Fatalf("caller = %q, %v", who, err)
	}
	t.Run("TLS 1.2", func(t *testing.T) {
		_, err := slots(outgoing(t), f.tcp(t, good, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("another authority's certificate", func(t *testing.T) {
		if _, err := slots(outgoing(t), f.tcp(t, foreign, nil)); status.Code(err) != codes.Unavailable {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		anonymous := f.tcp(t, nil, nil)
		_, err := slots(outgoing(t), anonymous)
		wants(t, err, fault.Unauthenticated, "anyhsm enroll")
		_, err = anyhsmv1.NewCryptoServiceClient(anonymous).Sign(outgoing(t), &anyhsmv1.SignRequest{})
		wants(t, err, fault.Unauthenticated, "anyhsm enroll")
		// The standard health service needs an identity over TCP as well, in both of its forms.
		_, err = healthv1.NewHealthClient(anonymous).Check(outgoing(t), &healthv1.HealthCheckRequest{})
		wants(t, err, fault.Unauthenticated, "anyhsm enroll")
		watch, err := healthv1.NewHealthClient(anonymous).Watch(outgoing(t), &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = watch.Recv()
		wants(t, err, fault.Unauthenticated, "anyhsm enroll")
		// Only enrolling needs none.
		enrolled, err := anyhsmv1.NewEnrollmentServiceClient(anonymous).Enroll(outgoing(t), &anyhsmv1.EnrollRequest{})
		if err != nil || enrolled.GetApplication() != "nobody" {
			t.Errorf("Enroll = %v, %v", enrolled, err)
		}
	})
	t.Run("no certificate, but much to say", func(t *testing.T) {
		anonymous := anyhsmv1.NewEnrollmentServiceClient(f.tcp(t, nil, nil))
		if _, err := anonymous.Enroll(outgoing(t), &anyhsmv1.EnrollRequest{CertificateRequest: make([]byte, 64<<10)}); err != nil {
			t.Errorf("64 KiB: %v", err)
		}
		if _, err := anonymous.Enroll(outgoing(t), &anyhsmv1.EnrollRequest{CertificateRequest: make([]byte, 1<<20)}); status.Code(err) != codes.Unavailable {
			t.Errorf("1 MiB: %v", err)
		}
	})
	t.Run("plain text", func(t *testing.T) {
		_, err := slots(outgoing(t), dial(t, strings.TrimPrefix(f.Addresses()[1], "tcp://"), insecure.NewCredentials()))
		if status.Code(err) != codes.Unavailable {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("revoked on a living connection", func(t *testing.T) {
		f.directory.set(identity, "")
		_, err := slots(outgoing(t), connection)
		wants(t, err, fault.Unauthenticated, "revoked")
	})
}

func TestProtocolVersion(t *testing.T) {
	f := start(t, nil)
	connection := f.unix(t)
	_, err := slots(t.Context(), connection)
	wants(t, err, fault.VersionMismatch, "does not say which protocol version")
	_, err = slots(metadata.AppendToOutgoingContext(t.Context(), wire.ProtocolHeader, "99"), connection)
	wants(t, err, fault.VersionMismatch, `speaks protocol version "99"`)
	// Health has no version.
	answer, err := healthv1.NewHealthClient(connection).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("health = %v, %v", answer, err)
	}
}

type payload struct{ secret string }

func TestErrorsAndPanics(t *testing.T) {
	f := start(t, nil)
	connection := f.unix(t)
	var text map[string]int
	for _, test := range []struct {
		name   string
		answer func(ctx context.Context) error
		kind   fault.Kind
		words  string
	}{
		{"fault", func(context.Context) error { return fault.New(fault.PINLocked, "locked; unlock it") }, fault.PINLocked, "locked; unlock it"},
		{"CK_RV", func(context.Context) error { return cryptoki.CKR_KEY_SIZE_RANGE }, fault.KeySizeRange, "CKR_KEY_SIZE_RANGE"},
		{"status", func(context.Context) error { return wire.StatusFromError(cryptoki.CKR_PIN_INCORRECT) }, fault.PINIncorrect, ""},
		{"deadline", func(context.Context) error { return context.DeadlineExceeded }, fault.DeadlineExceeded, "raise the timeout"},
		{"runtime panic", func(context.Context) error { text["a"] = 1; return nil }, fault.Internal, "its log has the details"},
		{"own panic", func(context.Context) error { panic("secret-1234") }, fault.Internal, "its log has the details"},
		{"typed panic", func(context.Context) error { panic(payload{"secret-1234"}) }, fault.Internal, "its log has the details"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.service.answer = test.answer
			_, err := slots(outgoing(t), connection)
			wants(t, err, test.kind, test.words)
		})
	}
	logged := f.log.String()
	for _, want := range []string{"assignment to entry in nil map", "panic=string", "server_test.go"} {
		if !strings.Contains(logged, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(logged, "secret-1234") {
		t.Error("the log has what a panic carried")
	}
}

func TestOversizeMessage(t *testing.T) {
	f := start(t, nil)
	client := anyhsmv1.NewCryptoServiceClient(f.unix(t))
	if _, err := client.Sign(outgoing(t), &anyhsmv1.SignRequest{Data: make([]byte, 8<<20)}); err != nil {
		t.Errorf("8 MiB: %v", err)
	}
	_, err := client.Sign(outgoing(t), &anyhsmv1.SignRequest{Data: make([]byte, wire.MaxMessage+1)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error = %v", err)
	}
}

func TestRequestsAreLoggedWithoutPayload(t *testing.T) {
	f := start(t, nil)
	_, err := anyhsmv1.NewCryptoServiceClient(f.unix(t)).Sign(outgoing(t), &anyhsmv1.SignRequest{
		Data: []byte("payload-5678"), Header: &anyhsmv1.CallHeader{Ticket: []byte("ticket-5678")},
	})
	if err != nil {
		t.Fatal(err)
	}
	logged := f.log.String()
	if !strings.Contains(logged, "method=/anyhsm.v1.CryptoService/Sign") || strings.Contains(logged, "5678") {
		t.Errorf("log: %s", logged)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestMetricsAndHealth(t *testing.T) {
	var mu sync.Mutex
	var sick error
	f := start(t, func(o *Options) {
		o.Health = func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			return sick
		}
	})
	f.Metrics().Gauge("anyhsm_test_gauge", "A gauge.", func() float64 { return 42 })
	client := anyhsmv1.NewCryptoServiceClient(f.unix(t))
	for _, mechanism := range []uint64{uint64(cryptoki.CKM_ECDSA), 0xdeadbeef} {
		if _, err := client.Sign(outgoing(t), &anyhsmv1.SignRequest{Mechanism: &anyhsmv1.Mechanism{Type: mechanism}}); err != nil {
			t.Fatal(err)
		}
	}
	base := "http://" + f.MetricsAddress()
	if code, body := get(t, base+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz = %d %q", code, body)
	}
	_, figures := get(t, base+"/metrics")
	for _, want := range []string{
		`anyhsm_rpc_requests_total{code="OK",method="CryptoService/Sign"} 2`,
		`anyhsm_key_uses_total{mechanism="CKM_ECDSA",operation="sign",outcome="ok"} 1`,
		`anyhsm_key_uses_total{mechanism="other",operation="sign",outcome="ok"} 1`,
		`anyhsm_rpc_duration_seconds_count{method="CryptoService/Sign"} 2`,
		"anyhsm_build_info{", "anyhsm_test_gauge 42", "anyhsm_panics_total 0", "go_goroutines",
	} {
		if !strings.Contains(figures, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	mu.Lock()
	sick = errors.New("disk on fire at /secret/path")
	mu.Unlock()
	if code, body := get(t, base+"/healthz"); code != http.StatusServiceUnavailable || strings.Contains(body, "secret") {
		t.Errorf("healthz = %d %q", code, body)
	}
}

func TestGracefulShutdown(t *testing.T) {
	f := start(t, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	f.service.answer = func(context.Context) error {
		close(entered)
		<-release
		return nil
	}
	answered := make(chan error, 1)
	connection, ctx := f.unix(t), outgoing(t)
	go func() {
		_, err := slots(ctx, connection)
		answered <- err
	}()
	<-entered
	f.stop()
	select {
	case <-f.done:
		t.Fatal("the server ended with a call in flight")
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-f.done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := os.Stat(f.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	f := start(t, func(o *Options) { o.Grace = 100 * time.Millisecond })
	entered := make(chan struct{})
	f.service.answer = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	answered := make(chan error, 1)
	connection, ctx := f.unix(t), outgoing(t)
	go func() {
		_, err := slots(ctx, connection)
		answered <- err
	}()
	<-entered
	f.stop()
	select {
	case <-f.done:
	case <-time.After(3 * time.Second):
		t.Fatal("the server does not end")
	}
	if err := <-answered; err == nil {
		t.Error("a call that was cut off got an answer")
	}
}

func TestWatchersDoNotDelayShutdown(t *testing.T) {
	f := start(t, func(o *Options) { o.Grace = 20 * time.Second })
	watch, err := healthv1.NewHealthClient(f.unix(t)).Watch(outgoing(t), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("the first answer: %v, %v", first, err)
	}
	f.stop()
	select {
	case <-f.done:
	case <-time.After(5 * time.Second):
		t.Error("the server waits for a watcher")
	}
}
