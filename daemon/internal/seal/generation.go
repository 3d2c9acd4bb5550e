package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"sync"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// generation is one root key in memory. Nothing is done with the key itself: each purpose has a subkey by HKDF-SHA-256.
type generation struct {
	mu     sync.RWMutex
	key    []byte
	boxes  map[string]*box
	macs   map[string][]byte
	closed bool
	// salt is how the key was made from a passphrase; nil if it comes from a file.
	salt []byte
}

func newGeneration(key []byte) (*generation, error) {
	if len(key) != KeySize {
		return nil, fault.New(fault.InvalidInput, "a root key has %d bytes, not %d", KeySize, len(key))
	}
	return &generation{key: append([]byte(nil), key...), boxes: map[string]*box{}, macs: map[string][]byte{}}, nil
}

// checkPurpose is the purpose of the MAC by which a root key is known without telling it.
const checkPurpose = "root check"

func (g *generation) check() []byte { return g.mac(checkPurpose, nil) }

func (g *generation) seal(purpose string, plaintext, aad []byte) ([]byte, error) {
	b, err := g.box(purpose)
	if err != nil {
		return nil, err
	}
	return b.seal(plaintext, aad), nil
}

func (g *generation) open(purpose string, sealed, aad []byte) ([]byte, error) {
	b, err := g.box(purpose)
	if err != nil {
		return nil, err
	}
	return b.open(sealed, aad)
}

// mac returns nil once the key is wiped.
func (g *generation) mac(purpose string, data []byte) []byte {
	g.mu.RLock()
	key, ok := g.macs[purpose]
	g.mu.RUnlock()
	if !ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.closed {
			return nil
		}
		key = g.subkey("mac " + purpose)
		g.macs[purpose] = key
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}

func (g *generation) wipe() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.key)
	// The map's keys may be in use by a MAC that runs now: they are dropped, not cleared.
	g.boxes, g.macs, g.closed = nil, nil, true
}

func (g *generation) box(purpose string) (*box, error) {
	g.mu.RLock()
	b, ok := g.boxes[purpose]
	g.mu.RUnlock()
	if ok {
		return b, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errClosed
	}
	key := g.subkey("seal " + purpose)
	defer clear(key)
	b = newBox(key)
	g.boxes[purpose] = b
	return b, nil
}

var errClosed = fault.New(fault.DeviceError, "the daemon is stopping and has forgotten its keys; call again when it runs")

// subkey is called with the lock held. The purposes are constants of the program, so the maps stay small.
func (g *generation) subkey(info string) []byte {
	key, err := hkdf.Expand(sha256.New, g.key, "anyhsm v1 "+info, KeySize)
	if err != nil {
		panic("seal: " + err.Error()) // only lengths beyond 255 hashes fail
	}
	return key
}
