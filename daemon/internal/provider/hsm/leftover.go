package hsm

import (
	"context"
	"errors"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// sweep destroys what an earlier attempt to generate a key left unfinished, because the daemon or the token's host
// died meanwhile: a public half alone, or an object without its value. Nobody has got an answer about such a key, and
// its CKA_ID is ours alone. A finished key stays.
func (s *session) sweep(r reference) error {
	key, err := s.locate(r)
	gone := errors.Is(err, errGone)
	if err != nil && !gone {
		return err
	}
	if !gone {
		whole, err := s.whole(key, r)
		if err != nil || whole {
			return err
		}
	}
	if r.Class == cryptoki.CKO_PRIVATE_KEY {
		halves, err := s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
		if err != nil {
			return err
		}
		for _, half := range halves {
			if err := s.destroy(half); err != nil {
				return err
			}
		}
	}
	if gone {
		return nil
	}
	return s.destroy(key)
}

// create makes an object of which there is none yet with this name and class. What a failed attempt has left goes before
// the next one.
func (s *session) create(ctx context.Context, r reference, class cryptoki.ObjectClass, attributes cryptoki.Attributes) (pkcs11.ObjectHandle, error) {
	for attempt := 1; ; attempt++ {
		made, err := s.CreateObject(s.handle, template(attributes...))
		if !passing(err) || attempt == makeAttempts || ctx.Err() != nil {
			return made, err
		}
		left, err := s.find(r.match(class)...)
		if err != nil {
			return 0, err
		}
		for _, o := range left {
			if err := s.destroy(o); err != nil {
				return 0, err
			}
		}
	}
}

// makeAttempts is how often an object is tried to be made.
const makeAttempts = 5

// passing tells errors that the next attempt may not meet. SoftHSM answers with them about once in a hundred times when
// another session looks for objects while it makes one; what it has made until then is swept away before the next.
func passing(err error) bool {
	return is(err, cryptoki.CKR_GENERAL_ERROR, cryptoki.CKR_FUNCTION_FAILED, cryptoki.CKR_TEMPLATE_INCONSISTENT, cryptoki.CKR_OBJECT_HANDLE_INVALID)
}

// whole tells whether a key that is there was generated to its end. SoftHSM makes the object first, and then sets the key's
// value together with CKA_LOCAL. A token that does not remember how its keys came about, NSS for one, has no
// CKA_KEY_GEN_MECHANISM, and CKA_LOCAL is false for all of them: there it says nothing.
func (s *session) whole(key pkcs11.ObjectHandle, r reference) (bool, error) {
	has, err := s.read(key, cryptoki.CKA_LOCAL, cryptoki.CKA_KEY_GEN_MECHANISM)
	if err != nil {
		return false, err
	}
	if has.Has(cryptoki.CKA_KEY_GEN_MECHANISM) && has.Has(cryptoki.CKA_LOCAL) && !has.Bool(cryptoki.CKA_LOCAL) {
		return false, nil
	}
	if r.Class != cryptoki.CKO_PRIVATE_KEY {
		return true, nil
	}
	public, err := s.publicOf(key, r)
	return public != nil, err
}
