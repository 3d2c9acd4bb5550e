// Package seal protects secret bytes before they reach the store: a root key seals token keys, a token key seals the
// values of that token.
package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"sync"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// KeySize is the length of the root key and of token keys.
const KeySize = 32

// Root is the root key in memory. Nothing is done with the key itself: each purpose has a subkey by HKDF-SHA-256.
type Root struct {
	mu     sync.RWMutex
	key    []byte
	boxes  map[string]*box
	macs   map[string][]byte
	closed bool
}

// NewRoot returns a root key from KeySize bytes, without a store to check it against.
func NewRoot(key []byte) (*Root, error) {
	if len(key) != KeySize {
		return nil, fault.New(fault.InvalidInput, "a root key has %d bytes, not %d", KeySize, len(key))
	}
	return &Root{key: append([]byte(nil), key...), boxes: map[string]*box{}, macs: map[string][]byte{}}, nil
}

// Seal encrypts under the subkey of a purpose. The associated data must be the same at Open.
func (r *Root) Seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	b, err := r.box(purpose)
	if err != nil {
		return nil, err
	}
	return b.seal(plaintext, aad), nil
}

// Open decrypts what Seal made; fault.StoreDamaged if it was changed or belongs elsewhere.
func (r *Root) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	b, err := r.box(purpose)
	if err != nil {
		return nil, err
	}
	return b.open(sealed, aad)
}

// MAC authenticates data under the subkey of a purpose; nil once the key is wiped.
func (r *Root) MAC(purpose string, data []byte) []byte {
	r.mu.RLock()
	key, ok := r.macs[purpose]
	r.mu.RUnlock()
	if !ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.closed {
			return nil
		}
		key = r.subkey("mac " + purpose)
		r.macs[purpose] = key
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}

// Wipe forgets the key.
func (r *Root) Wipe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.key)
	// The map's keys may be in use by a MAC that runs now: they are dropped, not cleared.
	r.boxes, r.macs, r.closed = nil, nil, true
}

func (r *Root) box(purpose string) (*box, error) {
	r.mu.RLock()
	b, ok := r.boxes[purpose]
	r.mu.RUnlock()
	if ok {
		return b, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	key := r.subkey("seal " + purpose)
	defer clear(key)
	b = newBox(key)
	r.boxes[purpose] = b
	return b, nil
}

var errClosed = fault.New(fault.DeviceError, "the daemon is stopping and has forgotten its keys; call again when it runs")

// subkey is called with the lock held. The purposes are constants of the program, so the maps stay small.
func (r *Root) subkey(info string) []byte {
	key, err := hkdf.Expand(sha256.New, r.key, "anyhsm v1 "+info, KeySize)
	if err != nil {
		panic("seal: " + err.Error()) // only lengths beyond 255 hashes fail
	}
	return key
}
