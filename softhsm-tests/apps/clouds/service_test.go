package clouds

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// startFake builds a fake's program, runs it until the test ends, and returns the URL that it serves.
func startFake(t *testing.T, source string, arguments ...string) (url string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "serve")
	build := exec.Command("go", "build", "-o", program, source)
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the fake: %v\n%s", err, out)
	}
	service := exec.Command(program, arguments...)
	in, err := service.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := service.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	service.Stderr = os.Stderr
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = service.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the fake did not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// limited asks keys for parameters that their service does not take: the application hears of it when it names them, not
// when it has gathered the data.
func limited(t *testing.T, on target.Target, signing, decrypting string) {
	for hash, length := range map[string]int{"SHA-1": 20, "SHA256": 32} {
		data := on.Write(t, "hash", make([]byte, length))
		refused(t, on, "C_SignInit failed: rv = CKR_MECHANISM_PARAM_INVALID", "--sign", "--id", signing, "--mechanism", "RSA-PKCS-PSS",
			"--hash-algorithm", hash, "--salt-len", "11", "--input-file", data, "--output-file", on.File("signature"))
	}
	data := on.Write(t, "hash", make([]byte, 32))
	tool(t, on, "--sign", "--id", signing, "--mechanism", "RSA-PKCS-PSS", "--hash-algorithm", "SHA256", "--salt-len", "32",
		"--input-file", data, "--output-file", on.File("signature"))
	refused(t, on, "C_DecryptInit failed: rv = CKR_MECHANISM_PARAM_INVALID", "--decrypt", "--id", decrypting, "--mechanism", "RSA-PKCS-OAEP",
		"--hash-algorithm", "SHA512", "--input-file", on.File("ciphertext"), "--output-file", on.File("plaintext"))
}
