package connection

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// daemon answers CreateToken with the errors that it was given, one after the other, then well.
type daemon struct {
	anyhsmv1.UnimplementedTokenAdminServiceServer
	anyhsmv1.UnimplementedEnrollmentServiceServer
	mutex     sync.Mutex
	errors    []error
	ids       []string
	protocols []string
	delay     time.Duration
}

func (d *daemon) CreateToken(ctx context.Context, r *anyhsmv1.CreateTokenRequest) (*anyhsmv1.CreateTokenResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.ids = append(d.ids, r.GetRequestId())
	m, _ := metadata.FromIncomingContext(ctx)
	d.protocols = append(d.protocols, strings.Join(m.Get(wire.ProtocolHeader), ","))
	time.Sleep(d.delay)
	if len(d.errors) > 0 {
		err := d.errors[0]
		d.errors = d.errors[1:]
		return nil, err
	}
	return &anyhsmv1.CreateTokenResponse{}, nil
}

func (d *daemon) Enroll(context.Context, *anyhsmv1.EnrollRequest) (*anyhsmv1.EnrollResponse, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.ids = append(d.ids, "enroll")
	return nil, status.Error(codes.Unavailable, "connection lost")
}

func serve(t *testing.T, d *daemon) *Connection {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	anyhsmv1.RegisterTokenAdminServiceServer(server, d)
	anyhsmv1.RegisterEnrollmentServiceServer(server, d)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := Open(t.Context(), Options{Socket: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func TestRetryKeepsRequestID(t *testing.T) {
	lost := status.Error(codes.Unavailable, "connection lost")
	d := &daemon{errors: []error{lost, lost}}
	c := serve(t, d)
	_, err := anyhsmv1.NewTokenAdminServiceClient(c).CreateToken(t.Context(), &anyhsmv1.CreateTokenRequest{RequestId: "one"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.ids, " "); got != "one one one" {
		t.Errorf("request ids %q", got)
	}
	if got := strings.Join(d.protocols, " "); got != wire.Protocol+" "+wire.Protocol+" "+wire.Protocol {
		t.Errorf("protocols %q", got)
	}
}

func TestAnswersAreNotRepeated(t *testing.T) {
	for name, answer := range map[string]error{
		"unavailable provider": wire.StatusFromError(fault.New(fault.DeviceError, "the HSM is gone; plug it in")),
		"not found":            wire.StatusFromError(fault.New(fault.NotFound, "there is no token; make one")),
		"bare":                 status.Error(codes.Internal, "bare"),
	} {
		d := &daemon{errors: []error{answer}}
		_, err := anyhsmv1.NewTokenAdminServiceClient(serve(t, d)).CreateToken(t.Context(), &anyhsmv1.CreateTokenRequest{RequestId: "one"})
		if err == nil || len(d.ids) != 1 {
			t.Errorf("%s: %d calls, %v", name, len(d.ids), err)
		}
	}
}

func TestFaultKeepsItsSentence(t *testing.T) {
	want := fault.New(fault.NotFound, "there is no token; make one")
	d := &daemon{errors: []error{wire.StatusFromError(want)}}
	_, err := anyhsmv1.NewTokenAdminServiceClient(serve(t, d)).CreateToken(t.Context(), &anyhsmv1.CreateTokenRequest{})
	if err == nil || err.Error() != want.Message || !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

func TestEnrollIsSentOnce(t *testing.T) {
	d := &daemon{}
	_, err := anyhsmv1.NewEnrollmentServiceClient(serve(t, d)).Enroll(t.Context(), &anyhsmv1.EnrollRequest{})
	if err == nil || len(d.ids) != 1 {
		t.Errorf("%d calls, %v", len(d.ids), err)
	}
}

func TestDeadline(t *testing.T) {
	d := &daemon{delay: 300 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := anyhsmv1.NewTokenAdminServiceClient(serve(t, d)).CreateToken(ctx, &anyhsmv1.CreateTokenRequest{})
	if !fault.Is(err, fault.DeadlineExceeded) || !strings.Contains(err.Error(), "--timeout") {
		t.Errorf("%v", err)
	}
}

func TestUnknownMethod(t *testing.T) {
	_, err := anyhsmv1.NewAuditServiceClient(serve(t, &daemon{})).VerifyChain(t.Context(), &anyhsmv1.VerifyChainRequest{})
	if !fault.Is(err, fault.VersionMismatch) {
		t.Errorf("%v", err)
	}
}
