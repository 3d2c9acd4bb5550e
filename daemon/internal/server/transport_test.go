package server

import (
	"fmt"
	"os"
	"testing"
)

// underTest is the transport that the tests run on.
var underTest string

// TestMain runs all tests on our transport and on grpc-go's, which stays as the reference and the way out.
func TestMain(m *testing.M) {
	for _, underTest = range []string{"grpcwire", "grpc-go"} {
		if code := m.Run(); code != 0 {
			fmt.Fprintln(os.Stderr, "the transport was", underTest)
			os.Exit(code)
		}
	}
}
