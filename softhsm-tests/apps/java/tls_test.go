package java

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"
)

// tlsServer serves with the token's keys; OpenSSL and curl are the clients and know only the certificates.
func tlsServer(t *testing.T, k token, place string) {
	port := k.startServer(t, place)
	for _, client := range []struct{ alias, version, algorithms, used string }{
		// The certificates sign themselves with PKCS #1, which must be among what the client takes.
		{"rsa", "-tls1_3", "rsa_pss_rsae_sha512:RSA+SHA256", "RSA-PSS"},
		{"p256", "-tls1_3", "ecdsa_secp256r1_sha256", "ECDSA"},
		{"p384", "-tls1_3", "ecdsa_secp384r1_sha384", "ECDSA"},
		{"rsa", "-tls1_2", "RSA+SHA256", "RSA"},
		{"rsa", "-tls1_2", "rsa_pss_rsae_sha256:RSA+SHA256", "RSA-PSS"},
		{"p256", "-tls1_2", "ECDSA+SHA256", "ECDSA"},
	} {
		out := k.openssl(t, "s_client", "-connect", "127.0.0.1:"+port, "-servername", "localhost", "-CAfile", k.File(client.alias+".pem"),
			"-verify_return_error", client.version, "-sigalgs", client.algorithms)
		if !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "subject=CN = "+client.alias) ||
			!strings.Contains(out, "Peer signature type: "+client.used+"\n") {
			t.Errorf("%v: %s", client, out)
		}
	}
	for range 5 {
		out := k.Run(t, "curl", "--silent", "--show-error", "--fail", "--cacert", k.File("all.pem"), "--resolve", "localhost:"+port+":127.0.0.1",
			"https://localhost:"+port+"/")
		if out != "Hello over TLSv1.3\n" {
			t.Errorf("curl got %q", out)
		}
	}
}

// startServer starts TlsServer.java and returns the port. It ends with the test.
func (k token) startServer(t *testing.T, place string) (port string) {
	t.Helper()
	k.Write(t, "all.pem", []byte(read(t, k, "rsa.pem")+read(t, k, "p256.pem")+read(t, k, "p384.pem")))
	server := k.Command("java", source("TlsServer.java"), k.configuration, k.PIN, place)
	input, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	server.Stderr = &complaints
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		killer := time.AfterFunc(20*time.Second, func() { _ = server.Process.Kill() })
		defer killer.Stop()
		if err := server.Wait(); err != nil {
			t.Errorf("the server ends with %v", err)
		}
		if complaints.Len() > 0 {
			t.Errorf("the server complains: %s", complaints.String())
		}
	})
	port, err = bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not listen: %v\n%s", err, complaints.String())
	}
	return strings.TrimSpace(port)
}
