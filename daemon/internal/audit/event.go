// Package audit is the append-only, hash-chained record of who did what with which key.
package audit

import (
	"time"
)

// HashSize is the length of an event's hash.
const HashSize = 32

// Event is one entry of the chain. Sequence and Hash are given by the store when the event is appended, and Time if
// it is zero. No field ever holds a secret.
type Event struct {
	// Sequence counts from 1 without gaps.
	Sequence uint64
	// Time has microseconds; what is finer is cut off.
	Time time.Time
	// Application is the caller's name, Identity what proved it: "uid:1000", "cert:HEX".
	Application, Identity string
	// Operation is what was done: "sign", "token.create"…
	Operation string
	// Token and Object are uids; empty where there is none.
	Token, Object string
	// Mechanism is the mechanism's name, as CKM_ECDSA.
	Mechanism string
	// Outcome is "OK" or the name of the CK_RV.
	Outcome string
	// Detail is a sentence or a name for people.
	Detail string
	// Hash is SHA-256 of the previous event's hash and this event's canonical encoding.
	Hash []byte
}
