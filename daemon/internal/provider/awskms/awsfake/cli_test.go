package awsfake_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
)

// TestCLI lets AWS's own command line, which knows nothing of Go's SDK, use the fake. On a machine without it the other
// tests must do, and the log says so.
func TestCLI(t *testing.T) {
	program, err := exec.LookPath("aws")
	if err == nil {
		err = exec.Command(program, "--version").Run()
	}
	if err != nil {
		t.Logf("NOT TESTED HERE: there is no aws command to cross-check the fake with (%v)", err)
		return
	}
	server := httptest.NewServer(awsfake.New())
	defer server.Close()
	dir := t.TempDir()
	run := func(arguments ...string) (map[string]any, string, error) {
		command := exec.Command(program, append([]string{
			"--endpoint-url", server.URL, "--region", awsfake.Region, "--output", "json", "kms",
		}, arguments...)...)
		command.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_ACCESS_KEY_ID=" + awsfake.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + awsfake.SecretKey,
			"AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "PYENV_ROOT=" + os.Getenv("PYENV_ROOT"), "PYENV_VERSION=" + os.Getenv("PYENV_VERSION"),
		}
		var out, stderr bytes.Buffer
		command.Stdout, command.Stderr = &out, &stderr
		err := command.Run()
		var parsed map[string]any
		_ = json.Unmarshal(out.Bytes(), &parsed)
		return parsed, stderr.String(), err
	}
	must := func(arguments ...string) map[string]any {
		t.Helper()
		out, stderr, err := run(arguments...)
		if err != nil {
			t.Fatalf("aws kms %s: %v\n%s", strings.Join(arguments, " "), err, stderr)
		}
		return out
	}
	refused := func(code string, arguments ...string) {
		t.Helper()
		if _, stderr, err := run(arguments...); err == nil || !strings.Contains(stderr, code) {
			t.Errorf("aws kms %s: %v, want %s\n%s", strings.Join(arguments, " "), err, code, stderr)
		}
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return "fileb://" + path
	}
	digest := file("digest", make([]byte, 32))
	metadata := must("create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "SIGN_VERIFY", "--tags", "TagKey=a,TagValue=b")["KeyMetadata"].(map[string]any)
	id := metadata["KeyId"].(string)
	must("create-alias", "--alias-name", "alias/web", "--target-key-id", id)
	refused("AlreadyExistsException", "create-alias", "--alias-name", "alias/web", "--target-key-id", id)
	signed := must("sign", "--key-id", "alias/web", "--message", digest, "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_256")
	if signed["KeyId"] != metadata["Arn"] || signed["Signature"] == "" {
		t.Errorf("sign: %v", signed)
	}
	if public := must("get-public-key", "--key-id", id); public["KeySpec"] != "ECC_NIST_P256" || public["PublicKey"] == "" {
		t.Errorf("get-public-key: %v", public)
	}
	if tags := must("list-resource-tags", "--key-id", id)["Tags"].([]any); len(tags) != 1 {
		t.Errorf("tags: %v", tags)
	}
	refused("ValidationException", "sign", "--key-id", id, "--message", file("short", make([]byte, 20)), "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_256")
	refused("InvalidKeyUsageException", "sign", "--key-id", id, "--message", digest, "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_384")
	refused("InvalidKeyUsageException", "generate-mac", "--key-id", id, "--message", digest, "--mac-algorithm", "HMAC_SHA_256")
	refused("NotFoundException", "describe-key", "--key-id", "alias/nobody")
	refused("ValidationException", "create-key", "--key-spec", "ECC_NIST_P256", "--key-usage", "ENCRYPT_DECRYPT")
	refused("ValidationException", "schedule-key-deletion", "--key-id", id, "--pending-window-in-days", "6")
	must("schedule-key-deletion", "--key-id", id, "--pending-window-in-days", "7")
	refused("KMSInvalidStateException", "sign", "--key-id", id, "--message", digest, "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_256")
	must("cancel-key-deletion", "--key-id", id)
	refused("DisabledException", "sign", "--key-id", id, "--message", digest, "--message-type", "DIGEST", "--signing-algorithm", "ECDSA_SHA_256")
	must("enable-key", "--key-id", id)
	for range 3 {
		must("create-key", "--key-spec", "HMAC_256", "--key-usage", "GENERATE_VERIFY_MAC")
	}
	// The command line follows the pages by itself.
	if keys := must("list-keys", "--page-size", "1")["Keys"].([]any); len(keys) != 4 {
		t.Errorf("%d keys on pages of one, not 4", len(keys))
	}
	if random := must("generate-random", "--number-of-bytes", "16"); random["Plaintext"] == "" {
		t.Errorf("random: %v", random)
	}
	refused("ValidationException", "generate-random", "--number-of-bytes", "1025")
}
