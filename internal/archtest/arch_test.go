// Package archtest holds the import rules of the tree as a test, each with its reason.
package archtest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/anyhsm/anyhsm/"

// A rule forbids the packages below From, except those in Except, to depend directly on anything below one of Never.
type rule struct {
	from   string
	except []string
	never  []string
	reason string
}

var rules = []rule{
	{
		from: "internal/cryptoki", never: []string{module, "google.golang.org/", "C"},
		reason: "cryptoki is the vocabulary: it must be readable and usable without anything else",
	},
	{
		from: "internal/", never: []string{module + "daemon", module + "p11module", module + "cmd"},
		reason: "what both sides share may not know either side",
	},
	{
		from: "p11module", never: []string{module + "daemon", module + "cmd", "database/sql", "modernc.org/", "github.com/prometheus"},
		reason: "the module is a guest in somebody else's process: no server, no SQL, no SDK in it",
	},
	{
		from: "daemon", never: []string{module + "p11module", module + "cmd"},
		reason: "the daemon must not need the module",
	},
	{
		from: "cmd/anyhsm", never: []string{module + "daemon", module + "p11module"},
		reason: "the CLI speaks the protocol and nothing else, so that whatever it can do, others can",
	},
	{
		from: "daemon/internal/frontend", never: []string{module + "daemon/internal/provider"},
		reason: "front ends reach keys only through keyservice",
	},
	{
		from: "daemon/", except: []string{"daemon/internal/catalog", "daemon/internal/provider"},
		never:  []string{module + "daemon/internal/provider/"},
		reason: "only the catalog names concrete providers, so that a build can leave one out",
	},
	{
		from: "daemon/internal/policy", never: []string{module + "daemon/internal/keystore", module + "daemon/internal/provider", "database/sql", "net", "os"},
		reason: "policy decides without I/O",
	},
}

// mayUseC are the packages that may use cgo. Each has a C library or the C ABI on its other side.
var mayUseC = []string{"p11module", "daemon/internal/provider/hsm", "softhsm-tests/"}

type listed struct {
	ImportPath string
	Imports    []string
	CgoFiles   []string
}

func list(t *testing.T) []listed {
	t.Helper()
	command := exec.Command("go", "list", "-json=ImportPath,Imports,CgoFiles", "./...")
	command.Dir = root(t)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for decoder.More() {
		var p listed
		if err := decoder.Decode(&p); err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 5 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	return packages
}

func root(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(out)))
}

// below tells whether path is prefix or lies below it.
func below(path, prefix string) bool {
	return path == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		path := strings.TrimPrefix(p.ImportPath, module)
		for _, r := range rules {
			if !below(path, r.from) || excepted(path, r.except) {
				continue
			}
			for _, imported := range p.Imports {
				for _, never := range r.never {
					// A slash at the end means what lies below, and not the package itself.
					if strings.HasSuffix(never, "/") && imported == strings.TrimSuffix(never, "/") {
						continue
					}
					if below(imported, never) && !below(imported, p.ImportPath) {
						t.Errorf("%s imports %s: %s", path, imported, r.reason)
					}
				}
			}
		}
		if len(p.CgoFiles) > 0 && !excepted(path, mayUseC) {
			t.Errorf("%s uses cgo: only the module's ABI may (miekg/pkcs11 does it for provider/hsm)", path)
		}
	}
}

func excepted(path string, except []string) bool {
	for _, e := range except {
		if below(path, e) {
			return true
		}
	}
	return false
}

// TestNames keeps out the package names that say nothing about what is inside.
func TestNames(t *testing.T) {
	for _, p := range list(t) {
		for _, part := range strings.Split(strings.TrimPrefix(p.ImportPath, module), "/") {
			switch part {
			case "util", "utils", "common", "helper", "helpers", "manager", "base", "core", "misc":
				t.Errorf("%s: name it after what it holds", p.ImportPath)
			}
		}
	}
}
