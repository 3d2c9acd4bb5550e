package failover

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// under is how many handshakes each fault sees, four at a time.
const under = 40

// patience bounds what depends on the machine's speed.
const patience = 2 * time.Minute

// site is a daemon whose token has one key, "web", in four places: the software provider, SoftHSM, AWS KMS (a strict
// fake) and a KMIP server (a strict one).
type site struct {
	target.Target
	aws  *gateway
	kmip *wire
}

// newSite makes the same key at all places. The services get it by another daemon, so that ours finds it as any key that
// was there before; SoftHSM gets it by its own tool.
func newSite(t *testing.T) *site {
	t.Helper()
	// The fake's own credentials: they open nothing else.
	t.Setenv("ANYHSM_TEST_AWS_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("ANYHSM_TEST_AWS_SECRET", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	certificates := t.TempDir()
	s := &site{
		aws:  newGateway(t, daemontest.Service(t, "./daemon/internal/provider/awskms/awsfake/serve")),
		kmip: newWire(t, daemontest.Service(t, "./daemon/internal/provider/kmip/kmiptest/kmipserver", "-directory", certificates)),
	}
	tables := fmt.Sprintf(`
[[provider]]
name = "aws"
kind = "awskms"
[provider.awskms]
region = "eu-central-1"
endpoint = %q
access_key_id = "env:ANYHSM_TEST_AWS_ID"
secret_access_key = "env:ANYHSM_TEST_AWS_SECRET"
[[provider]]
name = "kmip"
kind = "kmip"
[provider.kmip]
address = %q
certificate = "%[3]s/client.crt"
key = "%[3]s/client.key"
ca = "%[3]s/ca.crt"
protocol = "2.1"
`, s.aws.address, s.kmip.address, certificates)
	key := filepath.Join(t.TempDir(), "web.key")
	other := daemontest.Start(t, daemontest.Options{Provider: "aws", Tables: tables})
	other.CLI(t, "token", "create", "kmip", "--provider", "kmip", "--no-login")
	s.Target = target.Of(t, "routed", daemontest.Start(t, daemontest.Options{Provider: "hsm", Tables: tables + "[log]\nlevel = \"info\"\n"}))
	s.EngineConfiguration(t)
	s.Run(t, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key)
	other.CLI(t, "key", "import", key, "--label", "web", "--token", other.Token, "--usage", "sign")
	other.CLI(t, "key", "import", key, "--label", "web", "--token", "kmip", "--usage", "sign")
	s.Run(t, "env", "SOFTHSM2_CONF="+filepath.Join(s.Daemon.Dir, "softhsm2.conf"), "softhsm2-util", "--import", key,
		"--token", daemontest.SoftHSMToken, "--label", "web", "--id", "01", "--pin", daemontest.SoftHSMPIN)

	// The token's own provider is the HSM; a rule puts what is imported here into software.
	rules := s.Write(t, "rules.toml", []byte("[[rule]]\nprovider = \"software\"\nkeys = [\"rsa\"]\n"))
	s.Daemon.CLI(t, "token", "rules", "set", s.Token, rules)
	s.Daemon.CLI(t, "key", "import", key, "--label", "web", "--id", "01", "--token", s.Token)
	for _, provider := range []string{"hsm", "aws", "kmip"} {
		var found []struct{ Reference string }
		if err := json.Unmarshal([]byte(s.Daemon.CLI(t, "provider", "keys", provider, "--json")), &found); err != nil || len(found) != 1 {
			t.Fatalf("%s has %v, %v", provider, found, err)
		}
		s.Daemon.CLI(t, "key", "join", "web", found[0].Reference, "--provider", provider, "--token", s.Token)
	}
	s.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-engine", "pkcs11", "-keyform", "engine", "-key", s.URI("web"), "-out", "web.crt")
	return s
}

// TestNoHandshakeFails serves TLS while each peer in turn is killed, hangs or throttles, under each policy.
func TestNoHandshakeFails(t *testing.T) {
	s := newSite(t)
	address, roots := s.nginx(t)
	for _, c := range []struct {
		routing, order string
		peer           string
		set            func(way)
		how            way
	}{
		{"prefer", "aws,kmip,hsm,software", "aws", s.aws.set, killed},
		{"prefer", "aws,kmip,hsm,software", "aws", s.aws.set, hung},
		{"prefer", "aws,kmip,hsm,software", "aws", s.aws.set, throttled},
		{"any", "kmip,aws,hsm,software", "kmip", s.kmip.set, killed},
		{"any", "kmip,aws,hsm,software", "aws", s.aws.set, throttled},
		{"failover", "kmip,hsm", "kmip", s.kmip.set, hung},
		{"failover", "kmip,hsm", "kmip", s.kmip.set, killed},
	} {
		t.Run(c.routing+" "+c.peer+" "+string(c.how), func(t *testing.T) {
			s.Daemon.CLI(t, "key", "route", "web", c.routing, "--order", c.order, "--token", s.Token)
			s.until(t, c.peer+" serves", func() bool { return s.serves(t, address, roots, c.peer) })
			before := s.passedOver(t, c.peer)
			done := make(chan struct{})
			go func() {
				defer close(done)
				load(t, address, roots, under)
			}()
			time.Sleep(200 * time.Millisecond) // so that it comes in the middle of the load
			c.set(c.how)
			<-done
			load(t, address, roots, under/2)
			if s.passedOver(t, c.peer) == before {
				t.Errorf("%s was not passed over", c.peer)
			}
			c.set(well)
			s.until(t, c.peer+" serves again", func() bool { return s.serves(t, address, roots, c.peer) })
		})
	}
}

// serves tells whether the peer has made one of some signatures.
func (s *site) serves(t *testing.T, address string, roots *x509.CertPool, peer string) bool {
	before := s.signatures(t, peer)
	load(t, address, roots, 4)
	return s.signatures(t, peer) > before
}

func (s *site) until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass that %s:\n%s", what, s.Daemon.CLI(t, "key", "route", "web", "--token", s.Token))
		}
	}
}

