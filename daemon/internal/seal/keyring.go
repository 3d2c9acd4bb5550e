package seal

import (
	"context"
	"crypto/rand"
	"sync"
)

const purposeToken = "token key"

// Keyring holds the token keys in memory and seals with them.
type Keyring struct {
	root  *Root
	load  func(ctx context.Context, token string) ([]byte, error)
	mu    sync.RWMutex
	boxes map[string]*box
	// forgotten counts Forget and Wipe: a key that was on its way from the store meanwhile is not kept.
	forgotten uint64
}

// NewKeyring returns a keyring that fetches the sealed key of a token with load (its Token.SealedKey in the store).
func NewKeyring(root *Root, load func(ctx context.Context, token string) ([]byte, error)) *Keyring {
	return &Keyring{root: root, load: load, boxes: map[string]*box{}}
}

// Follow goes over to the root key that the store names. Whoever stores a new token's key calls it in the same
// transaction, and NewKey after it: should the root key be rotated, the sealed key is under the right one.
func (k *Keyring) Follow(check []byte) error {
	if check == nil {
		return nil
	}
	return k.root.Follow(check)
}

// NewKey makes the key of a new token and returns it sealed, for Token.SealedKey.
func (k *Keyring) NewKey(token string) ([]byte, error) {
	key := make([]byte, KeySize)
	defer clear(key)
	rand.Read(key)
	return k.root.Seal(purposeToken, key, []byte(token))
}

// Seal encrypts under a token's key. The associated data must be the same at Open.
func (k *Keyring) Seal(ctx context.Context, token string, plaintext, aad []byte) ([]byte, error) {
	b, err := k.box(ctx, token)
	if err != nil {
		return nil, err
	}
	return b.seal(plaintext, aad), nil
}

// Open decrypts what Seal made; fault.StoreDamaged if it was changed or belongs elsewhere.
func (k *Keyring) Open(ctx context.Context, token string, sealed, aad []byte) ([]byte, error) {
	b, err := k.box(ctx, token)
	if err != nil {
		return nil, err
	}
	return b.open(sealed, aad)
}

// Forget drops a token's key from memory; call it when the token was deleted. (Go's AES holds the expanded key where it
// cannot be cleared by hand; the collector frees it.)
func (k *Keyring) Forget(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.boxes, token)
	k.forgotten++
}

// Wipe forgets all keys.
func (k *Keyring) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.boxes)
	k.forgotten++
}

// box returns the token's key, from memory or the store. No lock is held while the store is asked.
func (k *Keyring) box(ctx context.Context, token string) (*box, error) {
	k.mu.RLock()
	b, ok := k.boxes[token]
	forgotten := k.forgotten
	k.mu.RUnlock()
	if ok {
		return b, nil
	}
	sealed, err := k.load(ctx, token)
	if err != nil {
		return nil, err
	}
	key, err := k.root.Open(purposeToken, sealed, []byte(token))
	if err != nil {
		return nil, err
	}
	b = newBox(key)
	clear(key)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.forgotten == forgotten {
		k.boxes[token] = b
	}
	return b, nil
}

// VerifyToken tells whether a token's sealed key opens.
func VerifyToken(root *Root, token string, sealed []byte) error {
	key, err := root.Open(purposeToken, sealed, []byte(token))
	clear(key)
	return err
}
