package failover

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// through puts a wire in front of a service, and into the configuration of its provider.
func through(t *testing.T, p peertest.Peer) (tables string, w *wire) {
	t.Helper()
	_, address, found := strings.Cut(p.URL, "://")
	if !found {
		address = p.URL
	}
	w = newWire(t, address)
	// The name stays: the service's certificate is for it.
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(w.address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(p.Tables, address, net.JoinHostPort(host, port)), w
}

// TestServices takes the other services away: the real Vault, and the strict fakes of Google and Azure. `anyhsm key copy`
// has brought the key there from the software provider, which serves meanwhile.
func TestServices(t *testing.T) {
	vault, _ := peertest.Vault(t)
	azure, _ := peertest.Azure(t, false)
	tables, wires := "", map[string]*wire{}
	for _, p := range []peertest.Peer{vault, peertest.Google(t), azure} {
		text, w := through(t, p)
		tables, wires[p.Provider] = tables+text, w
	}
	s := &site{Target: target.Of(t, "services", daemontest.Start(t, daemontest.Options{Tables: tables}))}
	s.EngineConfiguration(t)
	s.GenerateKeyPair(t, "EC:prime256v1", "web", "01")
	s.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-engine", "pkcs11", "-keyform", "engine", "-key", s.URI("web"), "-out", "web.crt")
	for peer := range wires {
		s.Daemon.CLI(t, "key", "copy", "web", "--to", peer, "--token", s.Token)
	}
	address, roots := s.nginx(t)
	for peer, w := range wires {
		for _, how := range []way{killed, hung} {
			t.Run(peer+" "+string(how), func(t *testing.T) {
				s.Daemon.CLI(t, "key", "route", "web", "prefer", "--order", peer+",software", "--token", s.Token)
				s.until(t, peer+" serves", func() bool { return s.serves(t, address, roots, peer) })
				before := s.passedOver(t, peer)
				done := make(chan struct{})
				go func() {
					defer close(done)
					load(t, address, roots, under)
				}()
				time.Sleep(200 * time.Millisecond)
				w.set(how)
				<-done
				load(t, address, roots, under/2)
				if s.passedOver(t, peer) == before {
					t.Errorf("%s was not passed over", peer)
				}
				w.set(well)
				s.until(t, peer+" serves again", func() bool { return s.serves(t, address, roots, peer) })
			})
		}
	}
}
