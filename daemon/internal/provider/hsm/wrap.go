package hsm

import (
	"context"
	"crypto/aes"
	chained "crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/keywrap"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Wrap lets the HSM wrap the key, by C_WrapKey: its material does not leave the HSM in clear. The AES key that it
// is wrapped under is put into the HSM for the moment, because few tokens do CKM_RSA_AES_KEY_WRAP or OAEP with SHA-256
// themselves; it is wrapped under the RSA key here.
func (k *key) Wrap(ctx context.Context, under *rsa.PublicKey) ([]byte, error) {
	const operation = "wrap the key"
	return withKey(ctx, k, operation, func(s *session, o *object) ([]byte, error) {
		if err := s.mayLeave(o); err != nil {
			return nil, err
		}
		kek := make([]byte, 32)
		defer clear(kek)
		_, _ = rand.Read(kek) // never fails
		head, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, under, kek, nil)
		if err != nil {
			return nil, fault.New(fault.ArgumentsBad, "the key is too small to wrap under: %w", err)
		}
		tail, err := s.wrapUnder(kek, o, padded, nil)
		if is(err, cryptoki.CKR_MECHANISM_INVALID, cryptoki.CKR_FUNCTION_NOT_SUPPORTED) {
			return s.wrapChained(ctx, kek, o, under)
		}
		if err != nil {
			return nil, err
		}
		return append(head, tail...), nil
	})
}

// mayLeave asks the HSM itself: what the store says of a key does not open it.
func (s *session) mayLeave(o *object) error {
	has, err := s.read(o.handle, cryptoki.CKA_EXTRACTABLE, cryptoki.CKA_WRAP_WITH_TRUSTED)
	if err != nil {
		return err
	}
	if !has.Bool(cryptoki.CKA_EXTRACTABLE) {
		return fault.New(fault.KeyUnextractable, "the key was made in the HSM to stay there: its CKA_EXTRACTABLE is false, and no HSM takes that back; "+
			"make a new key elsewhere with anyhsm key rotate --to PROVIDER")
	}
	if has.Bool(cryptoki.CKA_WRAP_WITH_TRUSTED) {
		return fault.New(fault.KeyUnextractable, "the key leaves the HSM only under a key that the HSM's security officer has marked as trusted (CKA_WRAP_WITH_TRUSTED); "+
			"move it with the HSM's own tools, or make a new key elsewhere with anyhsm key rotate --to PROVIDER")
	}
	return nil
}

// padded are the names of RFC 5649's key wrap: the second one is older, and what SoftHSM has.
var padded = []cryptoki.MechanismType{cryptoki.CKM_AES_KEY_WRAP_KWP, cryptoki.CKM_AES_KEY_WRAP_PAD}

// maxWrapped is more than the PKCS#8 of any key has.
const maxWrapped = 16 << 10

// wrapChained is for tokens without RFC 5649, such as opencryptoki: they wrap with CBC, and the daemon wraps anew what
// arrives. For that moment the material is in the daemon's memory, as is the key that it came wrapped under.
func (s *session) wrapChained(ctx context.Context, kek []byte, o *object, under *rsa.PublicKey) ([]byte, error) {
	iv := make([]byte, aes.BlockSize)
	_, _ = rand.Read(iv)
	wrapped, err := s.wrapUnder(kek, o, []cryptoki.MechanismType{cryptoki.CKM_AES_CBC_PAD}, iv)
	switch {
	case is(err, cryptoki.CKR_MECHANISM_INVALID, cryptoki.CKR_FUNCTION_NOT_SUPPORTED):
		return nil, fault.New(fault.KeyUnextractable, "the HSM has none of %s, %s and %s to wrap keys with; make a new key elsewhere with anyhsm key rotate --to PROVIDER: %w",
			padded[0], padded[1], cryptoki.CKM_AES_CBC_PAD, err)
	case err != nil:
		return nil, err
	case len(wrapped) == 0 || len(wrapped)%aes.BlockSize != 0:
		return nil, fault.New(fault.FunctionFailed, "the HSM wrapped the key to %d bytes, which are no blocks of AES", len(wrapped))
	}
	cipher, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	material := make([]byte, len(wrapped))
	defer clear(material)
	chained.NewCBCDecrypter(cipher, iv).CryptBlocks(material, wrapped)
	if material, err = unpad(material); err != nil {
		return nil, err
	}
	return keywrap.Value(material).Wrap(ctx, under)
}

// wrapUnder puts an AES key into the session, wraps a key under it by the first of some mechanisms that the token has, and
// takes it out again.
func (s *session) wrapUnder(kek []byte, o *object, mechanisms []cryptoki.MechanismType, iv []byte) ([]byte, error) {
	wrapping, err := s.CreateObject(s.handle, template(
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY),
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
		cryptoki.Bool(cryptoki.CKA_TOKEN, false),
		cryptoki.Bool(cryptoki.CKA_WRAP, true),
		cryptoki.Bytes(cryptoki.CKA_VALUE, kek),
	))
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.DestroyObject(s.handle, wrapping) }()
	var wrapped []byte
	for _, t := range mechanisms {
		if wrapped, err = s.WrapKey(s.handle, uint(t), iv, wrapping, o.handle, maxWrapped); !is(err, cryptoki.CKR_MECHANISM_INVALID) {
			break
		}
	}
	if is(err, cryptoki.CKR_KEY_UNEXTRACTABLE, cryptoki.CKR_KEY_NOT_WRAPPABLE) {
		return nil, fault.New(fault.KeyUnextractable, "the HSM does not let the key leave; make a new key elsewhere with anyhsm key rotate --to PROVIDER: %w", err)
	}
	return wrapped, err
}
