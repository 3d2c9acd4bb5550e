package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// A root key file is one line: this prefix and the key in hexadecimal digits. The prefix tells an administrator what
// the file is, and us that it is not another secret.
const filePrefix = "anyhsm-root-key-1:"

// readKey reads a root key file; the error is fs.ErrNotExist if there is none.
func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the root key file cannot be read: %w; let the daemon's user own it", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the root key file cannot be read: %w", err)
	}
	if err := private(path, info); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, 1024))
	defer clear(content)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "the root key file %s cannot be read: %w", path, err)
	}
	digits, ok := bytes.CutPrefix(bytes.TrimSuffix(content, []byte("\n")), []byte(filePrefix))
	key := make([]byte, KeySize)
	if ok = ok && len(digits) == hex.EncodedLen(KeySize); ok {
		_, err = hex.Decode(key, digits)
	}
	if !ok || err != nil {
		// The decoder's words may quote the key: they stay here.
		clear(key)
		return nil, fault.New(fault.InvalidInput, "%s is not a root key file, or is damaged; restore it from its backup", path)
	}
	return key, nil
}

// private refuses a file that others could read or could have put there.
func private(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fault.New(fault.InvalidInput, "the root key file %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fault.New(fault.InvalidInput, "the root key file %s has mode %04o, so others can reach it; run: chmod 600 %s", path, mode, path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fault.New(fault.InvalidInput, "the root key file %s belongs to uid %d, not to the daemon's user (uid %d); run: chown %d %s",
			path, stat.Uid, os.Geteuid(), os.Geteuid(), path)
	}
	return nil
}

// createKey makes a root key file that is durable when it returns. The key is written under another name first and then
// linked, so that a crash leaves no half-written file, and two daemons that start together end up with one key.
func createKey(path string) ([]byte, error) {
	key := make([]byte, KeySize)
	rand.Read(key)
	err := writeKey(path, key)
	if errors.Is(err, fs.ErrExist) {
		clear(key)
		return readKey(path)
	}
	if err != nil {
		clear(key)
		return nil, fault.New(fault.InvalidInput, "the root key file %s cannot be made: %w; create its directory for the daemon's user", path, err)
	}
	return key, nil
}

func writeKey(path string, key []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft := fmt.Sprintf("%s.%s.new", path, rand.Text()[:8])
	f, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(draft)
	line := hex.AppendEncode([]byte(filePrefix), key)
	line = append(line, '\n')
	_, err = f.Write(line)
	clear(line)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(draft, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
