package hsm

import (
	"bytes"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// object is a key found in the token: its handle, good for one link, and what must be known to use it rightly.
type object struct {
	handle  pkcs11.ObjectHandle
	keyType cryptoki.KeyType
	// size is the length of an RSA modulus or of a secret key in bytes, bits that of the modulus.
	size, bits int
	// curve is that of an EC or Edwards key.
	curve *curve.Curve
	// confirm tells that the HSM wants the PIN again for each use.
	confirm bool
}

// maxHandles is how many resolved keys a link remembers.
const maxHandles = 8192

// resolve finds the key behind a reference, in the link's memory or in the token.
func (s *session) resolve(ref []byte) (*object, error) {
	s.link.mu.Lock()
	known, ok := s.link.handles[string(ref)]
	s.link.mu.Unlock()
	if ok {
		return known, nil
	}
	r, err := parseReference(ref)
	if err != nil {
		return nil, err
	}
	handle, err := s.locate(r)
	if err != nil {
		return nil, err
	}
	o, err := s.examine(handle, r)
	if err != nil {
		return nil, err
	}
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if len(s.link.handles) >= maxHandles {
		clear(s.link.handles)
	}
	s.link.handles[string(ref)] = o
	return o, nil
}

// forget takes a key out of the link's memory.
func (s *session) forget(ref []byte) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	delete(s.link.handles, string(ref))
}

// match is the template that finds the objects with a reference's name in one class.
func (r reference) match(class cryptoki.ObjectClass) []cryptoki.Attribute {
	match := []cryptoki.Attribute{
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.Ulong(cryptoki.CKA_CLASS, class),
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, r.KeyType),
	}
	if len(r.ID) > 0 {
		match = append(match, cryptoki.Bytes(cryptoki.CKA_ID, r.ID))
	}
	if len(r.Label) > 0 {
		match = append(match, cryptoki.Bytes(cryptoki.CKA_LABEL, r.Label))
	}
	return match
}

// locate finds the one object that a reference names.
func (s *session) locate(r reference) (pkcs11.ObjectHandle, error) {
	found, err := s.find(r.match(r.Class)...)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		// Without a login a token shows no private objects: that is a lost login, not a lost key.
		if in, err := loggedIn(s.client, s.handle); err == nil && !in && s.link.info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
			return 0, pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
		}
		return 0, errGone
	}
	if len(r.Public) == 0 {
		if len(found) > 1 {
			return 0, errAmbiguous
		}
		return found[0], nil
	}
	var fitting []pkcs11.ObjectHandle
	unknown := false
	for _, handle := range found {
		public, err := s.publicOf(handle, r)
		if err != nil {
			return 0, err
		}
		switch print := fingerprint(public); {
		case print == nil:
			unknown = true
		case bytes.Equal(print, r.Public):
			fitting = append(fitting, handle)
		}
	}
	switch {
	case len(fitting) == 1:
		return fitting[0], nil
	case len(found) == 1 && unknown:
		// An EC key whose public half is gone: nothing speaks against it.
		return found[0], nil
	case len(fitting) > 1 || unknown:
		return 0, errAmbiguous
	default:
		return 0, errGone
	}
}

var (
	errGone = fault.New(fault.KeyHandleInvalid, "the key is no longer in the HSM; it was destroyed there or the token was initialised anew")
	// No fault.Conflict: trying again does not help.
	errAmbiguous = fault.New(fault.FunctionFailed, "the HSM has more than one key with this CKA_ID and no way to tell them apart; give them different CKA_IDs or labels with the HSM's own tool")
)

// publicOf returns the public half of a private key: its own attributes where the library shows them, or those of the
// only public key of the same name.
func (s *session) publicOf(private pkcs11.ObjectHandle, r reference) (cryptoki.Attributes, error) {
	if r.Class != cryptoki.CKO_PRIVATE_KEY {
		return nil, nil
	}
	own, err := s.read(private, publicTypes...)
	if err != nil {
		return nil, err
	}
	if public, ok := normalize(r.KeyType, own); ok {
		return public, nil
	}
	halves, err := s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
	if err == nil && len(halves) > 1 && len(r.Label) == 0 {
		// Several keys share the id: the half with the private key's label is meant.
		var has cryptoki.Attributes
		if has, err = s.read(private, cryptoki.CKA_LABEL); err == nil {
			r.Label = has.Bytes(cryptoki.CKA_LABEL)
			halves, err = s.find(r.match(cryptoki.CKO_PUBLIC_KEY)...)
		}
	}
	if err != nil || len(halves) != 1 {
		return nil, err
	}
	if own, err = s.read(halves[0], publicTypes...); err != nil {
		return nil, err
	}
	public, _ := normalize(r.KeyType, own)
	return public, nil
}

// publicTypes are the attributes that make a public key.
var publicTypes = []cryptoki.AttributeType{
	cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT,
}

// normalize makes the public attributes of a key what the standard and our store have: numbers without leading zeros,
// the curve as an object identifier, the point in a DER OCTET STRING. It tells whether the public key is complete.
func normalize(keyType cryptoki.KeyType, from cryptoki.Attributes) (cryptoki.Attributes, bool) {
	switch keyType {
	case cryptoki.CKK_RSA:
		modulus := bytes.TrimLeft(from.Bytes(cryptoki.CKA_MODULUS), "\x00")
		exponent := bytes.TrimLeft(from.Bytes(cryptoki.CKA_PUBLIC_EXPONENT), "\x00")
		return cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_MODULUS, modulus), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, exponent),
		}, len(modulus) > 0 && len(exponent) > 0
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		c, err := curve.Of(from)
		if err != nil {
			return nil, false
		}
		point, ok := c.Point(from.Bytes(cryptoki.CKA_EC_POINT))
		if !ok {
			return nil, false
		}
		return cryptoki.Attributes{
			cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params),
			cryptoki.Bytes(cryptoki.CKA_EC_POINT, curve.OctetString(point)),
		}, true
	}
	return nil, false
}

// examine reads what must be known of a key to use it.
func (s *session) examine(handle pkcs11.ObjectHandle, r reference) (*object, error) {
	has, err := s.read(handle, cryptoki.CKA_MODULUS, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_VALUE_LEN, cryptoki.CKA_ALWAYS_AUTHENTICATE)
	if err != nil {
		return nil, err
	}
	o := &object{handle: handle, keyType: r.KeyType, confirm: has.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE)}
	switch r.KeyType {
	case cryptoki.CKK_RSA:
		modulus := new(big.Int).SetBytes(has.Bytes(cryptoki.CKA_MODULUS))
		o.bits, o.size = modulus.BitLen(), (modulus.BitLen()+7)/8
		if o.bits == 0 {
			return nil, fault.New(fault.FunctionFailed, "the HSM does not show the key's CKA_MODULUS, without which its size is not known")
		}
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		if o.curve, err = curve.Of(has); err != nil {
			return nil, fault.New(fault.CurveNotSupported, "the HSM's key is on a curve that AnyHSM does not know: %w", err)
		}
	default:
		length, _ := has.Ulong(cryptoki.CKA_VALUE_LEN)
		o.size = int(length)
	}
	return o, nil
}
