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

// Where the store keeps what belongs to the root key.
const (
	// MetaCheck is the check value of the root key.
	MetaCheck = "root.check"
	// MetaSalt is the salt of a passphrase, MetaNextSalt that of the one that comes next.
	MetaSalt, MetaNextSalt = "root.passphrase", "root.passphrase.next"
	// MinPassphrase is the least length of a passphrase in bytes.
	MinPassphrase = 8
)

// Source is where a root key comes from: a file or a passphrase.
type Source struct {
	File       string
	Passphrase func() ([]byte, error)
}

// Given tells whether the source names anything.
func (s Source) Given() bool { return s.File != "" || s.Passphrase != nil }

// Open returns the store's root key. It is that of the current source, or that of the next one if a rotation has made
// it current; if it has not, the next key is staged. Without a next source it is looked for in FILE.next.
func Open(ctx context.Context, current, next Source, meta Meta) (*Root, error) {
	for {
		stored, err := meta.Meta(ctx, MetaCheck)
		if err != nil {
			return nil, err
		}
		root, err := open(ctx, current, next, meta, stored)
		if err == nil {
			return root, nil
		}
		// A database server may commit the rotation of a daemon that was killed while we are looking: then we have looked
		// at the wrong file.
		if now, failed := meta.Meta(ctx, MetaCheck); failed != nil || bytes.Equal(now, stored) {
			return nil, err
		}
	}
}

func open(ctx context.Context, current, next Source, meta Meta, stored []byte) (*Root, error) {
	if stored != nil && next.Given() {
		if g, err := next.read(ctx, meta, MetaSalt); err != nil {
			return nil, err
		} else if g != nil && hmac.Equal(g.check(), stored) {
			return &Root{current: g}, nil
		}
	}
	var root *Root
	var err error
	if current.Passphrase != nil {
		passphrase, err := current.Passphrase()
		if err != nil {
			return nil, err
		}
		defer clear(passphrase)
		root, err = FromPassphrase(ctx, passphrase, meta)
		if err != nil {
			return nil, err
		}
	} else if root, err = FromFile(ctx, current.File, meta); err != nil {
		return nil, err
	}
	return root, root.Stage(ctx, current, next, meta)
}

// FromFile returns the root key in a file. For a store that has none yet the file is made if it is missing.
func FromFile(ctx context.Context, path string, meta Meta) (*Root, error) {
	if salt, err := meta.Meta(ctx, MetaSalt); err != nil {
		return nil, err
	} else if salt != nil {
		return nil, fault.New(fault.InvalidInput, "this store's root key comes from a passphrase, not from the file %s; set root_key.passphrase", path)
	}
	stored, err := meta.Meta(ctx, MetaCheck)
	if err != nil {
		return nil, err
	}
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if stored != nil {
			return nil, fault.New(fault.InvalidInput,
				"the root key file %s is missing and the store cannot be opened without it; restore the file from its backup", path)
		}
		key, err = createKey(path)
	}
	if err != nil {
		return nil, err
	}
	defer func() { clear(key) }()
	// A rotation may have been interrupted between the store and the file.
	if promoted, err := promote(path, stored); err != nil {
		return nil, err
	} else if promoted != nil {
		clear(key)
		key = promoted
	}
	return checked(ctx, key, meta, "the root key in "+path)
}

// FromPassphrase derives the root key from a passphrase and the store's salt.
func FromPassphrase(ctx context.Context, passphrase []byte, meta Meta) (*Root, error) {
	stored, err := meta.Meta(ctx, MetaSalt)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		if check, err := meta.Meta(ctx, MetaCheck); err != nil {
			return nil, err
		} else if check != nil {
			return nil, fault.New(fault.InvalidInput, "this store's root key comes from a file, not from a passphrase; set root_key.file")
		}
		if len(passphrase) >= MinPassphrase {
			if stored, err = meta.InitMeta(ctx, MetaSalt, newStretch().encode()); err != nil {
				return nil, err
			}
		}
	}
	key, err := Stretch(passphrase, stored)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return checked(ctx, key, meta, "the passphrase")
}

// Stretch makes the root key of a passphrase and of what the store keeps as its salt.
func Stretch(passphrase, salt []byte) ([]byte, error) {
	if len(passphrase) < MinPassphrase {
		return nil, fault.New(fault.InvalidInput, "the root key's passphrase has %d bytes; choose one of at least %d", len(passphrase), MinPassphrase)
	}
	s, err := parseStretch(salt)
	if err != nil {
		return nil, err
	}
	return argon2.IDKey(passphrase, s.salt, s.passes, s.memory, s.lanes, KeySize), nil
}

// read returns the key of a source as it is; nil if there is none: no file, or no salt under this name.
func (s Source) read(ctx context.Context, meta Meta, salt string) (*generation, error) {
	if s.Passphrase == nil {
		key, err := readKey(s.File)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer clear(key)
		return newGeneration(key)
	}
	stored, err := meta.Meta(ctx, salt)
	if err != nil || stored == nil {
		return nil, err
	}
	passphrase, err := s.Passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	key, err := Stretch(passphrase, stored)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	g, err := newGeneration(key)
	if err == nil {
		g.salt = stored
	}
	return g, err
}

// Read returns the root key of a source by itself: that of a file, or of a passphrase with a salt that is given.
func (s Source) Read(salt []byte) (*Root, error) {
	if s.Passphrase == nil {
		if salt != nil {
			return nil, fault.New(fault.InvalidInput, "the root key comes from a passphrase, not from a file; set root_key.passphrase")
		}
		key, err := readKey(s.File)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.InvalidInput, "the root key file %s is missing; put the root key of the store there", s.File)
		}
		if err != nil {
			return nil, err
		}
		defer clear(key)
		return NewRoot(key)
	}
	if salt == nil {
		return nil, fault.New(fault.InvalidInput, "the root key comes from a file, not from a passphrase; set root_key.file")
	}
	passphrase, err := s.Passphrase()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	key, err := Stretch(passphrase, salt)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return NewRoot(key)
}

// checked compares the key's check value with the store's, or leaves one in a new store.
func checked(ctx context.Context, key []byte, meta Meta, what string) (*Root, error) {
	root, err := NewRoot(key)
	if err != nil {
		return nil, err
	}
	stored, err := meta.InitMeta(ctx, MetaCheck, root.Check())
	if err == nil && !hmac.Equal(stored, root.Check()) {
		err = fault.New(fault.InvalidInput, "%s (%s) is not the one that this store was made with or that it has since its last rotation (%s); give the right one, or point to its own store",
			what, Fingerprint(root.Check()), Fingerprint(stored))
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
