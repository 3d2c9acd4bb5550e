// Package daemontest gives tests a daemon of their own: built, started in a directory of its own with a token ready,
// and ended with the test.
package daemontest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a daemon may take to start or to end.
const patience = 20 * time.Second

// Options say which daemon a test wants.
type Options struct {
	// Provider is where the token's keys live: "software" (also when empty), or "hsm" for a fresh SoftHSM token.
	Provider string
	// Config is TOML that goes before all else in the daemon's configuration: keys without a table, such as store.
	Config string
	// Tables is TOML that goes after all else, such as [audit].
	Tables string
	// NoLogin makes a token that needs no PIN.
	NoLogin bool
	// NoToken leaves the daemon without a token.
	NoToken bool
	// TCP lets the daemon listen on loopback as well, with mutual TLS.
	TCP bool
	// Store is a database's URL instead of a file of the daemon's own.
	Store string
	// Replica makes the daemon another one on the store of this one, with the same root key and no token of its own.
	Replica *Daemon
}

// Daemon is a running daemon.
type Daemon struct {
	// ModulePath is the PKCS#11 module that was built from the same tree.
	ModulePath string
	// Socket is where the daemon listens, Dir holds all that is its own, ConfigFile is its configuration.
	Socket, Dir, ConfigFile string
	// MetricsURL is where Prometheus would ask.
	MetricsURL string
	// Endpoint is tcp://HOST:PORT if the options asked for it.
	Endpoint string
	// Token is the token's label; the PINs open it.
	Token, UserPIN, SOPIN string

	t              testing.TB
	program, cli   string
	store, rootKey string
	// hsm is the configuration of the provider on SoftHSM, which replicas share; empty without one.
	hsm         string
	environment []string
	process     *exec.Cmd
}

// Start starts a daemon with a token. It ends with the test.
func Start(t testing.TB, options Options) *Daemon {
	t.Helper()
	d := prepare(t, options)
	if !options.NoToken && options.Replica == nil {
		d.createToken(options)
	}
	return d
}

func prepare(t testing.TB, options Options) *Daemon {
	t.Helper()
	// The socket's path must be short, and other users' programs must reach it: not t.TempDir.
	dir, err := os.MkdirTemp("", "anyhsm")
	check(t, err)
	check(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	d := &Daemon{
		ModulePath: Module(t), Socket: filepath.Join(dir, "anyhsmd.sock"), Dir: dir,
		ConfigFile: filepath.Join(dir, "anyhsmd.toml"),
		Token:      "test", UserPIN: "user-pin-4711", SOPIN: "so-pin-0815", t: t,
	}
	d.program, d.cli = Programs(t)
	metrics := freeAddress(t)
	d.MetricsURL = "http://" + metrics + "/metrics"
	state := filepath.Join(dir, "state")
	check(t, os.Mkdir(state, 0o700))
	d.store, d.rootKey = filepath.Join(state, "anyhsm.db"), filepath.Join(state, "root.key")
	if options.Store != "" {
		d.store = options.Store
	}
	if options.Replica != nil {
		d.store, d.rootKey = options.Replica.store, options.Replica.rootKey
	}
	text := options.Config + "\n" + fmt.Sprintf(`store = %q
admins = ["uid:0", "uid:%d"]
[listen]
unix = %q
metrics = %q
[root_key]
file = %q
`, d.store, os.Getuid(), d.Socket, metrics, d.rootKey)
	if options.TCP {
		address := freeAddress(t)
		d.Endpoint = "tcp://" + address
		text = strings.Replace(text, "[listen]\n", fmt.Sprintf("[listen]\ntcp = %q\nadvertise = [\"127.0.0.1\", \"localhost\"]\n", address), 1)
	}
	switch {
	case options.Provider == "hsm":
		d.hsm = d.softHSM()
	case options.Replica != nil:
		d.hsm, d.environment = options.Replica.hsm, options.Replica.environment
	}
	text += d.hsm
	check(t, os.WriteFile(d.ConfigFile, []byte(text+options.Tables), 0o600))
	check(t, os.WriteFile(d.moduleConfig(), fmt.Appendf(nil, "endpoints = [%q]\n", "unix://"+d.Socket), 0o644))
	d.run()
	t.Cleanup(d.stop)
	return d
}

func (d *Daemon) moduleConfig() string { return filepath.Join(d.Dir, "module.toml") }

// Env is what a program needs in its environment to reach the daemon, through the module or as the CLI.
func (d *Daemon) Env() []string {
	return []string{"ANYHSM_CONFIG=" + d.moduleConfig(), "ANYHSM_SOCKET=" + d.Socket}
}

// Kill ends the daemon at once, as a crash would.
func (d *Daemon) Kill() {
	d.t.Helper()
	if d.process == nil {
		return
	}
	_ = d.process.Process.Kill()
	_ = d.process.Wait()
	d.process = nil
}

// Signal sends the daemon a signal, such as SIGSTOP.
func (d *Daemon) Signal(signal syscall.Signal) {
	d.t.Helper()
	check(d.t, d.process.Process.Signal(signal))
}

// Restart starts the daemon anew, on what it has stored; one that still runs is asked to end first.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.stop()
	d.run()
}

