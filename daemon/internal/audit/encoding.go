package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// encodingVersion begins the canonical encoding. It changes when a field is added, so that old events keep their hash.
const encodingVersion = 1

// encode returns the canonical encoding of an event without its hash: the version, sequence and time (8 bytes each,
// big endian, microseconds since 1970), then each text with its length in four bytes, so that no two events share an encoding.
func (e *Event) encode() []byte {
	texts := [...]string{e.Application, e.Identity, e.Operation, e.Token, e.Object, e.Mechanism, e.Outcome, e.Detail}
	size := 1 + 8 + 8
	for _, text := range texts {
		size += 4 + len(text)
	}
	b := make([]byte, 0, size)
	b = append(b, encodingVersion)
	b = binary.BigEndian.AppendUint64(b, e.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Time.UnixMicro()))
	for _, text := range texts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	return b
}

// chained returns the hash of an event that follows one with the hash previous.
func (e *Event) chained(previous []byte) []byte {
	h := sha256.New()
	h.Write(previous)
	h.Write(e.encode())
	return h.Sum(nil)
}

// Head is the end of the chain, kept apart from the events and authenticated, so that a cut tail shows.
type Head struct {
	Sequence uint64
	Hash     []byte
	// MAC authenticates Sequence and Hash; empty where the store has no root key yet.
	MAC []byte
}

// Authenticator makes the MAC of a head and tells whether one is right; seal.Root is one.
type Authenticator interface {
	MAC(purpose string, data []byte) []byte
	Authentic(purpose string, data, mac []byte) bool
}

const headPurpose = "audit head"

// Append chains events to a head: it gives each its Sequence and Hash, and Time where it is zero, and returns the new
// head. Stores call it; a may be nil.
func Append(head Head, events []Event, now time.Time, a Authenticator) Head {
	if len(head.Hash) == 0 {
		head.Hash = make([]byte, HashSize)
	}
	for i := range events {
		e := &events[i]
		if e.Time.IsZero() {
			e.Time = now
		}
		e.Time = time.UnixMicro(e.Time.UnixMicro()).UTC()
		e.Sequence = head.Sequence + 1
		e.Hash = e.chained(head.Hash)
		head.Sequence, head.Hash = e.Sequence, e.Hash
	}
	head.MAC = nil
	if a != nil {
		head.MAC = head.mac(a)
	}
	return head
}

func (h Head) mac(a Authenticator) []byte { return a.MAC(headPurpose, h.authenticated()) }

// Authentic tells whether the head's MAC is right.
func (h Head) Authentic(a Authenticator) bool {
	return a.Authentic(headPurpose, h.authenticated(), h.MAC)
}

func (h Head) authenticated() []byte {
	return append(binary.BigEndian.AppendUint64(nil, h.Sequence), h.Hash...)
}

// Encode returns the head as bytes, for a store.
func (h Head) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, h.Sequence)
	return append(append(b, h.Hash...), h.MAC...)
}

// DecodeHead reads what Encode made; nothing is an empty chain's head.
func DecodeHead(b []byte) (Head, bool) {
	switch len(b) {
	case 0:
		return Head{}, true
	case 8 + HashSize, 8 + 2*HashSize:
		h := Head{Sequence: binary.BigEndian.Uint64(b), Hash: b[8 : 8+HashSize]}
		if len(b) > 8+HashSize {
			h.MAC = b[8+HashSize:]
		}
		return h, true
	}
	return Head{}, false
}
