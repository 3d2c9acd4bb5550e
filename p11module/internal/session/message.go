package session

import (
	"hash"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// message gathers what is signed or verified: the hash of it where the mechanism hashes, so that the daemon and its
// network see a few bytes, else the data itself up to what the mechanism takes.
type message struct {
	hash  hash.Hash
	data  []byte
	limit int
}

func newMessage(m cryptoki.Mechanism, use cryptoki.Flags, key cryptoki.Attributes) message {
	info, _ := mechanism.Lookup(m.Type)
	if info.Hashing() {
		return message{hash: info.Hash.New()}
	}
	return message{limit: mechanism.MaxInput(m, use, key)}
}

// hashed tells that what sum returns is a hash.
func (g *message) hashed() bool { return g.hash != nil }

func (g *message) add(data []byte) error {
	if g.hash != nil {
		g.hash.Write(data)
		return nil
	}
	if len(data) > g.limit-len(g.data) {
		return cryptoki.CKR_DATA_LEN_RANGE
	}
	g.data = append(g.data, data...)
	return nil
}

// sum returns the hash, or the data.
func (g *message) sum() []byte {
	if g.hash != nil {
		return g.hash.Sum(nil)
	}
	return g.data
}
