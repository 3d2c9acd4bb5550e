package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/wire"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// The test binary is the daemon as well: a process that can be killed without building anything.
const asDaemon = "ANYHSMD_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// process is a daemon of its own in a directory of its own.
type process struct {
	t         *testing.T
	directory string
	socket    string
	tcp       string
	config    string
	command   *exec.Cmd
}

// freePort returns a TCP port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newProcess(t *testing.T, more string) *process {
	t.Helper()
	directory, err := os.MkdirTemp("", "anyhsmd")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, directory: directory, socket: filepath.Join(directory, "run", "a.sock"), tcp: freePort(t)}
	p.config = filepath.Join(directory, "anyhsmd.toml")
	store := filepath.Join(directory, "state", "anyhsm.db")
	if os.Getenv("ANYHSM_TEST_STORE") == "postgres" { // as in `make test`
		store = postgrestest.Shared(t).Database(t)
		more = fmt.Sprintf("[root_key]\nfile = %q\n", filepath.Join(directory, "state", "root.key")) + more
	}
	text := fmt.Sprintf("store = %q\n[listen]\nunix = %q\ntcp = %q\nadvertise = [\"127.0.0.1\"]\n[log]\nlevel = \"debug\"\n%s", store, p.socket, p.tcp, more)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill(syscall.SIGKILL)
		for _, never := range []string{"DATA RACE", "a call panicked", "goroutine "} {
			if strings.Contains(p.log(), never) {
				t.Errorf("the daemon's log has %q", never)
			}
		}
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", p.tail())
		}
		_ = os.RemoveAll(directory)
	})
	return p
}

func (p *process) log() string {
	b, _ := os.ReadFile(filepath.Join(p.directory, "log"))
	return string(b)
}

func (p *process) tail() string {
	text := p.log()
	return text[max(0, len(text)-4000):]
}

// start starts the daemon and waits until it is ready.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.directory, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	before := strings.Count(p.log(), "anyhsmd is ready")
	p.command = exec.Command(os.Args[0], "--config", p.config)
	p.command.Env = append(os.Environ(), asDaemon+"=1")
	p.command.Stdout, p.command.Stderr = log, log
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); strings.Count(p.log(), "anyhsmd is ready") == before; {
		if time.Now().After(deadline) {
			p.t.Fatalf("the daemon does not become ready:\n%s", p.tail())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// kill ends the daemon with a signal and returns its exit code.
func (p *process) kill(signal syscall.Signal) int {
	if p.command == nil {
		return 0
	}
	_ = p.command.Process.Signal(signal)
	_ = p.command.Wait()
	code := p.command.ProcessState.ExitCode()
	p.command = nil
	return code
}

// invoke runs the daemon to its end.
func invoke(arguments ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(arguments, &out, &errs)
	return code, out.String(), errs.String()
}

func dial(t *testing.T, target string, security credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(security),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond}}),
		grpc.WithUnaryInterceptor(patient))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func (p *process) unix() *grpc.ClientConn {
	return dial(p.t, "unix://"+p.socket, insecure.NewCredentials())
}

// patient does what the module's client does: it says its protocol version and repeats a call while the daemon is away.
func patient(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
	ctx = metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
	for {
		err := invoker(ctx, method, request, response, connection, options...)
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func requestID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

func TestFlags(t *testing.T) {
	directory := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", "store = \"/x/a.db\"\n[root_key]\npassphrase = \"env:ANYHSM_TEST_PASSPHRASE\"\n")
	unknown := write("unknown.toml", "stroe = \"/x/a.db\"\n")
	kind := write("kind.toml", "[[provider]]\nname = \"a\"\nkind = \"awskmz\"\n")
	t.Setenv("ANYHSM_TEST_PASSPHRASE", "correct horse")
	for _, test := range []struct {
		name           string
		arguments      []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"--version"}, 0, "anyhsmd ", ""},
		{"help", []string{"--help"}, 0, "", "check-config"},
		{"unknown flag", []string{"--port"}, 2, "", "not defined"},
		{"argument", []string{"start"}, 2, "", `unexpected argument "start"`},
		{"good", []string{"--check-config", "--config", good}, 0, "env:ANYHSM_TEST_PASSPHRASE", ""},
		{"unknown key", []string{"--check-config", "--config", unknown}, 1, "", `line 1: unknown key "stroe"`},
		{"unknown key at the start", []string{"--config", unknown}, 1, "", `line 1: unknown key "stroe"`},
		{"unknown kind", []string{"--check-config", "--config", kind}, 1, "", `kind "awskmz" is unknown to this build`},
		{"no file", []string{"--config", directory + "/none"}, 1, "", "there is no configuration file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := invoke(test.arguments...)
			if code != test.code || !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if strings.Contains(stdout+stderr, "correct horse") {
				t.Error("the secret was shown")
			}
			for line := range strings.Lines(stderr) {
				if test.code == 1 && !strings.HasPrefix(line, "anyhsmd: ") {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	p := newProcess(t, "")
	p.start()
	again := exec.Command(os.Args[0], "--config", p.config)
	again.Env = append(os.Environ(), asDaemon+"=1")
	out, err := again.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another anyhsmd (pid") {
		t.Errorf("the same store: %v, %s", err, out)
	}
	// Another store, the same socket.
	other := filepath.Join(p.directory, "other.toml")
	if err := os.WriteFile(other, fmt.Appendf(nil, "store = %q\n[listen]\nunix = %q\n", filepath.Join(p.directory, "other", "a.db"), p.socket), 0o600); err != nil {
		t.Fatal(err)
	}
	again = exec.Command(os.Args[0], "--config", other)
	again.Env = append(os.Environ(), asDaemon+"=1")
	out, err = again.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "uses the socket") {
		t.Errorf("the same socket: %v, %s", err, out)
	}
	if code := p.kill(syscall.SIGTERM); code != 0 {
		t.Errorf("exit code after SIGTERM: %d", code)
	}
	if _, err := os.Stat(p.socket); !os.IsNotExist(err) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestNoCoreDumpAndNoTrace(t *testing.T) {
	p := newProcess(t, "")
	p.start()
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max core file size") && (fields[4] != "0" || fields[5] != "0") {
			t.Errorf("core dumps are on: %s", line)
		}
	}
	// A process that is not dumpable has its /proc files owned by root.
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", p.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 0 {
		t.Errorf("the daemon is dumpable: its memory belongs to uid %d", stat.Uid)
	}
}

func TestDamagedStoreAndWrongRootKey(t *testing.T) {
	p := newProcess(t, "")
	p.start()
	p.kill(syscall.SIGTERM)
	state := filepath.Join(p.directory, "state")

	refused := func(name, want string) {
		t.Helper()
		command := exec.Command(os.Args[0], "--config", p.config)
		command.Env = append(os.Environ(), asDaemon+"=1")
		out, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "goroutine ") {
			t.Errorf("%s: %v, %s", name, err, out)
		}
	}
	key := filepath.Join(state, "root.key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	refused("no root key", "root key")
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(state, "anyhsm.db"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), size/2&^4095); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	refused("damaged store", "restore")
}
