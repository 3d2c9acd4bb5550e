package grpcwire

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// BenchmarkRoundTrip is a call that does nothing, by a caller that is bound to its thread as a C program's is.
func BenchmarkRoundTrip(b *testing.B) {
	for _, ours := range []bool{true, false} {
		name := "grpc-go"
		if ours {
			name = "grpcwire"
			AdmitThreads()
		}
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "s")
			listener, err := net.Listen("unix", path)
			if err != nil {
				b.Fatal(err)
			}
			dial := func(ctx context.Context) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", path)
			}
			var server stopper = grpc.NewServer()
			var client connection = NewClient(ClientOptions{Dial: dial, Authority: "localhost", UserAgent: "bench"})
			if ours {
				server = NewServer(ServerOptions{})
			} else if client, err = grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) })); err != nil {
				b.Fatal(err)
			}
			anyhsmv1.RegisterCryptoServiceServer(server, &service{})
			go func() { _ = server.Serve(listener) }()
			defer server.Stop()
			defer func() { _ = client.Close() }()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			crypto := anyhsmv1.NewCryptoServiceClient(client)
			request := &anyhsmv1.SignRequest{Data: make([]byte, 32)}
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := WithDeadline(context.Background(), time.Now().Add(30*time.Second))
				if _, err := crypto.Sign(ctx, request); err != nil {
					b.Fatal(err)
				}
				cancel()
			}
		})
	}
}
