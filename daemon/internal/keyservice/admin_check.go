package keyservice

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/sha256"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// CheckProvider exercises a provider: its health, its random numbers, and a key that is made, used and destroyed. A
// signature is verified here, not by the provider.
func (s *Service) CheckProvider(ctx context.Context, call Call, name string) (results []CheckResult, err error) {
	r := begin(call, "provider.check")
	r.event.Detail = name
	defer s.end(ctx, r, &err)

	if err := administrator(call); err != nil {
		return nil, err
	}
	b, err := s.openProvider(name)
	if err != nil {
		return nil, err
	}
	step := func(name string, do func() (detail string, err error)) bool {
		began := time.Now()
		detail, err := do()
		if err != nil {
			detail = settle(err).Error()
		}
		results = append(results, CheckResult{Name: name, Passed: err == nil, Detail: detail, Duration: time.Since(began)})
		return err == nil
	}
	if _, ok := b.Provider.(provider.HealthChecker); ok {
		step("health", func() (string, error) { return "", health(ctx, b) })
	}
	if source, ok := b.Provider.(provider.RandomSource); ok {
		step("random", func() (string, error) { return "", checkRandom(ctx, source) })
	}
	s.checkKey(ctx, b, step)
	return results, nil
}

func checkRandom(ctx context.Context, source provider.RandomSource) error {
	one, err := source.Random(ctx, 32)
	if err != nil {
		return err
	}
	other, err := source.Random(ctx, 32)
	if err == nil && (len(one) != 32 || bytes.Equal(one, other)) {
		err = fault.New(fault.FunctionFailed, "the provider's random numbers are no 32 bytes, or the same twice; do not use it")
	}
	return err
}

// checkKey makes a key, uses it and destroys it.
func (s *Service) checkKey(ctx context.Context, b *backend, step func(string, func() (string, error)) bool) {
	var made target
	var public cryptoki.Attributes
	passed := step("generate", func() (detail string, err error) {
		made, public, detail, err = s.makeCheckKey(ctx, b)
		return detail, err
	})
	if !passed || len(made.places) == 0 {
		return
	}
	if public == nil {
		s.checkCipher(ctx, b, made, step)
	} else {
		s.checkSignature(ctx, made, public, step)
	}
	if b.capabilities.Keeps {
		step("destroy", func() (string, error) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
			defer cancel()
			return "", destroyAt(ctx, made, made.places[0])
		})
	}
}

// checkSignature signs with a key pair.
func (s *Service) checkSignature(ctx context.Context, made target, public cryptoki.Attributes, step func(string, func() (string, error)) bool) {
	hashing := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA256}
	if keyType, _ := public.KeyType(); keyType == cryptoki.CKK_RSA {
		hashing.Type = cryptoki.CKM_SHA256_RSA_PKCS
	}
	sum := sha256.Sum256([]byte("anyhsm provider check"))
	m, digest, err := mechanism.Reduce(hashing, sum[:])
	if err != nil {
		step("sign", func() (string, error) { return "", err })
		return
	}
	var signature []byte
	passed := step("sign", func() (string, error) {
		signature, err = use(ctx, s, made, "sign", func(ctx context.Context, _ *backend, key provider.Signer) ([]byte, error) {
			return key.Sign(ctx, m, digest)
		})
		return m.Type.String(), err
	})
	if passed {
		step("verify", func() (string, error) {
			key, err := softkey.FromAttributes(public)
			if err != nil {
				return "", err
			}
			return "", key.Verify(m, digest[:], signature)
		})
	}
}

// checkCipher encrypts and decrypts with a secret key.
func (s *Service) checkCipher(ctx context.Context, b *backend, made target, step func(string, func() (string, error)) bool) {
	block := make([]byte, aes.BlockSize)
	m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: block}}
	const both = cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT
	if !b.capabilities.Can(m.Type, both) {
		m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: block[:12], TagBits: 128}}
	}
	var encrypted []byte
	passed := step("encrypt", func() (detail string, err error) {
		encrypted, err = use(ctx, s, made, "encrypt", func(ctx context.Context, _ *backend, key provider.Encrypter) ([]byte, error) {
			return key.Encrypt(ctx, m, block)
		})
		return m.Type.String(), err
	})
	if !passed {
		return
	}
	step("decrypt", func() (string, error) {
		decrypted, err := use(ctx, s, made, "decrypt", func(ctx context.Context, _ *backend, key provider.Decrypter) ([]byte, error) {
			return key.Decrypt(ctx, m, encrypted)
		})
		if err == nil && (!bytes.Equal(decrypted, block) || bytes.Contains(encrypted, block)) {
			err = fault.New(fault.FunctionFailed, "the provider does not give back what it encrypted; do not use it")
		}
		return m.Type.String(), err
	})
}

// makeCheckKey makes a key that becomes no object, and gives the public half of a pair; a target without a place if that is not possible without leaving
// something behind.
func (s *Service) makeCheckKey(ctx context.Context, b *backend) (key target, public cryptoki.Attributes, detail string, err error) {
	if _, ok := b.Provider.(provider.Destroyer); b.capabilities.Keeps && !ok {
		return key, nil, "left out: the provider cannot destroy keys, so the check's key would stay", nil
	}
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return key, nil, "", err
	}
	if len(tokens) == 0 {
		return key, nil, "left out: there is no token yet to make a key for; run anyhsm token create", nil
	}
	p256, _ := curve.ByName("P-256")
	order := onCurve(cryptoki.CKM_EC_KEY_PAIR_GEN, p256)
	switch can := b.capabilities.Can; {
	case can(order.mechanism, cryptoki.CKF_GENERATE_KEY_PAIR):
	case can(cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKF_GENERATE_KEY_PAIR):
		order, err = parseSpec("rsa:2048")
	default:
		// Some services keep secret keys only.
		order, err = parseSpec("aes:256")
	}
	if err != nil {
		return key, nil, "", err
	}
	open, private, err := order.templates("anyhsm check", nil, nil, false)
	if err != nil {
		return key, nil, "", err
	}
	request := provider.GenerateRequest{
		Identity:  provider.Identity{UID: identify(Call{}, "", ""), Token: tokens[0].UID, Session: b.name == Software},
		Mechanism: cryptoki.Mechanism{Type: order.mechanism},
	}
	if order.pair {
		request.Public, request.Private, err = object.NewKeyPair(request.Mechanism, open, private)
	} else {
		request.Private, err = object.New(object.Generate, request.Mechanism.Type, private)
	}
	if err != nil {
		return key, nil, "", err
	}
	if err := b.capabilities.CheckGenerate(request); err != nil {
		return key, nil, "", err
	}
	generated, err := b.Generate(ctx, request)
	if err != nil {
		return key, nil, "", err
	}
	if private = request.Private; order.pair {
		public, private = object.Complete(request.Public, request.Private, generated.Public)
	}
	key.UID, key.Token, key.Attributes = request.Identity.UID, request.Identity.Token, private
	key.session = request.Identity.Session
	key.places = []place{{b, keystore.KeyReference{Provider: b.name, Ref: generated.Ref}}}
	return key, public, order.mechanism.String(), nil
}
