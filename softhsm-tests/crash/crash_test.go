// Package crash kills the daemon with SIGKILL under a load of key generation and signing. No application may see more
// than a slow call, no acknowledged key may be lost, and none may be there twice.
package crash

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

const (
	applications = 3
	kills        = 12
	// Between a restart and the next kill, in milliseconds: short enough to hit every phase of a call.
	least, most = 150, 900
)

func TestMain(m *testing.M) {
	if os.Getenv("ANYHSM_LOAD") != "" {
		os.Exit(load())
	}
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

func TestKill(t *testing.T) {
	target.Ours(t, func(t *testing.T, target target.Target) {
		made := make(chan string, 100_000)
		stop := target.File("stop")
		done := make(chan error, applications)
		for number := range applications {
			go func() { done <- run(target, number, stop, made) }()
		}
		for range kills {
			time.Sleep(time.Duration(least+rand.IntN(most-least)) * time.Millisecond)
			target.Daemon.Kill()
			target.Daemon.Restart()
		}
		if err := os.WriteFile(stop, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range applications {
			if err := <-done; err != nil {
				t.Errorf("an application saw the crash: %v", err)
			}
		}
		close(made)
		acknowledged := wantAll(t, target, made)
		t.Logf("%d kills, %d keys acknowledged", kills, acknowledged)
		if acknowledged < kills {
			t.Errorf("only %d keys were made: no load", acknowledged)
		}
		wantIntact(t, target.Daemon)
	})
}

// wantAll wants each key that was acknowledged to be there once, and no other, and returns how many they are.
func wantAll(t *testing.T, target target.Target, made <-chan string) (acknowledged int) {
	t.Helper()
	count := map[string]int{}
	list := target.Run(t, "pkcs11-tool", "--module", target.Module, "--token-label", target.Token, "--login", "--pin", target.PIN, "--list-objects")
	for _, object := range strings.Split(list, "Key Object;")[1:] {
		for _, line := range strings.Split(object, "\n") {
			if label, found := strings.CutPrefix(strings.TrimSpace(line), "label:"); found {
				count[strings.TrimSpace(label)]++
			}
		}
	}
	for label := range made {
		acknowledged++
		if count[label] != 2 {
			t.Errorf("%s has %d objects, want a public and a private key", label, count[label])
		}
	}
	for label, n := range count {
		if n != 2 {
			t.Errorf("%s has %d objects", label, n)
		}
	}
	return acknowledged
}

func wantIntact(t *testing.T, d *daemontest.Daemon) {
	t.Helper()
	if out := d.CLI(t, "audit", "verify"); !strings.Contains(strings.ToLower(out), "intact: ") {
		t.Errorf("audit verify: %s", out)
	}
}

// run starts one application and passes on which keys it was told it has.
func run(target target.Target, number int, stop string, made chan<- string) error {
	command := exec.Command(os.Args[0])
	command.Env = append(append(os.Environ(), target.Env...), "ANYHSM_LOAD=1", "MODULE="+target.Module, "TOKEN="+target.Token, "PIN="+target.PIN,
		"STOP="+stop, fmt.Sprint("NUMBER=", number))
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	var errors strings.Builder
	command.Stderr = &errors
	if err := command.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if label, found := strings.CutPrefix(lines.Text(), "made "); found {
			made <- label
		}
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, errors.String())
	}
	return nil
}
