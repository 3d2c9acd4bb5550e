package hsm

import (
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

// whole tells whether a key that is there was generated to its end. A token sets CKA_LOCAL on a key that it generated;
// SoftHSM does so together with the key's value, after it has made the object.
func (s *session) whole(key pkcs11.ObjectHandle, r reference) (bool, error) {
	has, err := s.read(key, cryptoki.CKA_LOCAL)
	if err != nil {
		return false, err
	}
	if has.Has(cryptoki.CKA_LOCAL) && !has.Bool(cryptoki.CKA_LOCAL) {
		return false, nil
	}
	if r.Class != cryptoki.CKO_PRIVATE_KEY {
		return true, nil
	}
	public, err := s.publicOf(key, r)
	return public != nil, err
}
