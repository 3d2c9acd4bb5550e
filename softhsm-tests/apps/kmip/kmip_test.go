// Package kmip runs applications on keys in KMIP servers: the real one of PyKMIP, and the strict one of our own, as a
// process, for what PyKMIP lacks.
package kmip

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/pykmiptest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// program builds the strict server, which also makes certificates.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kmipserver")
	build := exec.Command("go", "build", "-o", path, "./daemon/internal/provider/kmip/kmiptest/kmipserver")
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// on starts a daemon whose token is at a KMIP server.
func on(t *testing.T, directory, address, protocol string) target.Target {
	t.Helper()
	daemon := daemontest.Start(t, daemontest.Options{Provider: "kms", Tables: fmt.Sprintf(`
[[provider]]
name = "kms"
kind = "kmip"
[provider.kmip]
address = %q
certificate = %q
key = %q
ca = %q
protocol = %q
`, address, directory+"/client.crt", directory+"/client.key", directory+"/ca.crt", protocol)})
	return target.Of(t, "kmip", daemon)
}

// start runs a server until the test ends.
func start(t *testing.T, command *exec.Cmd) {
	t.Helper()
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		t.Fatalf("%s: %v; run scripts/install-packages.sh", command.Path, err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		_ = command.Wait()
	})
}

func strict(t *testing.T) target.Target {
	t.Helper()
	directory := t.TempDir()
	command := exec.Command(program(t), "-directory", directory)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, command)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return on(t, directory, strings.TrimSpace(address), "2.1")
}

func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func pykmip(t *testing.T) target.Target {
	t.Helper()
	server := pykmiptest.Start(t)
	return on(t, server.Directory, server.Address, "1.4")
}

func wait(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens at %s", address)
		}
	}
}

func tool(target target.Target, arguments ...string) []string {
	return append([]string{"--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN}, arguments...)
}

// TestPyKMIP makes AES keys and encrypts; a key with a known value is judged by OpenSSL.
func TestPyKMIP(t *testing.T) {
	p := pykmip(t)
	const key, iv = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "0f0e0d0c0b0a09080706050403020100"
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	message := bytes.Repeat([]byte("attack at dawn\n"), 50)
	plain, encrypted, decrypted := p.Write(t, "plain", message), p.File("encrypted"), p.File("decrypted")
	same := func() {
		t.Helper()
		if got, err := os.ReadFile(decrypted); err != nil || !bytes.Equal(got, message) {
			t.Errorf("not what was encrypted: %v", err)
		}
	}
	p.Run(t, "pkcs11-tool", tool(p, "--write-object", p.Write(t, "aes.key", raw), "--type", "secrkey", "--key-type", "AES:32", "--id", "20", "--label", "imported", "--sensitive", "--usage-decrypt")...)
	p.Run(t, "pkcs11-tool", tool(p, "--encrypt", "--id", "20", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)...)
	p.Run(t, "openssl", "enc", "-d", "-aes-256-cbc", "-K", key, "-iv", iv, "-in", encrypted, "-out", decrypted)
	same()
	p.Run(t, "pkcs11-tool", tool(p, "--keygen", "--key-type", "AES:16", "--id", "21", "--label", "made", "--sensitive")...)
	p.Run(t, "pkcs11-tool", tool(p, "--encrypt", "--id", "21", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", plain, "--output-file", encrypted)...)
	p.Run(t, "pkcs11-tool", tool(p, "--decrypt", "--id", "21", "--mechanism", "AES-CBC-PAD", "--iv", iv, "--input-file", encrypted, "--output-file", decrypted)...)
	same()
	p.Run(t, "pkcs11-tool", tool(p, "--delete-object", "--type", "secrkey", "--id", "21")...)
	// What the server cannot do is refused before anything is made.
	out, errout, err := p.Try("pkcs11-tool", tool(p, "--keypairgen", "--key-type", "rsa:2048", "--id", "22")...)
	if err == nil || !strings.Contains(out+errout, "CKR_MECHANISM_INVALID") && !strings.Contains(out+errout, "not supported") {
		t.Errorf("an RSA key was made, or refused otherwise: %v\n%s%s", err, out, errout)
	}
}

// TestStrict signs with RSA and EC keys, for OpenSSL to verify.
func TestStrict(t *testing.T) {
	p := strict(t)
	message := p.Write(t, "message", []byte("a message"))
	for id, kind := range map[string]string{"01": "rsa:2048", "02": "EC:prime256v1"} {
		t.Run(kind, func(t *testing.T) {
			p.GenerateKeyPair(t, kind, "key "+id, id)
			p.Run(t, "pkcs11-tool", tool(p, "--read-object", "--type", "pubkey", "--id", id, "--output-file", p.File("public.der"))...)
			p.Run(t, "openssl", "pkey", "-pubin", "-inform", "DER", "-in", p.File("public.der"), "-out", p.File("public.pem"))
			arguments := []string{"--sign", "--id", id, "--mechanism", "SHA256-RSA-PKCS", "--input-file", message, "--output-file", p.File("signature")}
			if kind != "rsa:2048" {
				arguments[4] = "ECDSA-SHA256"
				arguments = append(arguments, "--signature-format", "openssl")
			}
			p.Run(t, "pkcs11-tool", tool(p, arguments...)...)
			p.Run(t, "openssl", "dgst", "-sha256", "-verify", p.File("public.pem"), "-signature", p.File("signature"), message)
		})
	}
}

// TestNginx serves TLS 1.2 and 1.3 from an RSA and an EC key.
func TestNginx(t *testing.T) {
	p := strict(t)
	p.EngineConfiguration(t)
	for id, kind := range map[string]string{"01": "rsa:2048", "02": "EC:prime256v1"} {
		t.Run(kind, func(t *testing.T) {
			label := "web" + id
			p.GenerateKeyPair(t, kind, label, id)
			certificate := p.File(label + ".crt")
			p.Run(t, "openssl", "req", "-new", "-x509", "-sha256", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
				"-engine", "pkcs11", "-keyform", "engine", "-key", p.URI(label), "-out", certificate)
			address, directory := free(t), filepath.Dir(certificate)
			configuration := p.Write(t, label+".conf", []byte(fmt.Sprintf(`daemon off;
user root;
worker_processes 2;
env ANYHSM_CONFIG;
pid %[1]s/%[5]s.pid;
error_log %[1]s/error.log;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen %[2]s ssl; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate %[3]s; ssl_certificate_key "engine:pkcs11:%[4]s"; location / { return 200 "ok\n"; } }
}
`, directory, address, certificate, p.URI(label), label)))
			start(t, p.Command("nginx", "-c", configuration, "-p", directory))
			wait(t, address)
			text, err := os.ReadFile(certificate)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(text)
			for i := range 40 {
				version := uint16(tls.VersionTLS12 + i%2)
				client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
					DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version},
				}}
				answer, err := client.Get("https://" + address + "/")
				if err != nil {
					log, _ := os.ReadFile(directory + "/error.log")
					t.Fatalf("%v\n%s", err, log)
				}
				_ = answer.Body.Close()
			}
		})
	}
}
