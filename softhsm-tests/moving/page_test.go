package moving

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// TestPage follows docs/moving-keys.md.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(target.Root(), "docs", "moving-keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLaboratory(t, "")
	l.Daemon.CLI(t, "token", "create", "web", "--provider", "software", "--no-login")
	l.Token = "web"
	ran := 0
	for i, block := range strings.Split(string(text), "```sh\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			words := strings.Fields(line)
			if len(words) == 0 || words[0] != "anyhsm" {
				t.Fatalf("%q is no command of ours", line)
			}
			out := l.Daemon.CLI(t, words[1:]...)
			ran++
			switch words[2] {
			case "create":
				l.certify(t, "tls")
			case "rotate":
				if strings.Contains(line, "--finish") {
					if _, stderr, err := l.sign("tls (v1)"); err == nil {
						t.Errorf("after %s the old version signs: %s", line, stderr)
					}
					continue
				}
				if !strings.Contains(out, "openssl req -new") || !strings.Contains(out, "(v") {
					t.Errorf("%s says\n%s", line, out)
				}
				// The old version still signs, where it was not ended at once.
				if _, stderr, err := l.sign("tls (v1)"); (err == nil) != !strings.Contains(line, "--now") {
					t.Errorf("after %s: %v\n%s", line, err, stderr)
				}
				// The request that the command prints is one that OpenSSL makes.
				for command := range strings.Lines(out) {
					if command = strings.TrimSpace(command); strings.HasPrefix(command, "openssl req") {
						l.Run(t, "sh", "-c", command)
						if request := l.Run(t, "openssl", "req", "-in", "tls.csr", "-noout", "-verify", "-subject"); !strings.Contains(request, "CN = tls") {
							t.Errorf("the request: %s", request)
						}
					}
				}
			default:
				l.signs(t, "tls")
			}
		}
	}
	if ran < 8 {
		t.Errorf("the page has only %d commands", ran)
	}
}

func (l laboratory) sign(label string) (stdout, stderr string, err error) {
	return l.Try("openssl", "dgst", "-sha256", "-out", "signature", "-engine", "pkcs11", "-keyform", "engine", "-sign", l.URI(label), l.File("tls.crt"))
}
