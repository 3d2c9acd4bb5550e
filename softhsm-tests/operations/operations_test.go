// Package operations follows docs/operations.md line by line: three daemons on one PostgreSQL, and an application that
// signs all the while.
package operations

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

const pin = "user-pin-4711"

// site is the three machines.
type site struct {
	root        string
	environment []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	root, err := os.MkdirTemp("", "ops") // the path of a Unix socket must be short
	check(t, err)
	s := &site{root: root}
	t.Cleanup(func() {
		for _, host := range hosts {
			if id, err := os.ReadFile(filepath.Join(root, host, "pid")); err == nil {
				if pid, err := strconv.Atoi(strings.TrimSpace(string(id))); err == nil {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			if t.Failed() {
				log, _ := os.ReadFile(filepath.Join(root, host, "log"))
				t.Logf("%s:\n%s", host, log[max(0, len(log)-3000):])
			}
		}
		_ = os.RemoveAll(root)
	})
	daemon, cli := daemontest.Programs(t)
	tools := filepath.Join(root, "bin")
	check(t, os.MkdirAll(tools, 0o755))
	for name, text := range programs {
		check(t, os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/bash\n"+text+"\n"), 0o755))
	}
	check(t, os.Symlink(cli, filepath.Join(tools, "anyhsm")))
	for _, host := range hosts {
		for _, dir := range []string{"etc/anyhsm", "var/lib/anyhsm", "run/anyhsm", "var/backups", "usr/local/bin"} {
			check(t, os.MkdirAll(filepath.Join(root, host, dir), 0o700))
		}
		copyFile(t, daemon, filepath.Join(root, host, "usr/local/bin/anyhsmd"))
	}
	for name, secret := range map[string]string{"web.pin": pin, "so.pin": "so-pin-0815"} {
		check(t, os.WriteFile(filepath.Join(root, "replica1/etc/anyhsm", name), []byte(secret+"\n"), 0o600))
	}
	// What the upgrade brings is a build of another version.
	build := exec.Command("go", "build", "-ldflags=-X github.com/anyhsm/anyhsm/internal/version.Version=v99.0.0", "-o", filepath.Join(root, "anyhsmd.new"), "./daemon")
	build.Dir = daemontest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// The page's sed takes no &.
	database, port, _ := strings.Cut(postgrestest.Shared(t).Database(t), "&")
	net := fmt.Sprintf("127.%d.%d", 1+os.Getpid()%250, os.Getpid()/250%250)
	s.environment = append(os.Environ(), "PATH="+tools+":"+os.Getenv("PATH"), "ROOT="+root, "HOST=replica1", "NET="+net,
		"DATABASE="+database, "PG"+strings.ToUpper(port))
	return s
}

var hosts = []string{"replica1", "replica2", "replica3"}

// run runs one block on replica1, as its operator types it.
func (s *site) run(t *testing.T, block string) string {
	t.Helper()
	command := exec.Command(filepath.Join(s.root, "bin", "on"), "replica1", block)
	command.Env, command.Dir = s.environment, s.root
	out, err := command.CombinedOutput()
	t.Logf("%s\n→ %s", block, out)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return string(out)
}

func TestPage(t *testing.T) {
	s := newSite(t)
	stop := make(chan struct{})
	var signatures, failures atomic.Int64
	var ended chan struct{}
	for _, block := range blocks(t) {
		out := s.run(t, block)
		if strings.Contains(block, "audit verify") && !strings.Contains(out, "Intact") {
			t.Error("the audit is not intact")
		}
		if ended == nil && strings.Contains(block, "shop/module.toml") {
			ended = make(chan struct{})
			sign := s.application(t)
			check(t, sign())
			go func() {
				defer close(ended)
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := sign(); err != nil {
						failures.Add(1)
						t.Errorf("a signature failed: %v", err)
						return
					}
					signatures.Add(1)
				}
			}()
		}
	}
	// The replicas have put the new key in the place of the old one, and the old one opens nothing any more.
	deadline := time.Now().Add(time.Minute)
	for _, host := range hosts {
		for {
			retired, _ := filepath.Glob(filepath.Join(s.root, host, "var/lib/anyhsm/root.key.retired-*"))
			_, err := os.Stat(filepath.Join(s.root, host, "var/lib/anyhsm/root.key.next"))
			if len(retired) == 1 && os.IsNotExist(err) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s has not renamed its root key", host)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	before := signatures.Load()
	s.run(t, "for host in replica1 replica2 replica3; do ssh $host systemctl restart anyhsmd; done; anyhsm status; anyhsm root-key show; anyhsm audit verify")
	for signatures.Load() < before+10 && failures.Load() == 0 && time.Now().Before(deadline.Add(time.Minute)) {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	<-ended
	t.Logf("%d signatures, %d failed", signatures.Load(), failures.Load())
	if failures.Load() > 0 || signatures.Load() < 100 {
		t.Errorf("%d signatures, %d failed", signatures.Load(), failures.Load())
	}
	refused := "cp /var/lib/anyhsm/root.key.retired-* /var/lib/anyhsm/old.key; sed 's#^file = .*#file = \"/var/lib/anyhsm/old.key\"#; s#^tcp = .*#tcp = \"\"#; s#^metrics = .*##; s#anyhsmd.sock#old.sock#' /etc/anyhsm/anyhsmd.toml > /etc/anyhsm/old.toml\n" +
		"if timeout 60 anyhsmd --config /etc/anyhsm/old.toml > /var/lib/anyhsm/out 2>&1; then exit 1; fi; cat /var/lib/anyhsm/out"
	if out := s.run(t, refused); !strings.Contains(out, "not the one that this store was made with") {
		t.Errorf("with the old root key: %s", out)
	}
}

// application logs in once, over TCP to all three, and returns how it signs.
func (s *site) application(t *testing.T) func() error {
	t.Helper()
	t.Setenv("ANYHSM_CONFIG", filepath.Join(s.root, "replica1/etc/anyhsm/shop/module.toml"))
	module := pkcs11.New(daemontest.Module(t))
	if module == nil {
		t.Fatal("the module cannot be loaded")
	}
	check(t, module.Initialize())
	t.Cleanup(func() { _ = module.Finalize() })
	slots, err := module.GetSlotList(true)
	check(t, err)
	if len(slots) == 0 {
		t.Fatal("the application sees no token")
	}
	session, err := module.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	check(t, err)
	check(t, module.Login(session, pkcs11.CKU_USER, pin))
	check(t, module.FindObjectsInit(session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}))
	keys, _, err := module.FindObjects(session, 1)
	check(t, err)
	check(t, module.FindObjectsFinal(session))
	if len(keys) != 1 {
		t.Fatal("the application sees no key")
	}
	digest := sha256.Sum256([]byte("x"))
	return func() error {
		if err := module.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, keys[0]); err != nil {
			return err
		}
		signature, err := module.Sign(session, digest[:])
		if err == nil && (len(signature) != 64 || bytes.Equal(signature, make([]byte, 64))) {
			err = fmt.Errorf("a signature of %d bytes", len(signature))
		}
		time.Sleep(2 * time.Millisecond)
		return err
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	check(t, err)
	check(t, os.WriteFile(to, content, 0o755))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
