package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lock takes a lock that another daemon on the same thing would hold: the file is made if need be, stays, and names
// the process. The kernel lets go of the lock when the process ends, however it ends.
func Lock(path, what string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w; make its directory writable for uid %d", what, err, os.Getuid())
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 16)
		n, _ := file.ReadAt(holder, 0)
		_ = file.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock %s: %w; use a file system that supports locks", what, err)
		}
		return nil, fmt.Errorf("another anyhsmd (pid %s) uses %s; stop that one first, or give this one another path",
			strings.TrimSpace(string(holder[:n])), what)
	}
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return func() { _ = file.Close() }, nil
}

// listenUnix opens the socket. Everybody may connect: it is the peer's uid that counts.
func listenUnix(path string) (net.Listener, func(), error) {
	if err := makeDirectory(filepath.Dir(path)); err != nil {
		return nil, nil, fmt.Errorf("cannot make the socket's directory: %w; make it, or change listen.unix", err)
	}
	unlock, err := Lock(path+".lock", "the socket "+path)
	if err != nil {
		return nil, nil, err
	}
	listener, err := openUnix(path)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return listener, unlock, nil
}

// makeDirectory makes a directory that everybody may enter, whatever the umask. One that is there stays as it is.
func makeDirectory(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func openUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w; make its directory writable for uid %d, or change listen.unix", path, err, os.Getuid())
	}
	if err := os.Chmod(path, 0o666); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("cannot open the socket %s to applications: %w", path, err)
	}
	return listener, nil
}

// removeStale removes a socket that a daemon left which could not clean up. The lock says that none of ours is alive;
// whatever else answers there is left alone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot look at %s: %w; change listen.unix", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there and is no socket; remove it, or change listen.unix", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process serves the socket %s; stop it first, or change listen.unix", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("the socket %s is there but cannot be tried: %w; remove it, or change listen.unix", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("the stale socket %s cannot be removed: %w; remove it, or change listen.unix", path, err)
	}
	return nil
}
