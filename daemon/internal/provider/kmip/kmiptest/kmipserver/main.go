// The program kmipserver is the strict test server as a process, for tests that need one. It keeps keys in memory and is
// for nothing else.
package main

import (
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
)

func main() {
	directory := flag.String("directory", "", "where ca.crt, server.crt, server.key, client.crt and client.key are written")
	issue := flag.Bool("issue", false, "write the certificates only")
	listen := flag.String("listen", "127.0.0.1:0", "where to listen")
	addresses := flag.String("addresses", "", "IP addresses that the server is reached by besides 127.0.0.1, separated by commas")
	flag.Parse()
	if err := run(*directory, *issue, *listen, *addresses); err != nil {
		fmt.Fprintln(os.Stderr, "kmipserver:", err)
		os.Exit(1)
	}
}

func run(directory string, issue bool, listen, addresses string) error {
	authority, err := kmiptest.NewAuthority(directory)
	if err != nil {
		return err
	}
	for address := range strings.SplitSeq(addresses, ",") {
		if ip := net.ParseIP(address); ip != nil {
			authority.Addresses = append(authority.Addresses, ip)
		}
	}
	until := time.Now().Add(24 * time.Hour)
	certificate, key, err := authority.Issue("server", x509.ExtKeyUsageServerAuth, until)
	if err != nil {
		return err
	}
	if _, _, err := authority.Issue("client", x509.ExtKeyUsageClientAuth, until); err != nil || issue {
		return err
	}
	s, err := kmiptest.NewServer(listen, certificate, key, authority.CA)
	if err != nil {
		return err
	}
	fmt.Println(s.Address())
	select {}
}
