package seal

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/argon2"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Meta is where the check value of the root key and the salt of a passphrase are kept; keystore.Store is one.
type Meta interface {
	// Meta returns a value, nil if it is not there.
	Meta(ctx context.Context, key string) ([]byte, error)
	// InitMeta stores a value unless one is there, and returns the one that is there now.
	InitMeta(ctx context.Context, key string, value []byte) ([]byte, error)
}

const (
	metaCheck = "root.check"
	metaSalt  = "root.passphrase"
	// MinPassphrase is the least length of a passphrase in bytes.
	MinPassphrase = 8
)

// FromFile returns the root key in a file. For a store that has none yet the file is made if it is missing.
func FromFile(ctx context.Context, path string, meta Meta) (*Root, error) {
	if salt, err := meta.Meta(ctx, metaSalt); err != nil {
		return nil, err
	} else if salt != nil {
		return nil, fault.New(fault.InvalidInput, "this store's root key comes from a passphrase, not from the file %s; set root_key.passphrase", path)
	}
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		check, e := meta.Meta(ctx, metaCheck)
		switch {
		case e != nil:
			return nil, e
		case check != nil:
			return nil, fault.New(fault.InvalidInput,
				"the root key file %s is missing and the store cannot be opened without it; restore the file from its backup", path)
		}
		key, err = createKey(path)
	}
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return checked(ctx, key, meta, "the root key in "+path)
}

// FromPassphrase derives the root key from a passphrase and the store's salt.
func FromPassphrase(ctx context.Context, passphrase []byte, meta Meta) (*Root, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fault.New(fault.InvalidInput, "the root key's passphrase has %d bytes; choose one of at least %d", len(passphrase), MinPassphrase)
	}
	stored, err := meta.Meta(ctx, metaSalt)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		if check, err := meta.Meta(ctx, metaCheck); err != nil {
			return nil, err
		} else if check != nil {
			return nil, fault.New(fault.InvalidInput, "this store's root key comes from a file, not from a passphrase; set root_key.file")
		}
		if stored, err = meta.InitMeta(ctx, metaSalt, newStretch().encode()); err != nil {
			return nil, err
		}
	}
	s, err := parseStretch(stored)
	if err != nil {
		return nil, err
	}
	key := argon2.IDKey(passphrase, s.salt, s.passes, s.memory, s.lanes, KeySize)
	defer clear(key)
	return checked(ctx, key, meta, "the passphrase")
}

// checked compares the key's check value with the store's, or leaves one in a new store.
func checked(ctx context.Context, key []byte, meta Meta, what string) (*Root, error) {
	root, err := NewRoot(key)
	if err != nil {
		return nil, err
	}
	check := root.MAC("root check", nil)
	stored, err := meta.InitMeta(ctx, metaCheck, check)
	if err == nil && !hmac.Equal(stored, check) {
		err = fault.New(fault.InvalidInput, "%s is not the one that this store was made with; give the right one, or point to its own store", what)
	}
	if err != nil {
		root.Wipe()
		return nil, err
	}
	return root, nil
}

// stretch is how a passphrase becomes a key: RFC 9106's second recommended choice, once at each start.
type stretch struct {
	memory, passes uint32
	lanes          uint8
	salt           []byte
}

func newStretch() stretch {
	s := stretch{memory: 64 * 1024, passes: 3, lanes: 4, salt: make([]byte, 16)}
	rand.Read(s.salt)
	return s
}

func (s stretch) encode() []byte {
	return fmt.Appendf(nil, "argon2id m=%d t=%d p=%d %x", s.memory, s.passes, s.lanes, s.salt)
}

func parseStretch(stored []byte) (stretch, error) {
	var s stretch
	var salt string
	n, _ := fmt.Sscanf(string(stored), "argon2id m=%d t=%d p=%d %s", &s.memory, &s.passes, &s.lanes, &salt)
	s.salt, _ = hex.DecodeString(salt)
	if n != 4 || len(s.salt) < 8 || s.memory < 1024 || s.memory > 4<<20 || s.passes < 1 || s.passes > 64 || s.lanes < 1 ||
		!bytes.Equal(s.encode(), stored) {
		return s, fault.New(fault.StoreDamaged, "the salt of the root key's passphrase is damaged in the store; restore the store from a backup")
	}
	return s, nil
}
