// Package matrix runs each application on a key of each type in each provider, and writes docs/providers/README.md from
// what it saw: `go test ./softhsm-tests/apps/matrix -update`. A plain run fails when the page says something else. The
// clouds are strict fakes, all else is real.
package matrix

import (
	"flag"
	"os"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/peertest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

var update = flag.Bool("update", false, "write the table into docs/providers/README.md")

// places are the providers' names in the daemon's configuration, each with a token of that name, and what the table
// calls them.
var places = []struct{ provider, name string }{
	{"software", "software"},
	{"hsm", "hsm (SoftHSM)"},
	{"aws", "awskms"},
	{"gcp", "gcpkms"},
	{"azure", "azurekv (Key Vault)"},
	{"azure-hsm", "azurekv (Managed HSM)"},
	{"vault", "vault"},
	{"kmip", "kmip"},
	{"pykmip", "kmip (PyKMIP)"},
}

// place is a provider with a token of its own, and what the applications did with its keys.
type place struct {
	target.Target
	name, slot string
	cli        string
	declared   declaration
	keys       map[string]*key
	outcomes   map[string][]outcome
	// done tells that all applications have run.
	done bool
}

// start starts all services and one daemon with a token in each.
func start(t *testing.T) (*daemontest.Daemon, map[string]declaration) {
	t.Helper()
	tables := "[log]\nlevel = \"info\"\n"
	vault, _ := peertest.Vault(t)
	azure, _ := peertest.Azure(t, false)
	// Its certificate is the same, which the daemon trusts.
	managed, _ := peertest.Azure(t, true)
	for _, peer := range []peertest.Peer{peertest.AWS(t), peertest.Google(t), azure, managed, vault, peertest.KMIP(t), peertest.PyKMIP(t)} {
		tables += peer.Tables
	}
	daemon := daemontest.Start(t, daemontest.Options{Provider: "hsm", NoToken: true, Tables: tables})
	declared := declarations(t, daemon)
	for _, p := range places {
		daemon.CLI(t, "token", "create", p.provider, "--provider", p.provider, "--so-pin", "env:ANYHSM_TEST_SO_PIN", "--user-pin", "env:ANYHSM_TEST_USER_PIN")
	}
	return daemon, declared
}

func TestMatrix(t *testing.T) {
	daemon, declared := start(t)
	classes := compile(t)
	_, cli := daemontest.Programs(t)
	var all []*place
	t.Run("providers", func(t *testing.T) {
		for _, p := range places {
			on := target.Of(t, p.name, daemon)
			on.Token = p.provider
			on.EngineConfiguration(t)
			here := &place{Target: on, name: p.name, slot: on.Slot(t), cli: cli, declared: declared[p.provider], keys: map[string]*key{}, outcomes: map[string][]outcome{}}
			t.Run(p.provider, func(t *testing.T) {
				t.Parallel()
				here.generate(t, false)
				here.openSSL(t)
				here.nginx(t)
				here.generate(t, true)
				here.stumbles(t)
				here.certificates(t)
				here.tool(t)
				here.java(t, classes)
				here.done = true
			})
			all = append(all, here)
		}
	})
	if t.Failed() {
		return
	}
	for _, p := range all {
		if !p.done {
			t.Logf("%s has not run, so the page is not compared", p.name)
			return
		}
	}
	const page = "../../../docs/providers/README.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := insert(t, string(text), table(all))
	switch {
	case want == string(text):
	case *update:
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/providers/README.md says something else; run go test ./softhsm-tests/apps/matrix -update. The run says:\n%s", table(all))
	}
}
