// Package budget counts the round trips that real applications cost. A peer needs one for each C_ call; ours are few,
// because sessions, searches and attributes are answered in the module.
package budget

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// measure returns how many RPCs the daemon answered while do ran.
func measure(target target.Target, do func()) int {
	before := target.Daemon.RPCs()
	do()
	return target.Daemon.RPCs() - before
}

func within(t *testing.T, what string, rpcs, most int) {
	t.Helper()
	t.Logf("%s: %d RPCs of at most %d", what, rpcs, most)
	if rpcs > most {
		t.Errorf("%s cost %d RPCs, the budget is %d", what, rpcs, most)
	}
	if rpcs == 0 {
		t.Errorf("%s cost no RPC: the count is blind", what)
	}
}

func tool(target target.Target, arguments ...string) []string {
	return append([]string{"--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN}, arguments...)
}

func TestTools(t *testing.T) {
	target.Ours(t, func(t *testing.T, target target.Target) {
		within(t, "pkcs11-tool --keypairgen", measure(target, func() {
			target.Run(t, "pkcs11-tool", tool(target, "--keypairgen", "--key-type", "EC:prime256v1", "--label", "first", "--id", "01")...)
		}), 6)
		target.GenerateKeyPair(t, "rsa:2048", "second", "02")
		within(t, "pkcs11-tool -O, 4 objects", measure(target, func() {
			out := target.Run(t, "pkcs11-tool", tool(target, "-O")...)
			if strings.Count(out, "Key Object;") != 4 {
				t.Errorf("not 4 objects:\n%s", out)
			}
		}), 4)
		target.GenerateKeyPair(t, "EC:secp384r1", "third", "03")
		target.Env = append(target.Env, "GNUTLS_PIN="+target.PIN)
		within(t, "p11tool --list-all, 6 objects", measure(target, func() {
			out := target.Run(t, "p11tool", "--provider="+target.Module, "--login", "--list-all", "pkcs11:token="+target.Token)
			if strings.Count(out, "Object ") != 6 {
				t.Errorf("not 6 objects:\n%s", out)
			}
		}), 6)
	})
}

// java loads the provider and the KeyStore, and signs twice with the key of the alias.
const java = `import java.security.*;
import java.nio.file.*;
public class Two {
	public static void main(String[] args) throws Exception {
		Provider provider = Security.getProvider("SunPKCS11").configure(args[0]);
		Security.addProvider(provider);
		KeyStore store = KeyStore.getInstance("PKCS11", provider);
		store.load(null, args[1].toCharArray());
		PrivateKey key = (PrivateKey) store.getKey(args[2], null);
		for (int i = 0; i < 2; i++) {
			Signature signature = Signature.getInstance("SHA256withECDSA", provider);
			signature.initSign(key);
			signature.update("message".getBytes());
			if (signature.sign().length < 64) throw new Exception("short");
		}
		System.out.println("signed twice");
	}
}
`

func TestJava(t *testing.T) {
	target.Ours(t, func(t *testing.T, target target.Target) {
		target.EngineConfiguration(t)
		target.GenerateKeyPair(t, "EC:prime256v1", "web", "01")
		target.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=web", "-engine", "pkcs11", "-keyform", "engine",
			"-key", target.URI("web"), "-outform", "DER", "-out", "web.der")
		target.Run(t, "pkcs11-tool", tool(target, "--write-object", "web.der", "--type", "cert", "--label", "web", "--id", "01")...)
		slot := target.Slot(t)
		configuration := target.Write(t, "java.cfg", fmt.Appendf(nil, "name = AnyHSM\nlibrary = %s\nslot = %s\n", target.Module, slot))
		source := target.Write(t, "Two.java", []byte(java))
		target.Run(t, "javac", source)
		within(t, "Java: provider, KeyStore, 2 signatures", measure(target, func() {
			if out := target.Run(t, "java", "-cp", filepath.Dir(source), "Two", configuration, target.PIN, "web"); !strings.Contains(out, "signed twice") {
				t.Error(out)
			}
		}), 8)
	})
}

// TestHandshake counts one round trip for a TLS handshake in a running server.
func TestHandshake(t *testing.T) {
	const handshakes = 40
	target.Ours(t, func(t *testing.T, target target.Target) {
		target.EngineConfiguration(t)
		target.GenerateKeyPair(t, "EC:prime256v1", "web", "01")
		target.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
			"-engine", "pkcs11", "-keyform", "engine", "-key", target.URI("web"), "-out", "web.crt")
		pem, err := os.ReadFile(target.File("web.crt"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		address, stop := serve(t, target)
		defer stop()
		shake(t, address, roots, 5)
		rpcs := measure(target, func() { shake(t, address, roots, handshakes) })
		within(t, fmt.Sprintf("%d TLS handshakes", handshakes), rpcs, handshakes)
	})
}

// serve runs nginx with one worker.
func serve(t *testing.T, target target.Target) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	directory := filepath.Dir(target.File("x"))
	file := target.Write(t, "nginx.conf", fmt.Appendf(nil, `user root; worker_processes 1; daemon off; pid %[1]s/pid; error_log %[1]s/log; events {}
http { access_log off; client_body_temp_path %[1]s/t; proxy_temp_path %[1]s/t; fastcgi_temp_path %[1]s/t; uwsgi_temp_path %[1]s/t; scgi_temp_path %[1]s/t;
ssl_session_cache off; ssl_session_tickets off;
server { listen %[2]s ssl; ssl_certificate %[1]s/web.crt; ssl_certificate_key "engine:pkcs11:%[3]s"; } }`, directory, address, target.URI("web")))
	command := target.Command("nginx", "-c", file, "-p", directory)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	for range 400 {
		if connection, err := net.Dial("tcp", address); err == nil {
			connection.Close()
			return address, func() { end(t, command) }
		}
		time.Sleep(25 * time.Millisecond)
	}
	end(t, command)
	log, _ := os.ReadFile(target.File("log"))
	t.Fatalf("nginx does not listen: %s", log)
	return "", nil
}

func end(t *testing.T, command *exec.Cmd) {
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("nginx: %v", err)
	}
}

func shake(t *testing.T, address string, roots *x509.CertPool, times int) {
	t.Helper()
	for range times {
		connection, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		connection.Close()
	}
}
