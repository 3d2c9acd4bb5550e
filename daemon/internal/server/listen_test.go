package server

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLockRefusesTheSecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lock")
	unlock, err := Lock(path, "the store x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path, "the store x"); err == nil || !strings.Contains(err.Error(), "another anyhsmd") || !strings.Contains(err.Error(), "uses the store x") {
		t.Errorf("error = %v", err)
	}
	unlock()
	unlock, err = Lock(path, "the store x")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := Lock(filepath.Join(path, "b"), "it"); err == nil {
		t.Error("a lock in a directory that is none")
	}
}

func TestListenUnix(t *testing.T) {
	stale := func(t *testing.T, path string) {
		// A listener that ends without cleaning up, as a killed daemon does.
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
	}
	for _, test := range []struct {
		name    string
		prepare func(t *testing.T, path string)
		want    string
	}{
		{"nothing there", func(*testing.T, string) {}, ""},
		{"stale socket", stale, ""},
		{"a file", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "is no socket"},
		{"a link to a socket", func(t *testing.T, path string) {
			if err := os.Symlink(path+".other", path); err != nil {
				t.Fatal(err)
			}
		}, "is no socket"},
		{"served by somebody else", func(t *testing.T, path string) {
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}, "another process serves"},
		{"locked by another daemon", func(t *testing.T, path string) {
			unlock, err := Lock(path+".lock", "it")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(unlock)
		}, "another anyhsmd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A umask must not decide who may connect.
			path := filepath.Join(t.TempDir(), "a.sock")
			test.prepare(t, path)
			defer syscall.Umask(syscall.Umask(0o077))
			listener, unlock, err := listenUnix(path)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error = %v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			defer listener.Close()
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
				t.Errorf("socket: %v, %v", info, err)
			}
		})
	}
}

func TestSocketDirectoryIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "a.sock")
	defer syscall.Umask(syscall.Umask(0o077))
	listener, unlock, err := listenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	defer listener.Close()
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("directory: %v, %v", info, err)
	}
}
