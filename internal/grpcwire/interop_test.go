package grpcwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// TestSizes: messages around each limit of frames, buffers and windows come back as they went.
func TestSizes(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		for _, size := range []int{0, 1, 100, 4090, ownFrame - 16, ownFrame, 65530, 65536, 70000, 1 << 20, 5 << 20, 33 << 20} {
			if err := p.sign(t, bytes.Repeat([]byte{byte(size)}, size)); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
	})
}

// TestTooLong: both ends refuse what is too long for them, and go on.
func TestTooLong(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		wantCode(t, p.sign(t, make([]byte, testLimit)), codes.ResourceExhausted)
		_, err := p.crypto.Sign(t.Context(), &anyhsmv1.SignRequest{Data: make([]byte, 5000)}, grpc.MaxCallRecvMsgSize(4999))
		wantCode(t, err, codes.ResourceExhausted)
		_, err = p.crypto.Sign(t.Context(), &anyhsmv1.SignRequest{Data: make([]byte, 5000)}, grpc.MaxCallSendMsgSize(4999))
		wantCode(t, err, codes.ResourceExhausted)
		if err := p.sign(t, []byte("on")); err != nil {
			t.Error(err)
		}
	})
}

// TestMetadata: header, trailer and peer arrive, binary values included, and the protocol's own names stay its own.
func TestMetadata(t *testing.T) {
	binary := string([]byte{0, 1, 255, ','})
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		p.service.set(func(ctx context.Context, _ *anyhsmv1.SignRequest) error {
			return errors.Join(
				grpc.SetHeader(ctx, metadata.Pairs("h", "1", "h", "2", "h-bin", binary)),
				grpc.SetTrailer(ctx, metadata.Pairs("t", "3", "t-bin", binary)),
			)
		})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "a", "x", "a", "y", "b-bin", binary)
		var header, trailer metadata.MD
		if _, err := p.crypto.Sign(ctx, &anyhsmv1.SignRequest{}, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(header.Get("h"), []string{"1", "2"}) || !slices.Equal(header.Get("h-bin"), []string{binary}) {
			t.Errorf("header %v", header)
		}
		if !slices.Equal(trailer.Get("t"), []string{"3"}) || !slices.Equal(trailer.Get("t-bin"), []string{binary}) {
			t.Errorf("trailer %v", trailer)
		}
		got, peer := p.service.seen()
		if !slices.Equal(got.Get("a"), []string{"x", "y"}) || !slices.Equal(got.Get("b-bin"), []string{binary}) ||
			!slices.Equal(got.Get(":authority"), []string{"localhost"}) || len(got.Get("user-agent")) != 1 {
			t.Errorf("the server saw %v", got)
		}
		if info, ok := peer.AuthInfo.(credentials.TLSInfo); p.name == "tls" && (!ok || len(info.State.PeerCertificates) != 1) {
			t.Errorf("the peer is %v", peer.AuthInfo)
		}
		if peer.Addr == nil || peer.LocalAddr == nil {
			t.Error("the peer has no address")
		}
	})
}

// TestStatus: code, message and details arrive, whatever the characters.
func TestStatus(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		for _, message := range []string{"", "plain", "100 % Grüße\n\t%41", strings.Repeat("long ", 4000)} {
			want := status.New(codes.FailedPrecondition, message)
			want, err := want.WithDetails(&anyhsmv1.Fault{Kind: 7, Message: message, CkRv: 0x30})
			if err != nil {
				t.Fatal(err)
			}
			p.service.set(func(context.Context, *anyhsmv1.SignRequest) error { return want.Err() })
			got := status.Convert(p.sign(t, nil))
			if got.Code() != want.Code() || got.Message() != message || len(got.Details()) != 1 {
				t.Fatalf("%v came back as %v with %v", want, got, got.Details())
			}
			if f, ok := got.Details()[0].(*anyhsmv1.Fault); !ok || f.GetCkRv() != 0x30 || f.GetMessage() != message {
				t.Errorf("details %v", got.Details())
			}
		}
		for err, code := range map[error]codes.Code{
			errors.New("any"): codes.Unknown, context.Canceled: codes.Canceled, context.DeadlineExceeded: codes.DeadlineExceeded,
		} {
			p.service.set(func(context.Context, *anyhsmv1.SignRequest) error { return err })
			wantCode(t, p.sign(t, nil), code)
		}
	})
}

func TestUnknownMethods(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		for _, method := range []string{"/anyhsm.v1.CryptoService/Nothing", "/no.Service/Sign", "/", "//"} {
			err := p.client.Invoke(t.Context(), method, &anyhsmv1.SignRequest{Data: make([]byte, 1<<20)}, &anyhsmv1.SignResponse{})
			wantCode(t, err, codes.Unimplemented)
		}
		if err := p.sign(t, []byte("on")); err != nil {
			t.Error(err)
		}
	})
}

// TestDeadline: the handler has the caller's deadline, and the caller does not wait for longer.
func TestDeadline(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		over := make(chan error, 1)
		p.service.set(func(ctx context.Context, _ *anyhsmv1.SignRequest) error {
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 200*time.Millisecond {
				t.Errorf("the deadline is in %v", time.Until(deadline))
			}
			<-ctx.Done()
			over <- ctx.Err()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := p.crypto.Sign(ctx, &anyhsmv1.SignRequest{})
		wantCode(t, err, codes.DeadlineExceeded)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		<-over
		p.service.set(nil)
		if err := p.sign(t, []byte("on")); err != nil {
			t.Error(err)
		}
	})
}

