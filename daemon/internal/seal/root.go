// Package seal protects secret bytes before they reach the store: a root key seals token keys, a token key seals the
// values of that token.
package seal

import (
	"crypto/hmac"
	"encoding/hex"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// KeySize is the length of the root key and of token keys.
const KeySize = 32

// lingering is how long the key before the current one is kept: for what was read from the store just before it changed.
const lingering = time.Minute

// Root is the root key: the current one, with which all is sealed, and during a rotation the one that comes next and
// the one that was before. Which of them is current the store decides: its check value, and its audit's head.
type Root struct {
	mu                     sync.RWMutex
	current, next, retired *generation
	// switched is called each time that the next key has become the current one.
	switched func()
}

// NewRoot returns a root key from KeySize bytes, without a store to check it against.
func NewRoot(key []byte) (*Root, error) {
	g, err := newGeneration(key)
	if err != nil {
		return nil, err
	}
	return &Root{current: g}, nil
}

func (r *Root) keys() (current, next, retired *generation) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.current, r.next, r.retired
}

// Seal encrypts under the subkey of a purpose. The associated data must be the same at Open.
func (r *Root) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	current, _, _ := r.keys()
	return current.seal(purpose, plaintext, aad)
}

// Open decrypts what Seal made; fault.StoreDamaged if it was changed or belongs elsewhere.
func (r *Root) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	current, next, retired := r.keys()
	plaintext, err := current.open(purpose, sealed, aad)
	for _, other := range []*generation{next, retired} {
		if err == nil || other == nil {
			continue
		}
		if opened, failed := other.open(purpose, sealed, aad); failed == nil {
			return opened, nil
		}
	}
	return plaintext, err
}

// MAC authenticates data under the subkey of a purpose; nil once the key is wiped.
func (r *Root) MAC(purpose string, data []byte) []byte {
	current, _, _ := r.keys()
	return current.mac(purpose, data)
}

// Authentic tells whether a MAC is that of the current root key. One of the next key is as well: it says that the store
// was sealed anew, so that key becomes the current one. One of a key before is not: who has it must not write any more.
func (r *Root) Authentic(purpose string, data, mac []byte) bool {
	current, next, _ := r.keys()
	if len(mac) == 0 {
		return false // a key that is wiped makes none
	}
	if hmac.Equal(current.mac(purpose, data), mac) {
		return true
	}
	if next == nil || !hmac.Equal(next.mac(purpose, data), mac) {
		return false
	}
	r.advance(next)
	return true
}

// Check returns the value by which the current root key is known without telling it.
func (r *Root) Check() []byte {
	current, _, _ := r.keys()
	return current.check()
}

// Staged returns the check value of the next root key; nil if there is none.
func (r *Root) Staged() []byte {
	_, next, _ := r.keys()
	if next == nil {
		return nil
	}
	return next.check()
}

// Follow makes that key current which the store names by its check value.
func (r *Root) Follow(check []byte) error {
	current, next, _ := r.keys()
	switch {
	case hmac.Equal(check, current.check()):
		return nil
	case next != nil && hmac.Equal(check, next.check()):
		r.advance(next)
		return nil
	}
	return fault.New(fault.DeviceError, "the store has got another root key (%s), and this daemon does not have it; copy it from another replica to where root_key points, and restart this daemon",
		Fingerprint(check))
}

// OnSwitch sets what is called each time that the next key has become current.
func (r *Root) OnSwitch(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.switched = f
}

// stage makes a key the next one; nil takes it back.
func (r *Root) stage(next *generation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = next
}

// advance makes the next key current, unless somebody else has done so.
func (r *Root) advance(next *generation) {
	r.mu.Lock()
	if r.next != next {
		r.mu.Unlock()
		return
	}
	old, before, switched := r.current, r.retired, r.switched
	r.current, r.next, r.retired = next, nil, old
	r.mu.Unlock()
	if before != nil {
		before.wipe()
	}
	time.AfterFunc(lingering, func() {
		r.mu.Lock()
		if r.retired == old {
			r.retired = nil
		}
		r.mu.Unlock()
		old.wipe()
	})
	if switched != nil {
		switched()
	}
}

var errNotStaged = fault.New(fault.Conflict, "there is no next root key; stage one with: anyhsm root-key stage")

// Next returns the next key with the current one, to seal the store anew.
func (r *Root) Next() (Next, error) {
	current, next, _ := r.keys()
	if next == nil {
		return Next{}, errNotStaged
	}
	return Next{current, next}, nil
}

// Adopt makes the next key current after the store was sealed under it, should it have been unstaged meanwhile.
func (r *Root) Adopt(next Next) {
	current, _, _ := r.keys()
	if current != next.g {
		r.stage(next.g)
		r.advance(next.g)
	}
}

// Next is the next root key, and the one that it follows. It authenticates the head of the audit in the transaction that
// seals the store anew.
type Next struct{ current, g *generation }

// Reseal opens what the current key has sealed and seals it under the next one.
func (n Next) Reseal(purpose string, sealed, aad []byte) ([]byte, error) {
	plaintext, err := n.current.open(purpose, sealed, aad)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	return n.g.seal(purpose, plaintext, aad)
}

// ResealToken seals a token's key under the next root key.
func (n Next) ResealToken(token string, sealed []byte) ([]byte, error) {
	return n.Reseal(purposeToken, sealed, []byte(token))
}

// MAC implements audit.Authenticator.
func (n Next) MAC(purpose string, data []byte) []byte { return n.g.mac(purpose, data) }

// Authentic implements audit.Authenticator.
func (n Next) Authentic(purpose string, data, mac []byte) bool {
	return hmac.Equal(n.g.mac(purpose, data), mac)
}

// Check returns the value by which the key is known, Salt what makes it of a passphrase; nil if it comes from a file.
func (n Next) Check() []byte { return n.g.check() }

// Salt is described at Check.
func (n Next) Salt() []byte { return n.g.salt }

// Seal encrypts under the next key.
func (n Next) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	return n.g.seal(purpose, plaintext, aad)
}

// Wipe forgets all keys.
func (r *Root) Wipe() {
	current, next, retired := r.keys()
	for _, g := range []*generation{current, next, retired} {
		if g != nil {
			g.wipe()
		}
	}
}

// Fingerprint is how people tell root keys apart: the beginning of the check value.
func Fingerprint(check []byte) string { return hex.EncodeToString(check[:min(6, len(check))]) }
