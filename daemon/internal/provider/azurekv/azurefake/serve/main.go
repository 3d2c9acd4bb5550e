// Command serve runs the fake vault for tests that are other processes: it writes the certificate that clients must
// trust into the file that its first argument names, and then a line with its URL. A second argument, hsm, makes it a
// Managed HSM. It ends with its standard input.
package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http/httptest"
	"os"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: serve CERTIFICATE [hsm]")
		os.Exit(2)
	}
	server := httptest.NewTLSServer(azurefake.New(azurefake.Options{HSM: len(os.Args) > 2 && os.Args[2] == "hsm"}))
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(os.Args[1], certificate, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Close()
}
