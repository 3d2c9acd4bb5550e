package clouds

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/opencryptokitest"
	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// softHSMTables makes a SoftHSM token, for all that runs in this test, and returns the configuration of a provider on it.
func softHSMTables(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	t.Setenv("SOFTHSM2_CONF", directory+"/softhsm2.conf")
	write(t, directory+"/softhsm2.conf", "directories.tokendir = "+directory+"\nlog.level = ERROR\n")
	write(t, directory+"/pin", "4711")
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "anyhsm", "--so-pin", "0815", "--pin", "4711").CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	return target.Replace(t, target.Page(t, "../providers/hsm.md", "toml"), map[string]string{"/etc/anyhsm/softhsm.pin": directory + "/pin"})
}

// nssTables makes an NSS database, as the page does, and returns the configuration of a provider on it.
func nssTables(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	write(t, directory+"/pin", "4711-nss\n")
	if out, err := exec.Command("certutil", "-N", "-d", "sql:"+directory, "-f", directory+"/pin").CombinedOutput(); err != nil {
		t.Fatalf("certutil: %v\n%s", err, out)
	}
	return target.Replace(t, target.Page(t, "../providers/hsm.md", "toml nss"), map[string]string{
		"/etc/anyhsm/nss.pin":                      directory + "/pin",
		"/etc/anyhsm/nss'":                         directory + "'",
		"/usr/lib/x86_64-linux-gnu/libsoftokn3.so": library(t, "libsoftokn3.so"),
	})
}

// opencryptokiTables lets the daemon of this test run where it has an opencryptoki of its own, and returns the
// configuration of a provider on its soft token.
func opencryptokiTables(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	daemon, _ := daemontest.Programs(t)
	wrapper := directory + "/anyhsmd"
	within := strings.Join(opencryptokitest.Within(t, directory), " ")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec "+within+" "+daemon+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ANYHSM_DAEMON", wrapper)
	write(t, directory+"/pin", opencryptokitest.PIN)
	return target.Replace(t, target.Page(t, "../providers/hsm.md", "toml opencryptoki"), map[string]string{
		"/etc/anyhsm/opencryptoki.pin":                        directory + "/pin",
		"/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so": opencryptokitest.Library(t),
	})
}

// library finds a library where Debian has it on this machine's architecture.
func library(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/" + name)
	if err != nil || len(found) == 0 {
		t.Fatalf("there is no %s; run scripts/install-packages.sh", name)
	}
	return found[0]
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCheckAll has one daemon with all peers, and checks them.
func TestCheckAll(t *testing.T) {
	names := []string{"software", "softhsm", "nss", "opencryptoki", "pykmip", "vault", "aws", "gcp", "azure", "azure-hsm"}
	vault, _ := peertest.Vault(t)
	tables := softHSMTables(t) + nssTables(t) + opencryptokiTables(t)
	// Two instances of one kind: a vault and a Managed HSM. They have one certificate.
	azure, _ := peertest.Azure(t, false)
	managed, _ := peertest.Azure(t, true)
	for _, peer := range []peertest.Peer{peertest.PyKMIP(t), vault, peertest.AWS(t), peertest.Google(t), azure, managed} {
		tables += peer.Tables
	}
	daemon := daemontest.Start(t, daemontest.Options{Tables: tables})
	waitFor(t, daemon, names)

	var steps []struct {
		Provider, Name, Detail string
		Passed                 bool
	}
	decode(t, daemon.CLI(t, "provider", "check", "--json"), &steps)
	passed := map[string][]string{}
	for _, step := range steps {
		if !step.Passed {
			t.Errorf("%s: %s: %s", step.Provider, step.Name, step.Detail)
		}
		passed[step.Provider] = append(passed[step.Provider], step.Name)
	}
	for _, name := range names {
		want := "generate sign verify"
		if name == "pykmip" {
			want = "generate encrypt decrypt" // it makes no key pairs
		}
		if got := strings.Join(passed[name], " "); !strings.Contains(got, want) {
			t.Errorf("the steps of %s are %q", name, got)
		}
		daemon.CLI(t, "provider", "check", name)
	}
}

// waitFor waits until all providers are open and healthy: the daemon does not wait for them.
func waitFor(t *testing.T, daemon *daemontest.Daemon, names []string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		var list []struct {
			Name, Detail string
			Healthy      bool
		}
		out := daemon.CLI(t, "provider", "list", "--json")
		decode(t, out, &list)
		healthy := map[string]bool{}
		for _, p := range list {
			healthy[p.Name] = p.Healthy
		}
		missing := []string{}
		for _, name := range names {
			if !healthy[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not healthy: %v\n%s", missing, daemon.CLI(t, "provider", "list"))
		}
	}
}

func decode(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// TestNSSAndOpencryptoki serves TLS with keys in the databases of NSS and opencryptoki.
func TestNSSAndOpencryptoki(t *testing.T) {
	tables := nssTables(t) + opencryptokiTables(t)
	for _, provider := range []struct {
		name  string
		kinds map[string]string
	}{
		{"nss", map[string]string{"rsa": "rsa:2048", "p256": "EC:prime256v1"}},
		{"opencryptoki", map[string]string{"rsa": "rsa:2048"}},
	} {
		t.Run(provider.name, func(t *testing.T) {
			daemon := daemontest.Start(t, daemontest.Options{Provider: provider.name, Tables: tables})
			on := target.Of(t, provider.name, daemon)
			on.EngineConfiguration(t)
			for label, kind := range provider.kinds {
				on.GenerateKeyPair(t, kind, label, fmt.Sprintf("%02d", len(label)))
				certify(t, on, label)
				t.Run("nginx "+label, func(t *testing.T) { serve(t, on, label) })
			}
		})
	}
}