// TestCancel: a handler hears that its caller has given up, also when the call runs on the reader.
func TestCancel(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		begun, over := make(chan struct{}), make(chan struct{})
		p.service.set(func(ctx context.Context, _ *anyhsmv1.SignRequest) error {
			close(begun)
			<-ctx.Done()
			close(over)
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-begun
			cancel()
		}()
		_, err := p.crypto.Sign(ctx, &anyhsmv1.SignRequest{})
		wantCode(t, err, codes.Canceled)
		<-over
		p.service.set(nil)
		if err := p.sign(t, []byte("on")); err != nil {
			t.Error(err)
		}
	})
}

// TestTogether: many calls at once, slow and fast ones, more than there are connections.
func TestTogether(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		p.service.set(func(_ context.Context, r *anyhsmv1.SignRequest) error {
			if len(r.GetData())%7 == 3 {
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		})
		var group sync.WaitGroup
		for i := range 80 {
			group.Go(func() {
				for j := range 5 {
					if err := p.sign(t, bytes.Repeat([]byte{byte(i)}, i*1000+j)); err != nil {
						t.Errorf("%d: %v", i, err)
						return
					}
				}
			})
		}
		group.Wait()
	})
}

// TestInterceptors: they run in their order, and see what grpc-go would show them.
func TestInterceptors(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			mu.Lock()
			order = append(order, name+" "+info.FullMethod)
			mu.Unlock()
			if _, ok := request.(*anyhsmv1.SignRequest); !ok {
				return nil, status.Errorf(codes.Internal, "the request is a %T", request)
			}
			return handler(ctx, request)
		}
	}
	options := ServerOptions{Unary: []grpc.UnaryServerInterceptor{note("1"), note("2"), note("3")}}
	pairs(t, options, func(t *testing.T, p pair) {
		mu.Lock()
		order = nil
		mu.Unlock()
		if err := p.sign(t, nil); err != nil {
			t.Fatal(err)
		}
		const path = " /anyhsm.v1.CryptoService/Sign"
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(order, []string{"1" + path, "2" + path, "3" + path}) {
			t.Errorf("order %v", order)
		}
	})
}

// TestHealth: the standard health service works, its stream too.
func TestHealth(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		c := healthv1.NewHealthClient(p.client)
		answer, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{})
		if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v", answer, err)
		}
		if p.oursCalls {
			_, err := c.Watch(t.Context(), &healthv1.HealthCheckRequest{})
			wantCode(t, err, codes.Unimplemented)
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := c.Watch(ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := stream.Recv(); err != nil || got.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Fatalf("%v, %v", got, err)
		}
		// Other calls go on beside the stream.
		if err := p.sign(t, []byte("beside")); err != nil {
			t.Error(err)
		}
		cancel()
		if _, err := stream.Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the cancelled stream ends with %v", err)
		}
	})
}

// TestGracefulStop: calls in flight finish, and no others begin.
func TestGracefulStop(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		begun, hold := make(chan struct{}), make(chan struct{})
		p.service.set(func(context.Context, *anyhsmv1.SignRequest) error {
			close(begun)
			<-hold
			return nil
		})
		result := make(chan error)
		go func() { result <- p.sign(t, []byte("in flight")) }()
		<-begun
		stopped := make(chan struct{})
		go func() {
			p.server.GracefulStop()
			close(stopped)
		}()
		select {
		case <-stopped:
			t.Error("the server did not wait for the call")
		case <-time.After(50 * time.Millisecond):
		}
		close(hold)
		if err := <-result; err != nil {
			t.Errorf("the call in flight: %v", err)
		}
		<-stopped
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.crypto.Sign(ctx, &anyhsmv1.SignRequest{})
		wantCode(t, err, codes.Unavailable)
	})
}

// TestStop: calls in flight are cancelled, and their handlers waited for.
func TestStop(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		begun := make(chan struct{})
		ended := false
		p.service.set(func(ctx context.Context, _ *anyhsmv1.SignRequest) error {
			close(begun)
			<-ctx.Done()
			time.Sleep(20 * time.Millisecond)
			ended = true
			return ctx.Err()
		})
		result := make(chan error)
		go func() { result <- p.sign(t, nil) }()
		<-begun
		p.server.Stop()
		if p.oursServes && !ended {
			t.Error("the handler still runs")
		}
		if err := <-result; err == nil {
			t.Error("the call succeeded")
		}
	})
}

// TestSlowBesideFast: on a connection with several calls a slow one does not hold up the others.
func TestSlowBesideFast(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		hold := make(chan struct{})
		p.service.set(func(_ context.Context, r *anyhsmv1.SignRequest) error {
			if string(r.GetData()) == "slow" {
				<-hold
			}
			return nil
		})
		result := make(chan error)
		go func() { result <- p.sign(t, []byte("slow")) }()
		time.Sleep(10 * time.Millisecond)
		for i := range 50 {
			if err := p.sign(t, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		close(hold)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}
