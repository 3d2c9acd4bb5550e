package hsm

import (
	"context"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Generate makes a key in the token, named by the identity: CKA_ID is the 16 bytes of the UID. A repeated request finds
// the key by that name.
func (p *Provider) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	const operation = "generate a key"
	var none provider.Generated
	r, err := newReference(request.Identity)
	if err == nil {
		err = p.capabilities.CheckGenerate(request)
	}
	if err != nil {
		return none, p.explain(operation, err)
	}
	keyPair := true
	switch request.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		r.KeyType = cryptoki.CKK_RSA
	case cryptoki.CKM_EC_KEY_PAIR_GEN:
		r.KeyType = cryptoki.CKK_EC
	case cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		r.KeyType = cryptoki.CKK_EC_EDWARDS
	case cryptoki.CKM_AES_KEY_GEN:
		r.KeyType, keyPair = cryptoki.CKK_AES, false
	default:
		r.KeyType, keyPair = cryptoki.CKK_GENERIC_SECRET, false
	}
	r.Class = cryptoki.CKO_SECRET_KEY
	if keyPair {
		r.Class = cryptoki.CKO_PRIVATE_KEY
	}
	return do(ctx, p, operation, func(ctx context.Context, s *session) (provider.Generated, error) {
		done, err := p.claims.claim(ctx, request.Identity.UID)
		if err != nil {
			return none, err
		}
		defer done()
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(uint(request.Mechanism.Type), nil)}
		private := template(p.keyTemplate(r, request.Private, false)...)
		public := template(p.publicTemplate(r, request.Public)...)
		for attempt := 1; ; attempt++ {
			if err := s.sweep(r); err != nil {
				return none, err
			}
			made, err := s.made(r, request.Private)
			if err != nil || made != nil {
				return generated(made), err
			}
			var half, own pkcs11.ObjectHandle
			if keyPair {
				half, own, err = s.GenerateKeyPair(s.handle, mechanism, public, private)
			} else {
				own, err = s.GenerateKey(s.handle, mechanism, private)
			}
			if passing(err) && attempt < makeAttempts && ctx.Err() == nil {
				continue
			}
			if err != nil {
				return none, err
			}
			fresh, err := s.fresh(r, half)
			if err == nil {
				fresh.Private, err = s.stricter(own, r, request.Private)
			}
			return fresh, err
		}
	})
}

// fresh says what a key is that was generated just now; half is the public one of a pair. It does not look for them:
// SoftHSM does not always find at once what it has made.
func (s *session) fresh(r reference, half pkcs11.ObjectHandle) (provider.Generated, error) {
	var made provider.Generated
	if r.Class == cryptoki.CKO_PRIVATE_KEY {
		has, err := s.read(half, publicTypes...)
		if err != nil {
			return made, err
		}
		public, ok := normalize(r.KeyType, has)
		if !ok {
			return made, fault.New(fault.FunctionFailed, "the HSM made a key and does not show its public half; destroy both with the HSM's own tool")
		}
		made.Public, r.Public = public, fingerprint(public)
	}
	made.Ref = r.encode()
	return made, nil
}

// stricter tells where the token guards a key more than the template asked for. NSS reveals the value of no key in its
// database, whatever CKA_SENSITIVE says there: so what counts is whether the value can be read.
func (s *session) stricter(key pkcs11.ObjectHandle, r reference, asked cryptoki.Attributes) (cryptoki.Attributes, error) {
	if asked.Bool(cryptoki.CKA_SENSITIVE) || !asked.Bool(cryptoki.CKA_EXTRACTABLE) {
		return nil, nil
	}
	has, err := s.read(key, cryptoki.CKA_EXTRACTABLE)
	if err != nil {
		return nil, err
	}
	if has.Has(cryptoki.CKA_EXTRACTABLE) && !has.Bool(cryptoki.CKA_EXTRACTABLE) {
		return cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false)}, nil
	}
	secret, err := s.read(key, secretsOf(r.KeyType)[0])
	if err != nil {
		return nil, err
	}
	defer wipe(secret)
	if len(secret) == 0 {
		return cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)}, nil
	}
	return nil, nil
}

func generated(made *provider.Generated) provider.Generated {
	if made == nil {
		return provider.Generated{}
	}
	return *made
}

// newReference begins the reference of a key that we make.
func newReference(identity provider.Identity) (reference, error) {
	id, err := hex.DecodeString(identity.UID)
	switch {
	case err != nil || len(id) != 16:
		return reference{}, fault.New(fault.ArgumentsBad, "the uid of a key must be 32 hexadecimal digits")
	case identity.Session:
		return reference{}, fault.New(fault.FunctionNotSupported, "provider hsm keeps no session keys; those are provider software's")
	}
	return reference{ID: id}, nil
}

