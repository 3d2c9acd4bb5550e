package keyservice

import (
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// task is what a key is to do, as far as it decides which of its references can.
type task struct {
	// what is the use in a word, for people.
	what string
	use  cryptoki.Flags
	// asked is the mechanism that the application named.
	asked cryptoki.MechanismType
	// raw is the mechanism that a provider gets, which may depend on what it does itself.
	raw func(b *backend) cryptoki.Mechanism
	// length is the input's.
	length int
}

// same is for a mechanism that all providers get alike.
func same(m cryptoki.Mechanism) func(*backend) cryptoki.Mechanism {
	return func(*backend) cryptoki.Mechanism { return m }
}

// able leaves those references of a key that can do a task. Where none can, the error is that of the first.
func (s *Service) able(ctx context.Context, t target, do task) (target, error) {
	if len(t.places) == 0 {
		return t, fault.New(fault.KeyHandleInvalid, "there is no secret behind this key; give the handle of a private or secret key")
	}
	var refusal error
	var can []place
	for _, p := range t.places {
		err := p.refuses(t, do)
		if err == nil {
			can = append(can, p)
		} else if refusal == nil {
			refusal = err
		}
	}
	if len(can) == 0 {
		first := t.places[0].backend
		return t, s.limit(ctx, first, do.raw(first), refusal)
	}
	t.places = can
	return t, nil
}

// refuses tells why a place cannot do a task.
func (p place) refuses(t target, do task) error {
	raw := do.raw(p.backend)
	if len(p.reference.Mechanisms) > 0 && !slices.Contains(p.reference.Mechanisms, do.asked) && !slices.Contains(p.reference.Mechanisms, raw.Type) {
		return fault.New(fault.MechanismInvalid, "the key in provider %s is not for %v", p.name, do.asked)
	}
	keyType, _ := t.Attributes.KeyType()
	if err := p.capabilities.CheckUse(raw, do.use, keyType); err != nil {
		return err
	}
	if row, _ := p.capabilities.Mechanism(raw.Type); row.AnyLength {
		return nil
	}
	if do.use == cryptoki.CKF_SIGN {
		return p.signs(do.length)
	}
	return p.takes(do.length)
}
