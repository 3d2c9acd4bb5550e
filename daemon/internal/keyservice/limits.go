package keyservice

import (
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// limits are what the places where a key is take in the parameters of mechanisms, so that the module can refuse at
// C_SignInit what they would refuse at C_Sign. A mechanism that one of them takes without limits has none, and so has a
// key of which one place is not open: what that takes is not known.
func (s *Service) limits(o keystore.Object) (limits []mechanism.Limit) {
	if o.Provider == covered || o.Provider == "" {
		return nil
	}
	free := map[cryptoki.MechanismType]bool{}
	keyType, _ := o.Attributes.KeyType()
	for _, reference := range o.References() {
		b, err := s.backend(reference.Provider)
		if err != nil {
			return nil
		}
		doing := reference.Mechanisms
		if len(doing) == 0 {
			doing = allowed(o.Attributes)
		}
		for _, row := range b.capabilities.Mechanisms {
			info, known := mechanism.Lookup(row.Type)
			if !known || !slices.Contains(info.KeyTypes, keyType) || !does(doing, row.Type) {
				continue
			}
			l := row.Limit()
			if b.capabilities.OneAlgorithm {
				l.Hashes = oneHash(doing, row.Type, l.Hashes)
			}
			if l.None() {
				free[row.Type] = true
			} else {
				limits = append(limits, l)
			}
		}
	}
	return slices.DeleteFunc(limits, func(l mechanism.Limit) bool { return free[l.Type] })
}

// does tells whether a key that is for some mechanisms, all if none are named, is for a raw one or a variant of it.
func does(some []cryptoki.MechanismType, raw cryptoki.MechanismType) bool {
	return len(some) == 0 || slices.ContainsFunc(some, func(m cryptoki.MechanismType) bool {
		info, _ := mechanism.Lookup(m)
		return m == raw || info.Hashing() && info.Base == raw
	})
}

// oneHash finds the hash of a key that has one algorithm among the mechanisms that it is for: that of a digest, or of a
// variant that hashes.
func oneHash(some []cryptoki.MechanismType, raw cryptoki.MechanismType, all []cryptoki.MechanismType) (hashes []cryptoki.MechanismType) {
	for _, h := range all {
		digest, _ := mechanism.HashOf(h)
		if slices.ContainsFunc(some, func(m cryptoki.MechanismType) bool {
			info, ok := mechanism.Lookup(m)
			return m == h || ok && info.Hashing() && info.Base == raw && info.Hash == digest
		}) {
			hashes = append(hashes, h)
		}
	}
	if len(hashes) == 0 {
		return all
	}
	return hashes
}
