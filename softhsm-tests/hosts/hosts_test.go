package hosts

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// limit ends a host that hangs: each needs a few seconds.
const limit = 3 * time.Minute

// binaries is where compiled hosts are, for all tests.
var binaries string

func TestMain(m *testing.M) {
	directory, err := os.MkdirTemp("", "hosts")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = directory
	code := m.Run()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

var compiled sync.Map

// compile builds a host once.
func compile(t *testing.T, name string) string {
	t.Helper()
	once, _ := compiled.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		include := filepath.Join(daemontest.Root(), "include")
		header, err := os.ReadFile(filepath.Join(include, "pkcs11.h"))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(binaries, "signatures.h"), []byte(Signatures(string(header))), 0o600); err != nil {
			return "", err
		}
		program := filepath.Join(binaries, name)
		out, err := exec.Command("cc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-cast-function-type",
			"-I", include, "-I", binaries, "-o", program, filepath.Join("programs", name+".c"), "-ldl", "-lpthread").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("cc %s.c: %w\n%s", name, err, out)
		}
		return program, nil
	}))
	program, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// run runs a host, which must be content and silent.
func run(t *testing.T, environment []string, name string, arguments ...string) {
	t.Helper()
	program := compile(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = append([]string{"PATH=" + os.Getenv("PATH")}, environment...)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	command.WaitDelay = 10 * time.Second // for what the host has forked, and left behind when it was killed
	if err := command.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, out.String())
	}
	if out.Len() > 0 {
		t.Errorf("%s %s prints:\n%s", name, strings.Join(arguments, " "), out.String())
	}
}

// alone is the environment of a host whose daemon is not there.
func alone(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "module.toml")
	if err := os.WriteFile(file, []byte("endpoints = [\"unix:///nowhere/anyhsmd.sock\"]\ntimeout = \"100ms\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"ANYHSM_CONFIG=" + file}
}

func TestGenerations(t *testing.T) {
	module := daemontest.Module(t)
	for _, generations := range []string{"1", "2", "6", "12"} {
		for _, when := range []string{"before", "after"} {
			for _, scope := range []string{"local", "global"} {
				t.Run(strings.Join([]string{generations, when, scope}, " "), func(t *testing.T) {
					run(t, alone(t), "generations", module, generations, when, scope)
				})
			}
		}
	}
}

func TestIdleChild(t *testing.T) { run(t, alone(t), "idle_child", daemontest.Module(t)) }

func TestBusyFork(t *testing.T) { run(t, alone(t), "busy_fork", daemontest.Module(t), "20") }

func TestReload(t *testing.T) { run(t, alone(t), "reload", daemontest.Module(t)) }

func TestRace(t *testing.T) { run(t, alone(t), "race", daemontest.Module(t)) }

func TestInterfaces(t *testing.T) { run(t, alone(t), "interfaces", daemontest.Module(t)) }

func TestQuiet(t *testing.T) { run(t, alone(t), "quiet", daemontest.Module(t)) }

func TestSignals(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		for _, stack := range []string{"onstack", "plain"} {
			t.Run(when+" "+stack, func(t *testing.T) {
				run(t, alone(t), "signals", daemontest.Module(t), when, stack)
			})
		}
	}
}

// TestMaster: a host that waits for signals as nginx's master does is woken by each.
func TestMaster(t *testing.T) { run(t, alone(t), "master", daemontest.Module(t)) }

func TestDefaultSignals(t *testing.T) { run(t, alone(t), "defaults", daemontest.Module(t)) }

func TestHardship(t *testing.T) {
	for _, what := range []string{"descriptors", "memfd", "clone"} {
		t.Run(what, func(t *testing.T) { run(t, alone(t), "hardship", daemontest.Module(t), what) })
	}
}

func TestAbsurd(t *testing.T) { run(t, alone(t), "absurd", daemontest.Module(t)) }

// eachProvider runs a test with a daemon of each provider.
func eachProvider(t *testing.T, test func(t *testing.T, daemon *daemontest.Daemon)) {
	for _, provider := range []string{"software", "hsm"} {
		t.Run(provider, func(t *testing.T) {
			test(t, daemontest.Start(t, daemontest.Options{Provider: provider}))
		})
	}
}

func TestSign(t *testing.T) {
	eachProvider(t, func(t *testing.T, daemon *daemontest.Daemon) {
		run(t, daemon.Env(), "sign", daemon.ModulePath, daemon.UserPIN, "3")
	})
}

// TestGuest: what the module costs a host that is idle has ceilings.
func TestGuest(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{})
	run(t, daemon.Env(), "guest", daemon.ModulePath, daemon.UserPIN)
}

func TestInherit(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{})
	run(t, daemon.Env(), "inherit", daemon.ModulePath, daemon.Token)
	run(t, alone(t), "inherit", daemon.ModulePath, daemon.Token, "string", "anyhsm: endpoints=unix://"+daemon.Socket)
}

// TestWithDaemon runs the hosts whose calls go further when there is a token.
func TestWithDaemon(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{})
	t.Run("absurd", func(t *testing.T) { run(t, daemon.Env(), "absurd", daemon.ModulePath, daemon.UserPIN) })
	t.Run("dangling", func(t *testing.T) { run(t, daemon.Env(), "dangling", daemon.ModulePath, daemon.UserPIN) })
	t.Run("busy fork", func(t *testing.T) { run(t, daemon.Env(), "busy_fork", daemon.ModulePath, "20") })
	t.Run("race", func(t *testing.T) { run(t, daemon.Env(), "race", daemon.ModulePath) })
	t.Run("quiet", func(t *testing.T) { run(t, daemon.Env(), "quiet", daemon.ModulePath) })
	t.Run("signals", func(t *testing.T) { run(t, daemon.Env(), "signals", daemon.ModulePath, "before", "plain") })
	t.Run("idle child", func(t *testing.T) { run(t, daemon.Env(), "idle_child", daemon.ModulePath) })
}
