package main

import (
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/anyhsm/anyhsm/internal/enrollment"
	_ "modernc.org/sqlite"
)

const softHSMLibrary = "/usr/lib/softhsm/libsofthsm2.so"

// binaries builds the daemon and the CLI once, in a directory that every user may enter.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "anyhsm-script")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	for name, source := range map[string]string{"anyhsmd": "../../daemon", "anyhsm": "."} {
		if err != nil {
			break
		}
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), source)
		if out, failed := build.CombinedOutput(); failed != nil {
			err = fmt.Errorf("go build %s: %w\n%s", source, failed, out)
		}
	}
	return dir, err
})

var running sync.Map // work directory → *exec.Cmd

// startDaemon writes a configuration once and starts the daemon: daemon [tcp] [softhsm].
func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: daemon [tcp] [softhsm]")
	}
	dir, err := binaries()
	ts.Check(err)
	config := ts.MkAbs("d/anyhsmd.toml")
	if _, err := os.Stat(config); err != nil {
		ts.Check(os.MkdirAll(ts.MkAbs("d"), 0o755))
		ts.Check(os.WriteFile(config, []byte(daemonConfig(ts, args)), 0o600))
	}
	log, err := os.OpenFile(ts.MkAbs("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	daemon := exec.Command(filepath.Join(dir, "anyhsmd"), "--config", config)
	daemon.Stdout, daemon.Stderr = log, log
	daemon.Env = append(os.Environ(), "SOFTHSM2_CONF="+ts.Getenv("SOFTHSM2_CONF"))
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ts.Check(daemon.Start())
	_ = log.Close()
	running.Store(ts.Getenv("WORK"), daemon)
	ts.Defer(func() { end(ts, syscall.SIGKILL) })
	socket := ts.MkAbs("d/anyhsmd.sock")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if connection, err := net.Dial("unix", socket); err == nil {
			_ = connection.Close()
			return
		}
		if time.Now().After(deadline) || syscall.Kill(daemon.Process.Pid, 0) != nil {
			ts.Fatalf("the daemon does not listen:\n%s", ts.ReadFile("daemon.log"))
		}
	}
}

func daemonConfig(ts *testscript.TestScript, features []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "store = %q\n[root_key]\nfile = %q\n[listen]\nunix = %q\n", ts.MkAbs("d/anyhsm.db"), ts.MkAbs("d/root.key"),
		ts.MkAbs("d/anyhsmd.sock"))
	for _, feature := range features {
		switch feature {
		case "tcp":
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			ts.Check(err)
			address := listener.Addr().String()
			ts.Check(listener.Close())
			fmt.Fprintf(&b, "tcp = %q\nadvertise = [\"127.0.0.1\", \"localhost\"]\n", address)
			ts.Setenv("TCP", "tcp://"+address)
		case "softhsm":
			fmt.Fprintf(&b, "[[provider]]\nname = \"softhsm\"\nkind = \"hsm\"\nlibrary = %q\ntoken = \"hsm\"\npin = %q\nsessions = 4\n",
				softHSMLibrary, "file:"+ts.MkAbs("hsm.pin"))
		default:
			ts.Fatalf("daemon: unknown feature %q", feature)
		}
	}
	return b.String()
}

func stopDaemon(ts *testscript.TestScript, _ bool, _ []string) { end(ts, syscall.SIGTERM) }

func killDaemon(ts *testscript.TestScript, _ bool, _ []string) { end(ts, syscall.SIGKILL) }

func end(ts *testscript.TestScript, signal syscall.Signal) {
	if daemon, ok := running.LoadAndDelete(ts.Getenv("WORK")); ok {
		_ = daemon.(*exec.Cmd).Process.Signal(signal)
		_ = daemon.(*exec.Cmd).Wait()
	}
}

// softHSM makes an empty SoftHSM token named hsm.
func softHSM(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: softhsm")
	}
	config := ts.MkAbs("softhsm2.conf")
	ts.Check(os.MkdirAll(ts.MkAbs("softhsm"), 0o700))
	ts.Check(os.WriteFile(config, []byte("directories.tokendir = "+ts.MkAbs("softhsm")+"\nlog.level = ERROR\n"), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("hsm.pin"), []byte("87654321\n"), 0o600))
	ts.Setenv("SOFTHSM2_CONF", config)
	ts.Check(ts.Exec("softhsm2-util", "--init-token", "--free", "--label", "hsm", "--pin", "87654321", "--so-pin", "12345678"))
}

