package hsm

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const (
	softhsm = "/usr/lib/softhsm/libsofthsm2.so"
	userPIN = "1234-user"
	soPIN   = "5678-so"
)

// tokens are those that the tests use, each for itself. SoftHSM reads its configuration once in a process, and sees
// only the tokens that are there when it is initialised.
var tokens = []string{
	"conformance", "weak", "adopt", "recover", "wrongpin", "sessions", "clash", "pages", "crypto11", "documentation", "clones", "guard", "list",
}

// tokenDirectory is where SoftHSM keeps its tokens.
var tokenDirectory string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	// A process that a test has started shares its parent's tokens.
	if os.Getenv("ANYHSM_TEST_CHILD") != "" {
		return m.Run(), nil
	}
	directory, err := os.MkdirTemp("", "anyhsm-softhsm-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(directory)
	tokenDirectory = filepath.Join(directory, "tokens")
	if err := os.Mkdir(tokenDirectory, 0o700); err != nil {
		return 1, err
	}
	configuration := filepath.Join(directory, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n", tokenDirectory)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		return 1, err
	}
	// The environment must be right before the library is initialised.
	if err := os.Setenv("SOFTHSM2_CONF", configuration); err != nil {
		return 1, err
	}
	for _, token := range tokens {
		out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", token, "--pin", userPIN, "--so-pin", soPIN).CombinedOutput()
		if err != nil {
			return 1, fmt.Errorf("softhsm2-util: %w: %s", err, out)
		}
	}
	pageSize = 16
	slog.SetDefault(slog.New(slog.DiscardHandler))
	return m.Run(), nil
}

// config is the configuration for a token.
func config(token string) Config {
	return Config{Name: "softhsm", Library: softhsm, TokenLabel: token, PIN: userPIN, Sessions: 8}
}

// connect makes a provider that is closed at the end of the test.
func connect(t *testing.T, c Config) *Provider {
	t.Helper()
	p, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}
