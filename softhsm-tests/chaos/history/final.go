package history

import (
	"slices"
	"time"
)

// Final is what is there at the end.
type Final struct {
	// Views are the same objects seen in different ways.
	Views []View
	// Events are those of the audit log.
	Events []Event
	// ProviderKeys are the keys that a key-keeping provider holds, by its token.
	ProviderKeys map[string][]ProviderKey
}

// View is what one way of looking shows.
type View struct {
	Name string
	// KeysOnly: data objects do not show this way.
	KeysOnly bool
	Objects  []Seen
}

// Class is what an object is.
type Class string

// The classes that applications make.
const (
	Private Class = "private"
	Public  Class = "public"
	Data    Class = "data"
)

// Seen is an object in a view. Value is compared unless it is empty.
type Seen struct {
	Token, Name string
	Class       Class
	UID, Value  string
}

// Event is an event of the audit log.
type Event struct {
	Operation, UID, Outcome string
}

// ProviderKey is a key in a provider; Owned says that an object refers to it.
type ProviderKey struct {
	Reference string
	Owned     bool
}

// Window is a time in which operations may fail with certain errors, and why.
type Window struct {
	From, To time.Time
	// Errors are the CK_RVs' names; what else failed is not excused. A handshake has no CK_RV and is excused.
	Errors []string
	// Spared kinds are not excused all the same.
	Spared []Kind
	Why    string
}

func (w Window) excuses(o *operation) bool {
	if !o.from.Before(w.To) || !o.to.After(w.From) || slices.Contains(w.Spared, o.Kind) {
		return false
	}
	return o.Kind == Handshake || slices.Contains(w.Errors, o.err)
}
