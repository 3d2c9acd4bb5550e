package daemontest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A product is a file that a build makes.
type product struct {
	file, source, variable string
	arguments              []string
}

var (
	moduleProduct = product{"anyhsm-pkcs11.so", "./p11module", "ANYHSM_MODULE", []string{
		"-tags=grpcnotrace", "-buildmode=c-shared", "-ldflags=-s -w -extldflags=-Wl,--version-script=" + filepath.Join(Root(), "p11module", "exports.map"),
	}}
	daemonProduct = product{"anyhsmd", "./daemon", "ANYHSM_DAEMON", nil}
	cliProduct    = product{"anyhsm", "./cmd/anyhsm", "ANYHSM_CLI", nil}
)

// Root is the top of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Module returns the path of a module that is no older than its sources, and builds it if need be. ANYHSM_MODULE names
// another one.
func Module(t testing.TB) string { return moduleProduct.path(t) }

// Programs does the same for the daemon (ANYHSM_DAEMON) and the CLI (ANYHSM_CLI).
func Programs(t testing.TB) (daemon, cli string) { return daemonProduct.path(t), cliProduct.path(t) }

// Program returns the path of another program of the tree, such as a fake service, that is no older than its sources.
func Program(t testing.TB, name, source string) string {
	return product{file: name, source: source}.path(t)
}

func (p product) path(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(p.variable); path != "" {
		return path
	}
	path := filepath.Join(Root(), "build", p.file)
	if err := p.build(path); err != nil {
		t.Fatalf("build %s: %v", p.file, err)
	}
	return path
}

// build runs `go build` if a source is newer. Test packages run at the same time, so a lock lets one build for all.
func (p product) build(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(path), ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	newest, err := sources()
	if err != nil {
		return err
	}
	if built, err := os.Stat(path); err == nil && built.ModTime().After(newest) {
		return nil
	}
	// A module that is mapped must not be written to: build aside, then rename.
	aside := path + ".new"
	command := exec.Command("go", append(append([]string{"build", "-trimpath"}, p.arguments...), "-o", aside, p.source)...)
	command.Dir = Root()
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	_ = os.Remove(strings.TrimSuffix(aside, ".so.new") + ".so.h")
	now := time.Now()
	if err := os.Chtimes(aside, now, now); err != nil {
		return err
	}
	return os.Rename(aside, path)
}

// sources returns when the newest source that goes into a product was changed.
var sources = sync.OnceValues(func() (newest time.Time, err error) {
	for _, directory := range []string{"go.mod", "cmd", "daemon", "include", "internal", "p11module", "proto"} {
		err = filepath.WalkDir(filepath.Join(Root(), directory), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") {
				return err
			}
			info, err := entry.Info()
			if err == nil && info.ModTime().After(newest) {
				newest = info.ModTime()
			}
			return err
		})
		if err != nil {
			return newest, err
		}
	}
	return newest, nil
})
