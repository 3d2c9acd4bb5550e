package keyservice

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
)

// remembered are user PINs that were right: their MACs under a key that only this process has, so that a host of many
// processes pays for Argon2 once. A PIN that is not remembered, a wrong one among them, is checked and counted as
// ever. The MAC covers the hash in the store and the PIN's epoch: a changed PIN is not the one that is remembered.
//
// Who can read the daemon's memory could guess the PIN faster from the MAC than from Argon2's hash. But such a reader has
// the keys that the PIN guards, and sees each PIN as it arrives.
type remembered struct {
	once sync.Once
	key  [32]byte

	mu   sync.Mutex
	macs map[string][sha256.Size]byte
}

// maxRemembered bounds the tokens whose PIN is remembered.
const maxRemembered = 4096

// knows tells whether a PIN is the one that was right for the token as it is now.
func (p *remembered) knows(t keystore.Token, given []byte) bool {
	p.mu.Lock()
	known, ok := p.macs[t.UID]
	p.mu.Unlock()
	if !ok {
		return false
	}
	mac := p.mac(t, given)
	return hmac.Equal(mac[:], known[:])
}

// learn remembers a PIN that was right.
func (p *remembered) learn(t keystore.Token, given []byte) {
	mac := p.mac(t, given)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.macs == nil {
		p.macs = map[string][sha256.Size]byte{}
	}
	for token := range p.macs {
		if len(p.macs) < maxRemembered {
			break
		}
		delete(p.macs, token)
	}
	p.macs[t.UID] = mac
}

// forget forgets the PIN of a token.
func (p *remembered) forget(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.macs, token)
}

// wipe forgets all PINs.
func (p *remembered) wipe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.macs)
}

func (p *remembered) mac(t keystore.Token, given []byte) (mac [sha256.Size]byte) {
	p.once.Do(func() { rand.Read(p.key[:]) })
	h := hmac.New(sha256.New, p.key[:])
	h.Write(appendField(nil, []byte(t.UID)))
	h.Write(binary.BigEndian.AppendUint64(nil, t.User.Epoch))
	h.Write(appendField(nil, []byte(t.User.Hash)))
	h.Write(given)
	h.Sum(mac[:0])
	return mac
}