// load makes handshakes, none of which may fail.
func load(t *testing.T, address string, roots *x509.CertPool, handshakes int) {
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range handshakes / 4 {
				if err := handshake(address, roots, []uint16{tls.VersionTLS12, tls.VersionTLS13}[i%2]); err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}

func handshake(address string, roots *x509.CertPool, version uint16) error {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{
		RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version,
	}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *site) passedOver(t *testing.T, provider string) int {
	return s.figure(t, `anyhsm_provider_passed_over_total\{provider="`+provider+`",reason="[a-z]+"\} (\d+)`)
}

// signatures counts those that a provider has made.
func (s *site) signatures(t *testing.T, provider string) int {
	failed := s.figure(t, `anyhsm_provider_errors_total\{kind="[a-z]+",operation="sign",provider="`+provider+`"\} (\d+)`)
	return s.figure(t, `anyhsm_provider_duration_seconds_count\{operation="sign",provider="`+provider+`"\} (\d+)`) - failed
}

// figure sums up what Prometheus would read.
func (s *site) figure(t *testing.T, pattern string) (sum int) {
	answer, err := http.Get(s.Daemon.MetricsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
		n, _ := strconv.Atoi(match[1])
		sum += n
	}
	return sum
}

// nginx serves with the configuration of docs/applications/nginx.md until the test ends.
func (s *site) nginx(t *testing.T) (address string, roots *x509.CertPool) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	directory := filepath.Dir(s.File("x"))
	var temporary strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temporary, "    %s_temp_path %s/%s;\n", kind, directory, kind)
	}
	file := s.Write(t, "nginx.conf", []byte(target.Replace(t, target.Page(t, "nginx.md", "nginx"), map[string]string{
		"user www-data":      "user root",
		"worker_processes 4": "env ANYHSM_CONFIG;\nworker_processes 4",
		"/run/nginx.pid":     directory + "/nginx.pid",
		"/var/log/nginx":     directory,
		"/etc/nginx/web.crt": directory + "/web.crt",
		"127.0.0.1:8443":     address,
		"http {\n":           "http {\n" + temporary.String(),
		"pkcs11:token=tls;object=web;type=private?pin-value=1234": s.URI("web"),
	})))
	s.Run(t, "nginx", "-c", file, "-p", directory)
	t.Cleanup(func() {
		text, err := os.ReadFile(s.File("nginx.pid"))
		if err != nil {
			t.Error(err)
			return
		}
		master, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		_ = syscall.Kill(master, syscall.SIGTERM)
		for deadline := time.Now().Add(patience); syscall.Kill(master, 0) == nil; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Errorf("nginx %d does not end", master)
				return
			}
		}
		if log, _ := os.ReadFile(s.File("error.log")); t.Failed() {
			t.Logf("nginx's log:\n%s", log)
		}
	})
	certificate, err := os.ReadFile(s.File("web.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return address, roots
}
