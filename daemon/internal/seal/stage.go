package seal

import (
	"context"
	"crypto/hmac"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// The next root key lies beside the current one until the store is sealed under it; then it takes its name, and the
// old one is kept as FILE.retired-FINGERPRINT, because backups from before need it. At every moment one of the two
// files opens the store.
const (
	nextSuffix    = ".next"
	retiredSuffix = ".retired-"
)

// NextFile is where the key that follows the one in a file is looked for.
func NextFile(path string) string { return path + nextSuffix }

// Stage looks whether there is a next key, and takes it or drops the one that is gone.
func (r *Root) Stage(ctx context.Context, current, next Source, meta Meta) error {
	switch {
	case next.Given():
	case current.Passphrase != nil:
		return nil
	default:
		next = Source{File: NextFile(current.File)}
	}
	if next.Passphrase != nil {
		if _, err := meta.InitMeta(ctx, MetaNextSalt, newStretch().encode()); err != nil {
			return err
		}
	}
	g, err := next.read(ctx, meta, MetaNextSalt)
	if err != nil {
		return err
	}
	if (g == nil || hmac.Equal(g.check(), r.Check())) && current.File != "" {
		// A daemon that shares the directory may have renamed the file before we have seen the store change.
		next = current
		if g, err = current.read(ctx, meta, MetaSalt); err != nil {
			return err
		}
	}
	if g == nil || hmac.Equal(g.check(), r.Check()) {
		r.stage(nil)
		return nil
	}
	if staged := r.Staged(); staged != nil && hmac.Equal(staged, g.check()) {
		return nil
	}
	if next.File != "" {
		// It may have been copied here a moment ago, and is all that opens the store after the rotation.
		if err := syncKey(next.File); err != nil {
			return err
		}
	}
	r.stage(g)
	return nil
}

// syncKey makes a file that somebody else has written durable.
func syncKey(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return fault.New(fault.DeviceError, "the root key file %s cannot be made durable: %w; look at the disk", path, err)
	}
	return nil
}

// CreateKey makes a root key file with a new key, unless there is one.
func CreateKey(path string) error {
	key, err := createKey(path)
	clear(key)
	return err
}

// Promote gives the next key's file the name of the current one, if it holds the current key by now.
func (r *Root) Promote(path string) error {
	key, err := promote(path, r.Check())
	clear(key)
	return err
}

// promote returns the key of the next file if it has the check value, nil if not; then it is in the file.
func promote(path string, check []byte) ([]byte, error) {
	key, err := readKey(NextFile(path))
	if errors.Is(err, fs.ErrNotExist) || check == nil {
		clear(key)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, err := newGeneration(key)
	if err != nil {
		return nil, err
	}
	defer g.wipe()
	if !hmac.Equal(g.check(), check) {
		clear(key)
		return nil, nil
	}
	if err := replaceKey(path); err != nil {
		clear(key)
		return nil, fault.New(fault.InvalidInput, "the root key file %s cannot be replaced by %s: %w; rename it by hand", path, NextFile(path), err)
	}
	return key, nil
}

// replaceKey keeps the old key under its fingerprint and gives its name to the next one.
func replaceKey(path string) error {
	old, err := readKey(path)
	if err == nil {
		g, err := newGeneration(old)
		clear(old)
		if err != nil {
			return err
		}
		defer g.wipe()
		if err := os.Link(path, path+retiredSuffix+Fingerprint(g.check())); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := os.Rename(NextFile(path), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
