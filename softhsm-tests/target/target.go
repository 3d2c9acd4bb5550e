// Package target gives application tests the modules they run against: SoftHSM itself, which shows that the test is
// right, and ours in front of each provider.
package target

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// Target is a PKCS#11 module with a token that is ready.
type Target struct {
	// Name is softhsm, software or hsm.
	Name string
	// Module is the library's path.
	Module string
	// Env is what the application's environment needs to reach the token.
	Env []string
	// Token is the label; PIN and SOPIN open it.
	Token, PIN, SOPIN string
	// Daemon is nil for SoftHSM itself.
	Daemon *daemontest.Daemon

	directory string
}

// Each runs a test against SoftHSM itself and against our module with each provider, each with a fresh token.
func Each(t *testing.T, test func(t *testing.T, target Target)) {
	t.Run("softhsm", func(t *testing.T) { test(t, SoftHSM(t)) })
	Ours(t, test)
}

// Ours runs a test against our module with each provider, each with a fresh daemon and token.
func Ours(t *testing.T, test func(t *testing.T, target Target)) {
	for _, provider := range []string{"software", "hsm"} {
		t.Run(provider, func(t *testing.T) {
			// The log says all it ever says, so that tests see what it must not say.
			daemon := daemontest.Start(t, daemontest.Options{Provider: provider, Tables: "[log]\nlevel = \"debug\"\n"})
			test(t, Of(t, provider, daemon))
		})
	}
}

// Of is our module in front of a daemon that a test has started itself.
func Of(t testing.TB, name string, daemon *daemontest.Daemon) Target {
	t.Helper()
	return Target{
		Name: name, Module: daemon.ModulePath, Env: daemon.Env(), Token: daemon.Token,
		PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon, directory: t.TempDir(),
	}
}

// File returns a path in the target's own directory.
func (target Target) File(name string) string { return filepath.Join(target.directory, name) }

// Write writes a file in the target's own directory and returns its path.
func (target Target) Write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := target.File(name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Command prepares a program with the target's environment in the target's directory.
func (target Target) Command(name string, arguments ...string) *exec.Cmd {
	command := exec.Command(name, arguments...)
	command.Env = append(os.Environ(), target.Env...)
	command.Dir = target.directory
	return command
}

// Run runs a program that must succeed and returns its standard output.
func (target Target) Run(t testing.TB, name string, arguments ...string) string {
	t.Helper()
	out, stderr, err := target.Try(name, arguments...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(arguments, " "), err, out, stderr)
	}
	return out
}

// Try runs a program that may fail.
func (target Target) Try(name string, arguments ...string) (stdout, stderr string, err error) {
	command := target.Command(name, arguments...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

// In returns the target with a directory of its own for files and programs.
func (target Target) In(directory string) Target {
	target.directory = directory
	return target
}