// CLI runs the CLI, which must succeed, and returns its standard output.
func (d *Daemon) CLI(t testing.TB, arguments ...string) string {
	t.Helper()
	command := exec.Command(d.cli, arguments...)
	command.Env = append(os.Environ(), d.Env()...)
	command.Env = append(command.Env, "ANYHSM_TEST_USER_PIN="+d.UserPIN, "ANYHSM_TEST_SO_PIN="+d.SOPIN)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("anyhsm %s: %v\n%s%s", strings.Join(arguments, " "), err, out, stderr.String())
	}
	return string(out)
}

// Grant registers an application that runs as a Unix user and gives it the token.
func (d *Daemon) Grant(t testing.TB, application, user string) {
	t.Helper()
	d.CLI(t, "app", "add", application, "--user", user, "--grant", d.Token)
}

// RPCs returns how many calls of modules the daemon has answered: those of the token, object and crypto services, not
// the CLI's.
func (d *Daemon) RPCs() int {
	d.t.Helper()
	total := 0
	for _, count := range d.Calls() {
		total += count
	}
	return total
}

// Calls returns how many calls of applications the daemon has answered, by method.
func (d *Daemon) Calls() map[string]int {
	d.t.Helper()
	response, err := http.Get(d.MetricsURL)
	check(d.t, err)
	defer response.Body.Close()
	calls := map[string]int{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		labels, value, found := strings.Cut(strings.TrimPrefix(lines.Text(), "anyhsm_rpc_requests_total{"), "} ")
		_, method, labelled := strings.Cut(labels, `method="`)
		if !found || !labelled || !strings.HasPrefix(lines.Text(), "anyhsm_rpc_requests_total{") {
			continue
		}
		method, _, _ = strings.Cut(method, `"`)
		switch service, _, _ := strings.Cut(method, "/"); service {
		case "TokenService", "ObjectService", "CryptoService":
			count, err := strconv.ParseFloat(value, 64)
			check(d.t, err)
			calls[method] += int(count)
		}
	}
	return calls
}

func (d *Daemon) createToken(options Options) {
	d.t.Helper()
	provider := options.Provider
	if provider == "" {
		provider = "software"
	}
	arguments := []string{"token", "create", d.Token, "--provider", provider, "--so-pin", "env:ANYHSM_TEST_SO_PIN"}
	if options.NoLogin {
		arguments = append(arguments, "--no-login")
	} else {
		arguments = append(arguments, "--user-pin", "env:ANYHSM_TEST_USER_PIN")
	}
	d.CLI(d.t, arguments...)
}

// run starts the process and waits until it is healthy.
func (d *Daemon) run() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.Dir, "anyhsmd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(d.t, err)
	defer log.Close()
	process := exec.Command(d.program, "--config", d.ConfigFile)
	process.Env = append(os.Environ(), d.environment...)
	process.Stdout, process.Stderr = log, log
	// A test that dies takes its daemon along.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(d.t, process.Start())
	d.process = process
	deadline := time.Now().Add(patience)
	for !d.healthy() {
		if gone := syscall.Kill(process.Process.Pid, 0) != nil || zombie(process.Process.Pid); gone || time.Now().After(deadline) {
			d.t.Fatalf("the daemon is not healthy:\n%s", d.log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (d *Daemon) healthy() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(d.MetricsURL, "metrics")+"healthz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false
	}
	conn, err := net.DialTimeout("unix", d.Socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// stop asks the daemon to end and insists after a while.
func (d *Daemon) stop() {
	if d.process == nil {
		return
	}
	process := d.process
	d.process = nil
	_ = process.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { _ = process.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		_ = process.Process.Kill()
		<-ended
		d.t.Errorf("the daemon did not end on SIGTERM:\n%s", d.log())
	}
	if d.t.Failed() {
		d.t.Logf("the daemon's log:\n%s", d.log())
	}
}

// log is the end of the daemon's log.
func (d *Daemon) log() string {
	text, err := os.ReadFile(filepath.Join(d.Dir, "anyhsmd.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-8192):])
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "Z")
}

// freeAddress finds a port below those that the kernel gives to outgoing connections: one of these could take the port
// before the daemon does.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if listener, err := net.Listen("tcp", address); err == nil {
			listener.Close()
			return address
		}
	}
	t.Fatal("no port from 20000 to 31999 is free on 127.0.0.1")
	return ""
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