// asUser runs the CLI as another user: as UID ARGS...
func asUser(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := binaries()
	ts.Check(err)
	if len(args) < 2 {
		ts.Fatalf("usage: as UID ARGS...")
	}
	words := append([]string{"--reuid=" + args[0], "--regid=" + args[0], "--clear-groups", filepath.Join(dir, "anyhsm")}, args[1:]...)
	err = ts.Exec("setpriv", words...)
	ts.Logf("[stdout]\n%s[stderr]\n%s", ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	if (err != nil) != neg {
		ts.Fatalf("as %s: %v", strings.Join(args, " "), err)
	}
}

// opensslKey makes a key and a certificate with openssl: openssl-key NAME ALGORITHM OPTION.
func opensslKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: openssl-key NAME ALGORITHM OPTION")
	}
	key, certificate := ts.MkAbs(args[0]+".key"), ts.MkAbs(args[0]+".pem")
	ts.Check(ts.Exec("openssl", "genpkey", "-algorithm", args[1], "-pkeyopt", args[2], "-out", key))
	ts.Check(ts.Exec("openssl", "req", "-x509", "-new", "-key", key, "-subj", "/CN="+args[0], "-days", "30", "-out", certificate))
	ts.Check(ts.Exec("openssl", "pkey", "-in", key, "-pubout", "-out", ts.MkAbs(args[0]+".pub")))
}

// tamper changes an event of the audit log behind the daemon's back: tamper SEQUENCE.
func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tamper SEQUENCE")
	}
	sequence, err := strconv.Atoi(args[0])
	ts.Check(err)
	store, err := sql.Open("sqlite", ts.MkAbs("d/anyhsm.db"))
	ts.Check(err)
	defer store.Close()
	result, err := store.Exec("UPDATE audit SET operation = 'Innocent' WHERE sequence = ?", sequence)
	ts.Check(err)
	if n, _ := result.RowsAffected(); n != 1 {
		ts.Fatalf("no event %d", sequence)
	}
}

// appendFile appends a file to another: append TO FROM.
func appendFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: append TO FROM")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(ts.ReadFile(args[0])+ts.ReadFile(args[1])), 0o600))
}

// labelFromFile gives a key a label that cannot stand in a script: label-from-file KEY FILE.
func labelFromFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: label-from-file KEY FILE")
	}
	ts.Check(ts.Exec("anyhsm", "key", "label", args[0], ts.ReadFile(args[1])))
}

// admins makes an identity an administrator besides root, or with no argument nobody.
func admins(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: admins [IDENTITY]")
	}
	_, rest, found := strings.Cut(ts.ReadFile("d/anyhsmd.toml"), "store = ")
	if !found {
		ts.Fatalf("start the daemon once before")
	}
	list := `"uid:` + strconv.Itoa(os.Getuid()) + `"`
	for _, identity := range args {
		list += ", " + strconv.Quote(identity)
	}
	ts.Check(os.WriteFile(ts.MkAbs("d/anyhsmd.toml"), []byte("admins = ["+list+"]\nstore = "+rest), 0o600))
}

// foreignCode puts a code that another daemon would have made into $FOREIGN.
func foreignCode(ts *testscript.TestScript, _ bool, _ []string) {
	code := enrollment.New(&x509.Certificate{RawSubjectPublicKeyInfo: []byte("another authority"), IsCA: true})
	ts.Setenv("FOREIGN", code.String())
}

// expand writes a file with the script's variables filled in: expand FROM TO.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: expand FROM TO")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o644))
}

// daemonProgram runs anyhsmd to its end: anyhsmd COMMAND ARGS..., with the script's configuration; neg wants it to fail.
func daemonProgram(ts *testscript.TestScript, neg bool, args []string) {
	dir, err := binaries()
	ts.Check(err)
	if len(args) == 0 {
		ts.Fatalf("usage: anyhsmd COMMAND ARGS...")
	}
	words := append([]string{args[0], "--config", ts.MkAbs("d/anyhsmd.toml")}, args[1:]...)
	err = ts.Exec(filepath.Join(dir, "anyhsmd"), words...)
	if (err != nil) != neg {
		ts.Fatalf("anyhsmd %s: %v", strings.Join(args, " "), err)
	}
}
