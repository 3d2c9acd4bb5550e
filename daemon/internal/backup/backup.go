// Package backup writes the whole store into one sealed file and makes a store of such a file. The seal is age's
// (C2SP): chunks of ChaCha20-Poly1305 whose nonces count, so that a change, another order or a missing end shows.
package backup

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/version"
)

// Summary tells what a backup holds.
type Summary struct {
	Header
	// Rows counts the rows by table.
	Rows map[string]int64
	// RootKey is the fingerprint of the root key under which it is sealed.
	RootKey string
}

// Write writes one state of the store. The root key must be the one that the store has in that state.
func Write(ctx context.Context, w io.Writer, store *keystore.Store, root *seal.Root) (Summary, error) {
	dump, err := store.Dump(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer dump.Close()
	check, err := dump.Meta(ctx, seal.MetaCheck)
	if err == nil {
		err = root.Follow(check)
	}
	if err != nil {
		return Summary{}, err
	}
	salt, err := dump.Meta(ctx, seal.MetaSalt)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{
		Header: Header{
			Format: format, Version: formatVersion, Schema: dump.Schema, Created: time.Now().UTC().Truncate(time.Second),
			Program: version.Version, Store: store.Name(),
		},
		RootKey: seal.Fingerprint(check),
	}
	sealed, err := age.Encrypt(w, recipient{root: root, salt: salt})
	if err != nil {
		return Summary{}, err
	}
	if !bytes.Equal(root.Check(), check) {
		return Summary{}, fault.New(fault.Conflict, "the root key was rotated at this moment; make the backup again")
	}
	packed, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err != nil {
		return Summary{}, err
	}
	if s.Rows, err = encode(packed, s.Header, dump.Records(ctx)); err != nil {
		return Summary{}, err
	}
	return s, errors.Join(packed.Close(), sealed.Close())
}

// Target is the store that a backup goes to.
type Target struct {
	Store    string
	Settings []keystore.Option
	// Replace lets a store go that is there.
	Replace bool
	// RootKey is that of the backup.
	RootKey seal.Source
}

// Restore makes a store of a backup: all of it, verified, or nothing. kept is where the file of the store that was
// replaced is.
func Restore(ctx context.Context, r io.Reader, to Target) (s Summary, kept string, err error) {
	id := &identity{open: to.RootKey.Read}
	defer func() {
		if id.root != nil {
			id.root.Wipe()
		}
	}()
	opened, err := age.Decrypt(r, id)
	if err != nil {
		var known *fault.Error
		if errors.As(err, &known) {
			return s, "", known
		}
		return s, "", errDamaged(err)
	}
	packed, err := gzip.NewReader(opened)
	if err != nil {
		return s, "", errDamaged(err)
	}
	lines := newDecoder(packed)
	if s.Header, err = lines.header(); err != nil {
		var known *fault.Error
		if !errors.As(err, &known) {
			err = errDamaged(err)
		}
		return s, "", err
	}
	s.RootKey = seal.Fingerprint(id.root.Check())
	kept, err = keystore.LoadStore(ctx, to.Store, keystore.Load{
		Schema: s.Schema, Records: lines.records(), Replace: to.Replace,
		Verify: func(ctx context.Context, reader *keystore.Reader, counts map[string]int64) error {
			s.Rows = counts
			// What follows the compressed data would otherwise never be looked at.
			if n, err := io.Copy(io.Discard, opened); err != nil || n > 0 {
				return errDamaged(fmt.Errorf("%d bytes too many (%v)", n, err))
			}
			return Verify(ctx, reader, id.root)
		},
	}, to.Settings...)
	return s, kept, err
}

// RestoreFile restores from a file; progress hears how much of it was read.
func RestoreFile(ctx context.Context, path string, to Target, progress func(read, size int64)) (Summary, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return Summary{}, "", fault.New(fault.InvalidInput, "the backup cannot be read: %w; give the path of the file", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Summary{}, "", err
	}
	return Restore(ctx, &counted{r: f, size: info.Size(), progress: progress}, to)
}

// counted tells how much was read.
type counted struct {
	r          io.Reader
	read, size int64
	progress   func(read, size int64)
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	c.progress(c.read, c.size)
	return n, err
}
