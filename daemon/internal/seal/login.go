package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	// MetaLogin is where the store keeps the login keys, sealed under the root key.
	MetaLogin    = "login.keys"
	loginPurpose = "login keys"
	// ticketPurpose is what tickets were sealed under before there were login keys: the first one is that subkey, so that
	// daemons of the version before understand them.
	ticketPurpose = "seal login ticket"
	// reading is how long the store may take to be asked for keys that another replica has made.
	reading = 5 * time.Second
)

// LoginKeys seal login tickets. They are keys of their own, so that tickets outlive a rotation of the root key: a new
// one is made then, and the one before stays good as long as a ticket lives.
type LoginKeys struct {
	root     *Root
	meta     Meta
	lifetime time.Duration
	now      func() time.Time

	mu     sync.RWMutex
	stored []byte
	keys   []loginKey
}

type loginKey struct {
	box *box
	// retired is when a newer key was made; zero for the newest.
	retired time.Time
}

const loginKeySize = KeySize + 8

// OpenLoginKeys returns the store's login keys; the first time it makes one. A retired one opens tickets for a lifetime.
func OpenLoginKeys(ctx context.Context, root *Root, meta Meta, lifetime time.Duration) (*LoginKeys, error) {
	l := &LoginKeys{root: root, meta: meta, lifetime: lifetime, now: time.Now}
	current, _, _ := root.keys()
	first := append(current.first(), make([]byte, 8)...)
	defer clear(first)
	sealed, err := current.seal(loginPurpose, first, nil)
	if err != nil {
		return nil, err
	}
	stored, err := meta.Meta(ctx, MetaLogin)
	if err == nil && stored == nil {
		stored, err = meta.InitMeta(ctx, MetaLogin, sealed)
	}
	if err != nil {
		return nil, err
	}
	return l, l.take(stored)
}

// first is the login key of a store that has none yet.
func (g *generation) first() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return make([]byte, KeySize) // seal refuses
	}
	return g.subkey(ticketPurpose)
}

func (l *LoginKeys) take(stored []byte) error {
	plaintext, err := l.root.Open(loginPurpose, stored, nil)
	if err != nil {
		return err
	}
	defer clear(plaintext)
	if len(plaintext) == 0 || len(plaintext)%loginKeySize != 0 {
		return fault.New(fault.StoreDamaged, "the login keys in the store are damaged; restore the store from a backup")
	}
	var keys []loginKey
	for rest := plaintext; len(rest) > 0; rest = rest[loginKeySize:] {
		key := loginKey{box: newBox(rest[:KeySize])}
		if retired := binary.BigEndian.Uint64(rest[KeySize:]); retired != 0 {
			key.retired = time.UnixMicro(int64(retired))
		}
		keys = append(keys, key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored, l.keys = stored, keys
	return nil
}

// Seal implements ticket.Sealer. The keys serve tickets alone, so the purpose says nothing more.
func (l *LoginKeys) Seal(_ string, plaintext, aad []byte) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.keys[0].box.seal(plaintext, aad), nil
}

// Open implements ticket.Sealer. A ticket of a key that is not known may be one of another replica since a rotation:
// then the store is asked.
func (l *LoginKeys) Open(_ string, sealed, aad []byte) ([]byte, error) {
	plaintext, err := l.open(sealed, aad)
	if err == nil {
		return plaintext, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), reading)
	defer cancel()
	if changed, failed := l.Reload(ctx); failed != nil || !changed {
		return nil, errors.Join(failed, err)
	}
	return l.open(sealed, aad)
}

// Reload takes the keys that the store has now, and tells whether they are others than before.
func (l *LoginKeys) Reload(ctx context.Context) (changed bool, err error) {
	stored, err := l.meta.Meta(ctx, MetaLogin)
	if err != nil {
		return false, err
	}
	l.mu.RLock()
	same := bytes.Equal(stored, l.stored)
	l.mu.RUnlock()
	if same {
		return false, nil
	}
	return true, l.take(stored)
}

func (l *LoginKeys) open(sealed, aad []byte) (plaintext []byte, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, key := range l.keys {
		if !key.retired.IsZero() && l.now().After(key.retired.Add(l.lifetime)) {
			continue
		}
		if plaintext, err = key.box.open(sealed, aad); err == nil {
			return plaintext, nil
		}
	}
	return nil, err
}

// Renew returns the login keys of a store with a new one in front, sealed under the next root key. Retired ones that no
// ticket can need any more are left out.
func (l *LoginKeys) Renew(stored []byte, next Next) ([]byte, error) {
	plaintext, err := next.current.open(loginPurpose, stored, nil)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	keys := make([]byte, loginKeySize, loginKeySize+len(plaintext))
	defer func() { clear(keys) }()
	rand.Read(keys[:KeySize])
	now := l.now()
	for rest := plaintext; len(rest) >= loginKeySize; rest = rest[loginKeySize:] {
		retired := int64(binary.BigEndian.Uint64(rest[KeySize:]))
		if retired == 0 {
			retired = now.UnixMicro()
		}
		if now.Before(time.UnixMicro(retired).Add(l.lifetime)) {
			keys = binary.BigEndian.AppendUint64(append(keys, rest[:KeySize]...), uint64(retired))
		}
	}
	return next.Seal(loginPurpose, keys, nil)
}
