// Command serve runs the fake Google Cloud KMS for tests that are no Go programs of the daemon's tree: it prints its URL
// and serves until its standard input ends.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
)

func main() {
	address, stop, err := gcpfake.New().Serve()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", address)
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
}
