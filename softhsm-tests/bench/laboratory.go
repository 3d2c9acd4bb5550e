package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Where Debian has the others' libraries.
const (
	softHSM      = "/usr/lib/softhsm/libsofthsm2.so"
	p11KitClient = "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so"
)

const pin = "user-pin-4711"

// patience is how long a server may take to start.
const patience = 20 * time.Second

// laboratory is what is measured, with all processes that belong to it.
type laboratory struct {
	dir, build, driver string
	targets            []*target
	processes          []*exec.Cmd
}

// target is a module with what it needs.
type target struct {
	name, module string
	env          []string
	// server is the process behind the module; 0 if there is none.
	server int
}

func (t *target) arguments() []string {
	return []string{"--module", t.module, "--token", "bench", "--pin", pin}
}

// start starts the servers and makes the keys.
func (l *laboratory) start(names []string) error {
	for _, name := range names {
		var err error
		target := &target{name: name}
		switch name {
		case "softhsm":
			err = l.softHSM(target)
		case "p11-kit":
			err = l.p11Kit(target)
		case "anyhsm", "anyhsm-grpc-go", "anyhsm-tls":
			err = l.anyHSM(target)
		default:
			err = errors.New("there is no such target; see -help")
		}
		if err == nil {
			_, err = output(append(os.Environ(), target.env...), l.driver, append(target.arguments(), "--setup")...)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.targets = append(l.targets, target)
	}
	return nil
}

// end ends the servers, the last one first.
func (l *laboratory) end() {
	for i := len(l.processes) - 1; i >= 0; i-- {
		_ = l.processes[i].Process.Signal(syscall.SIGTERM)
		_ = l.processes[i].Wait()
	}
}

// softHSM makes a fresh token in a directory of its own.
func (l *laboratory) softHSM(t *target) error {
	dir := filepath.Join(l.dir, t.name)
	if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "softhsm2.conf")
	text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	t.module, t.env = softHSM, []string{"SOFTHSM2_CONF=" + file}
	_, err := output(append(os.Environ(), t.env...), "softhsm2-util", "--init-token", "--free", "--label", "bench", "--pin", pin, "--so-pin", pin)
	return err
}

// p11Kit starts p11-kit's server over a SoftHSM of its own.
func (l *laboratory) p11Kit(t *target) error {
	if err := l.softHSM(t); err != nil {
		return err
	}
	socket := filepath.Join(l.dir, "p11-kit.sock")
	server := exec.Command("p11-kit", "server", "--foreground", "--provider", softHSM, "--name", socket, "pkcs11:token=bench")
	server.Env = append(os.Environ(), t.env...)
	if err := l.run(server, func() bool { return answers(socket) }); err != nil {
		return err
	}
	t.module, t.server = p11KitClient, server.Process.Pid
	t.env = append(t.env, "P11_KIT_SERVER_ADDRESS=unix:path="+socket)
	return nil
}

// anyHSM starts a daemon with the provider software, PINs, policy and audit, as it comes.
func (l *laboratory) anyHSM(t *target) error {
	dir := filepath.Join(l.dir, t.name)
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return err
	}
	socket := filepath.Join(dir, "s")
	transport := "transport = \"grpcwire\"\n"
	if t.name == "anyhsm-grpc-go" {
		transport = "transport = \"grpc-go\"\n"
	}
	listen, address, module := transport, "", fmt.Sprintf("endpoints = [%q]\n", "unix://"+socket)+transport
	if t.name == "anyhsm-tls" {
		var err error
		if address, err = freeAddress(); err != nil {
			return err
		}
		listen += fmt.Sprintf("tcp = %q\nadvertise = [\"127.0.0.1\"]\n", address)
	}
	file := filepath.Join(dir, "anyhsmd.toml")
	text := fmt.Sprintf("store = %q\nadmins = [\"uid:%d\"]\n[listen]\nunix = %q\n%s[root_key]\nfile = %q\n",
		filepath.Join(dir, "state", "anyhsm.db"), os.Getuid(), socket, listen, filepath.Join(dir, "state", "root.key"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	t.module = filepath.Join(l.build, "anyhsm-pkcs11.so")
	t.env = []string{"ANYHSM_CONFIG=" + filepath.Join(dir, "module.toml"), "ANYHSM_SOCKET=" + socket, "BENCH_PIN=" + pin}
	daemon := exec.Command(filepath.Join(l.build, "anyhsmd"), "--config", file)
	if err := l.run(daemon, func() bool { return answers(socket) }); err != nil {
		return err
	}
	t.server = daemon.Process.Pid
	cli := func(arguments ...string) (string, error) {
		return output(append(os.Environ(), t.env...), filepath.Join(l.build, "anyhsm"), arguments...)
	}
	if _, err := cli("token", "create", "bench", "--so-pin", "env:BENCH_PIN", "--user-pin", "env:BENCH_PIN"); err != nil {
		return err
	}
	if t.name == "anyhsm-tls" {
		enrolled, err := l.enroll(dir, cli, address)
		if err != nil {
			return err
		}
		module = enrolled
	}
	return os.WriteFile(filepath.Join(dir, "module.toml"), []byte(module), 0o644)
}

// run starts a server and waits until it answers.
func (l *laboratory) run(server *exec.Cmd, ready func() bool) error {
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return err
	}
	l.processes = append(l.processes, server)
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %s", server.Path, said.String())
		}
	}
	return nil
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// output runs a program that must succeed.
func output(env []string, program string, arguments ...string) (string, error) {
	command := exec.Command(program, arguments...)
	command.Env = env
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s%s", program, strings.Join(arguments, " "), err, out, stderr.String())
	}
	return string(out), nil
}

// machine describes the host.
func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown machine"
	}
	model, cores := "unknown CPU", 0
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(name) {
		case "model name":
			model = strings.TrimSpace(value)
			cores++
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	var system syscall.Utsname
	_ = syscall.Uname(&system)
	var release strings.Builder
	for _, c := range system.Release {
		if c == 0 {
			break
		}
		release.WriteByte(byte(c))
	}
	return fmt.Sprintf("%d × %s, Linux %s, load %s", cores, model, release.String(), strings.Join(strings.Fields(string(load))[:3], " "))
}

// enroll gives the caller a certificate for the daemon's TCP address and returns the module's configuration.
func (l *laboratory) enroll(dir string, cli func(...string) (string, error), address string) (string, error) {
	if _, err := cli("app", "add", "bench", "--grant", "bench:use+create"); err != nil {
		return "", err
	}
	code, err := cli("app", "code", "bench")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "code")
	if err := os.WriteFile(file, []byte(strings.TrimSpace(code)), 0o600); err != nil {
		return "", err
	}
	identity := filepath.Join(dir, "identity")
	if _, err := cli("enroll", "--endpoint", "tcp://"+address, "--dir", identity, "--code", "file:"+file); err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(identity, "module.toml"))
	return string(text), err
}
