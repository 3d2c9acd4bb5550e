// The program kmipserver is the strict test server as a process, for tests that need one. It keeps keys in memory and is
// for nothing else.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "the address")
	certificate := flag.String("certificate", "", "the server's certificate")
	key := flag.String("key", "", "its key")
	ca := flag.String("ca", "", "the authority of the clients")
	flag.Parse()
	s, err := kmiptest.NewServer(*address, *certificate, *key, *ca)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kmipserver:", err)
		os.Exit(1)
	}
	fmt.Println(s.Address())
	select {}
}
