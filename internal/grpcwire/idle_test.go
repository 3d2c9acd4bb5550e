package grpcwire

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// TestIdleConnections: connections that have nothing to do hold no thread, and serve again when they have. The limits
// of the process decide how many there can be.
func TestIdleConnections(t *testing.T) {
	const connections = 400
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(ServerOptions{})
	anyhsmv1.RegisterCryptoServiceServer(server, &service{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	dial := func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	var clients []anyhsmv1.CryptoServiceClient
	for range connections {
		client := NewClient(ClientOptions{Dial: dial, Authority: "localhost"})
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, anyhsmv1.NewCryptoServiceClient(client))
	}
	call := func() {
		t.Helper()
		for _, c := range clients {
			if _, err := c.Sign(t.Context(), &anyhsmv1.SignRequest{Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		call()
		for wait := time.Now().Add(time.Minute); server.held.held.Load() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(wait) {
				t.Fatalf("%d idle connections hold a thread", server.held.held.Load())
			}
		}
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		if len(tasks) >= connections/2 {
			t.Errorf("%d threads for %d idle connections", len(tasks), connections)
		}
	}
}
