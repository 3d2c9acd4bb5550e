package keyservice

import (
	"sync"
	"sync/atomic"

	"github.com/anyhsm/anyhsm/daemon/internal/breaker"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// instance is a configured provider, which may not be open yet.
type instance struct {
	name   string
	source provider.Provider
	opened atomic.Pointer[backend]
}

func newInstance(name string, source provider.Provider) *instance {
	i := &instance{name: name, source: source}
	if _, ok := source.(provider.Pending); !ok {
		i.opened.Store(newBackend(name, source))
	}
	return i
}

// backend returns the provider with its table if it is open, and else why it is not.
func (i *instance) backend() (*backend, error) {
	if b := i.opened.Load(); b != nil {
		return b, nil
	}
	opened, err := i.source.(provider.Pending).Opened()
	if err != nil {
		return nil, err
	}
	// Of two who come here at once one makes the backend that counts.
	i.opened.CompareAndSwap(nil, newBackend(i.name, opened))
	return i.opened.Load(), nil
}

// backend is a provider with its name and what was computed from its capabilities once.
type backend struct {
	provider.Provider
	name         string
	breaker      breaker.Breaker
	capabilities provider.Capabilities
	// table is what a token of this provider can do.
	table []Mechanism
	// noted is done when the store knows the capabilities.
	noted sync.Once
}

func newBackend(name string, p provider.Provider) *backend {
	b := &backend{Provider: p, name: name, capabilities: p.Capabilities()}
	b.table = tableOf(b.capabilities)
	return b
}

// tableOf computes what a token shows whose keys are in a provider with these capabilities.
func tableOf(c provider.Capabilities) (table []Mechanism) {
	entries := make([]mechanism.Entry, len(c.Mechanisms))
	for i, m := range c.Mechanisms {
		entries[i] = mechanism.Entry{Type: m.Type, MinSize: m.MinSize, MaxSize: m.MaxSize, Flags: m.Flags}
	}
	for _, e := range mechanism.TokenTable(entries) {
		if info, ok := mechanism.Lookup(e.Type); ok && info.Hashing() && e.Flags&cryptoki.CKF_SIGN != 0 && !signsDigest(c, info) {
			if e.Flags &^= cryptoki.CKF_SIGN; e.Flags&cryptoki.CKF_VERIFY == 0 {
				continue
			}
		}
		// Only what the device itself performs: a digest or a verification that the module adds is software.
		if c.Hardware && c.Can(e.Type, 0) {
			e.Flags |= cryptoki.CKF_HW
		}
		table = append(table, Mechanism{Type: e.Type, MinSize: e.MinSize, MaxSize: e.MaxSize, Flags: e.Flags})
	}
	return table
}

// signsDigest tells whether a provider signs the digests of a hashing mechanism.
func signsDigest(c provider.Capabilities, info mechanism.Info) bool {
	for _, digest := range mechanism.All() {
		if digest.Flags&cryptoki.CKF_DIGEST != 0 && digest.Hash == info.Hash {
			return c.Hashes(info.Base, digest.Type)
		}
	}
	return true
}