// made looks for the key that a reference without a fingerprint names, and says what it is, and what became of the
// attributes asked for; nil if it is not there.
func (s *session) made(r reference, asked cryptoki.Attributes) (*provider.Generated, error) {
	handle, err := s.locate(r)
	if errors.Is(err, errGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	made := &provider.Generated{}
	if r.Class == cryptoki.CKO_PRIVATE_KEY {
		if made.Public, err = s.publicOf(handle, r); err != nil {
			return nil, err
		}
		if made.Public == nil {
			return nil, fault.New(fault.FunctionFailed, "the HSM has the private key and does not show its public half; destroy both with the HSM's own tool")
		}
		r.Public = fingerprint(made.Public)
	}
	made.Ref = r.encode()
	made.Private, err = s.stricter(handle, r, asked)
	return made, err
}

// usages are the CKA_ usage flags that tokens know for a type of key; others are refused by some.
var usages = map[cryptoki.KeyType][]cryptoki.AttributeType{
	cryptoki.CKK_RSA:            {cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP},
	cryptoki.CKK_EC:             {cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE},
	cryptoki.CKK_EC_EDWARDS:     {cryptoki.CKA_SIGN},
	cryptoki.CKK_AES:            {cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP},
	cryptoki.CKK_GENERIC_SECRET: {cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY, cryptoki.CKA_DERIVE},
}

// keyTemplate is the template of a private or secret key. Of the object's attributes it has those that guard the key in
// the token; the others are the store's. CKA_ALWAYS_AUTHENTICATE stays with keyservice: the PIN it asks for is ours.
func (p *Provider) keyTemplate(r reference, attributes cryptoki.Attributes, value bool) cryptoki.Attributes {
	out := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, r.Class),
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, r.KeyType),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.Bool(cryptoki.CKA_PRIVATE, true),
		cryptoki.Bytes(cryptoki.CKA_ID, r.ID),
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, attributes.Bool(cryptoki.CKA_SENSITIVE)),
		cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, attributes.Bool(cryptoki.CKA_EXTRACTABLE)),
	}
	out = append(out, pick(attributes, cryptoki.CKA_LABEL)...)
	out = append(out, pick(attributes, usages[r.KeyType]...)...)
	if !value {
		if r.Class == cryptoki.CKO_SECRET_KEY {
			out = append(out, pick(attributes, cryptoki.CKA_VALUE_LEN)...)
		}
		return out
	}
	switch r.KeyType {
	case cryptoki.CKK_RSA:
		out = append(out, pick(attributes, cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT)...)
		out = append(out, pick(attributes, rsaSecrets...)...)
	case cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS:
		out = append(out, p.curveParams(attributes))
		fallthrough
	default:
		out = append(out, pick(attributes, cryptoki.CKA_VALUE)...)
	}
	return out
}

// publicTemplate is the template of a public half that is generated or imported: whichever of size, curve and value
// the attributes have.
func (p *Provider) publicTemplate(r reference, attributes cryptoki.Attributes) cryptoki.Attributes {
	out := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY),
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, r.KeyType),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.Bool(cryptoki.CKA_PRIVATE, false),
		cryptoki.Bytes(cryptoki.CKA_ID, r.ID),
		cryptoki.Bool(cryptoki.CKA_VERIFY, true),
	}
	out = append(out, pick(attributes, cryptoki.CKA_LABEL)...)
	if r.KeyType == cryptoki.CKK_RSA {
		out = append(out, cryptoki.Bool(cryptoki.CKA_ENCRYPT, true))
		out = append(out, pick(attributes, cryptoki.CKA_MODULUS_BITS, cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT)...)
		if !attributes.Has(cryptoki.CKA_PUBLIC_EXPONENT) {
			out = append(out, cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
		}
		return out
	}
	out = append(out, p.curveParams(attributes))
	return append(out, pick(attributes, cryptoki.CKA_EC_POINT)...)
}

// curveParams is CKA_EC_PARAMS in the form that the token takes.
func (p *Provider) curveParams(attributes cryptoki.Attributes) cryptoki.Attribute {
	params := attributes.Bytes(cryptoki.CKA_EC_PARAMS)
	if c, err := curve.Parse(params); err == nil {
		if form, ok := p.traits.curves[string(c.Params)]; ok {
			params = form
		}
	}
	return cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, params)
}

// claims keep two requests for one identity from running at once: the caller of the first may have given up and
// repeated it while the token still works on it.
type claims struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// claim waits until nobody else works on a uid; done ends the claim.
func (c *claims) claim(ctx context.Context, uid string) (done func(), err error) {
	for {
		c.mu.Lock()
		held, busy := c.held[uid]
		if !busy {
			if c.held == nil {
				c.held = map[string]chan struct{}{}
			}
			mine := make(chan struct{})
			c.held[uid] = mine
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.held, uid)
				close(mine)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, interrupted(ctx, "waiting for the same request")
		}
	}
}
