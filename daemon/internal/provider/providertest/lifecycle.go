package providertest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// anyRecipe is the recipe of a key that is made quickly.
func (s *suite) anyRecipe(t *testing.T) recipe {
	t.Helper()
	for _, r := range append(s.recipes(cryptoki.CKK_EC), s.recipes(cryptoki.CKK_RSA)...) {
		return r
	}
	// Some providers keep secret keys only.
	for _, r := range append(s.recipes(cryptoki.CKK_AES), s.recipes(cryptoki.CKK_GENERIC_SECRET)...) {
		return r
	}
	t.Fatal("the provider makes no key")
	return recipe{}
}

// samples are recipes of one key of each type.
func (s *suite) samples() []recipe {
	var all []recipe
	for _, keyType := range []cryptoki.KeyType{cryptoki.CKK_RSA, cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS, cryptoki.CKK_ML_DSA, cryptoki.CKK_AES, cryptoki.CKK_GENERIC_SECRET} {
		if here := s.recipes(keyType); len(here) > 0 {
			all = append(all, here[len(here)-1])
		}
	}
	return all
}

// testIdempotent repeats requests whose answer was lost.
func (s *suite) testIdempotent(t *testing.T) {
	for _, r := range s.samples() {
		t.Run(r.name, func(t *testing.T) {
			request := r.request()
			request.Identity = s.identity()
			first, err := s.provider.Generate(s.ctx(t), request)
			if err != nil {
				t.Fatal(err)
			}
			second, err := s.provider.Generate(s.ctx(t), request)
			if err != nil {
				t.Fatalf("the repeated request: %v", err)
			}
			if !s.capabilities.Keeps {
				s.open(t, request.Identity, second, request.Private)
				return
			}
			if !bytes.Equal(first.Ref, second.Ref) || !sameAttributes(first.Public, second.Public) {
				t.Error("the repeated request made another key")
			}
		})
	}
	if !s.capabilities.Keeps {
		return
	}
	t.Run("at once", func(t *testing.T) {
		request := s.anyRecipe(t).request()
		request.Identity = s.identity()
		refs := make([][]byte, 8)
		var wait sync.WaitGroup
		for i := range refs {
			wait.Go(func() {
				generated, err := s.provider.Generate(s.ctx(t), request)
				if err != nil {
					t.Error(err)
				}
				refs[i] = generated.Ref
			})
		}
		wait.Wait()
		for _, ref := range refs {
			if !bytes.Equal(ref, refs[0]) {
				t.Error("two requests with one identity made two keys")
			}
		}
	})
}

func sameAttributes(a, b cryptoki.Attributes) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !bytes.Equal(x.Value, b.Bytes(x.Type)) {
			return false
		}
	}
	return true
}

// testSession asks for a key that lives as long as a session: only software makes such.
func (s *suite) testSession(t *testing.T) {
	request := s.anyRecipe(t).request()
	request.Identity = s.identity()
	request.Identity.Session = true
	generated, err := s.provider.Generate(s.ctx(t), request)
	if s.capabilities.Keeps {
		wants(t, err, fault.FunctionNotSupported)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.open(t, request.Identity, generated, request.Private)
}

// testReferences looks for keys by references that are not theirs.
func (s *suite) testReferences(t *testing.T) {
	k := s.shared(t, s.anyRecipe(t))
	ref := k.ref.Ref
	flipped := bytes.Clone(ref)
	flipped[len(flipped)/2] ^= 0x01
	for name, wrong := range map[string][]byte{
		"empty": {}, "nil": nil, "truncated": ref[:len(ref)-1], "half": ref[:len(ref)/2], "one byte": ref[:1],
		"longer": append(bytes.Clone(ref), 1), "flipped": flipped, "rubbish": random(len(ref)),
		"huge": bytes.Repeat([]byte("x"), 1<<20), "text": []byte("{}"), "null": []byte("null"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.provider.Key(s.ctx(t), provider.Reference{Identity: k.ref.Identity, Ref: wrong, Attributes: k.ref.Attributes})
			wants(t, err, fault.KeyHandleInvalid, fault.StoreDamaged)
		})
	}
	if !s.capabilities.Keeps {
		// What only the store keeps is bound to the object and the token that it was made for.
		for name, identity := range map[string]provider.Identity{
			"of another object": {UID: s.identity().UID, Token: k.ref.Identity.Token},
			"of another token":  {UID: k.ref.Identity.UID, Token: "another"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := s.provider.Key(s.ctx(t), provider.Reference{Identity: identity, Ref: ref, Attributes: k.ref.Attributes})
				wants(t, err, fault.KeyHandleInvalid, fault.StoreDamaged, fault.NotFound, fault.TokenNotPresent)
			})
		}
	}
}

// testReopen uses keys over another connection, as after a restart.
func (s *suite) testReopen(t *testing.T) {
	other := s.subject.Open(t)
	defer func() { _ = other.Close() }()
	again := &suite{subject: s.subject, provider: other, capabilities: other.Capabilities()}
	for _, r := range s.samples() {
		t.Run(r.name, func(t *testing.T) {
			k := s.shared(t, r)
			if r.keyType == cryptoki.CKK_AES || r.keyType == cryptoki.CKK_GENERIC_SECRET {
				k = s.secret(t, r)
			}
			found := again.open(t, k.ref.Identity, k.generated, k.ref.Attributes)
			found.value = k.value
			again.proveKey(t, found, r.keyType)
		})
	}
}

// testList looks for keys in the listing.
func (s *suite) testList(t *testing.T) {
	lister, ok := s.provider.(provider.Lister)
	if !ok {
		return
	}
	for range 70 { // More than one page has.
		s.make(t, s.anyRecipe(t).request())
	}
	names, refs := map[string]bool{}, map[string]provider.Found{}
	for page, pages := "", 0; ; pages++ {
		found, next, err := lister.List(s.ctx(t), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if names[f.Name] {
				t.Errorf("%s is there twice", f.Name)
			}
			names[f.Name] = true
			refs[string(f.Ref)] = f
		}
		if next == "" {
			break
		}
		if pages > 1000 {
			t.Fatal("the pages have no end")
		}
		page = next
	}
	for _, r := range s.samples() {
		k := s.shared(t, r)
		f, ok := refs[string(k.ref.Ref)]
		if !ok {
			t.Errorf("%s: the listing has no key with the reference that Generate gave", r.name)
			continue
		}
		if len(f.Objects) == 0 || string(f.Objects[0].Bytes(cryptoki.CKA_LABEL)) != r.name {
			t.Errorf("%s: the listing has not the label", r.name)
			continue
		}
		if k.public != nil && (len(f.Objects) < 2 || !equal(publicKey(t, f.Objects[1], k.ref.Attributes), k.public)) {
			t.Errorf("%s: the listing has not the public half", r.name)
		}
	}
}

// testDestroy destroys keys and looks for them.
func (s *suite) testDestroy(t *testing.T) {
	destroyer, ok := s.provider.(provider.Destroyer)
	if !ok {
		return
	}
	for _, r := range s.samples() {
		t.Run(r.name, func(t *testing.T) {
			k := s.make(t, r.request())
			for range 2 { // Destroying what is gone is no error.
				if err := destroyer.Destroy(s.ctx(t), k.ref); err != nil {
					t.Fatal(err)
				}
			}
			if !s.capabilities.Keeps {
				return
			}
			_, err := s.provider.Key(s.ctx(t), k.ref)
			wants(t, err, fault.KeyHandleInvalid)
			// A key that somebody has in hand is gone as well.
			switch r.keyType {
			case cryptoki.CKK_AES:
				m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}
				switch {
				case s.capabilities.Can(m.Type, cryptoki.CKF_ENCRYPT):
					_, err = s.encrypt(t, k, m, make([]byte, 16))
				case s.capabilities.Can(cryptoki.CKM_AES_CBC, cryptoki.CKF_ENCRYPT):
					m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: make([]byte, 16)}}
					_, err = s.encrypt(t, k, m, make([]byte, 16))
				default:
					m = cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}}
					_, err = s.decrypt(t, k, m, make([]byte, 32))
				}
			case cryptoki.CKK_GENERIC_SECRET:
				_, err = s.sign(t, k, cryptoki.Mechanism{Type: s.mac(int(r.size)).Type}, []byte("data"))
			case cryptoki.CKK_EC:
				_, err = s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, random(32))
			case cryptoki.CKK_EC_EDWARDS:
				_, err = s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, random(32))
			case cryptoki.CKK_ML_DSA:
				_, err = s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA}, random(32))
			default:
				_, err = s.sign(t, k, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, s.paddable(t, 256)[0])
			}
			wants(t, err, fault.KeyHandleInvalid)
		})
	}
}

// testRandom asks for random numbers.
func (s *suite) testRandom(t *testing.T) {
	source, ok := s.provider.(provider.RandomSource)
	if !ok {
		return
	}
	for _, length := range []int{0, 1, 32, 1025, 100_000} {
		one, err := source.Random(s.ctx(t), length)
		if err != nil || len(one) != length {
			t.Fatalf("%d bytes: got %d: %v", length, len(one), err)
		}
		other, err := source.Random(s.ctx(t), length)
		if err != nil || length >= 32 && bytes.Equal(one, other) {
			t.Errorf("%d bytes: twice the same: %v", length, err)
		}
	}
	for _, length := range []int{-1, 1 << 30} {
		_, err := source.Random(s.ctx(t), length)
		wants(t, err, fault.ArgumentsBad)
	}
}

// testContext calls with contexts that end.
func (s *suite) testContext(t *testing.T) {
	k := s.shared(t, s.anyRecipe(t))
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	request := s.anyRecipe(t).request()
	request.Identity = s.identity()
	for name, call := range map[string]func(context.Context) error{
		"Generate": func(ctx context.Context) error { _, err := s.provider.Generate(ctx, request); return err },
		"Key":      func(ctx context.Context) error { _, err := s.provider.Key(ctx, k.ref); return err },
		"Sign": func(ctx context.Context) error {
			_, err := ability[provider.Signer](t, k.Key).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, random(32))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := call(cancelled)
			wants(t, err, fault.FunctionCanceled)
			if !errors.Is(err, context.Canceled) {
				t.Error("the error does not wrap context.Canceled")
			}
			err = call(late)
			wants(t, err, fault.DeadlineExceeded)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error("the error does not wrap context.DeadlineExceeded")
			}
		})
	}
	if !s.can(rsaRecipe(4096)) {
		return
	}
	t.Run("during a call", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		request := rsaRecipe(4096).request()
		request.Identity = s.identity()
		begin := time.Now()
		_, err := s.provider.Generate(ctx, request)
		wants(t, err, fault.DeadlineExceeded)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the call ended %v after it should have", took)
		}
		if !s.capabilities.Keeps {
			return
		}
		// The provider may still be at it: the repeated request must not make a second key.
		first, err := s.provider.Generate(s.ctx(t), request)
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.provider.Generate(s.ctx(t), request)
		if err != nil || !bytes.Equal(first.Ref, second.Ref) {
			t.Errorf("the repeated request made a second key: %v", err)
		}
	})
}

// testHealth asks a provider that works.
func (s *suite) testHealth(t *testing.T) {
	checker, ok := s.provider.(provider.HealthChecker)
	if !ok {
		return
	}
	if err := checker.Health(s.ctx(t)); err != nil {
		t.Error(err)
	}
}

// testClose closes the provider while it is used. It comes last.
func (s *suite) testClose(t *testing.T) {
	p := s.subject.Open(t)
	other := &suite{subject: s.subject, provider: p, capabilities: p.Capabilities(), keys: map[string]*testKey{}}
	p256, _ := curve.ByName("P-256")
	r := other.anyRecipe(t)
	if c := curveRecipe(p256); other.can(c) {
		r = c
	}
	k := other.make(t, r.request())
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for {
				_, err := k.Key.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32))
				if err != nil {
					if !fault.Is(err, fault.DeviceError) && r.keyType == cryptoki.CKK_EC {
						t.Errorf("the error of a closed provider means %s: %v", fault.RV(err), err)
					}
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wait.Wait()
	_, err := p.Key(t.Context(), k.ref)
	wants(t, err, fault.DeviceError)
	_, err = p.Generate(t.Context(), provider.GenerateRequest{Identity: s.identity(), Mechanism: r.request().Mechanism, Public: r.request().Public, Private: r.request().Private})
	wants(t, err, fault.DeviceError)
	if checker, ok := p.(provider.HealthChecker); ok {
		wants(t, checker.Health(t.Context()), fault.DeviceError)
	}
	// The other connection does not notice.
	s.testHealth(t)
	k = s.shared(t, r)
	if r.keyType == cryptoki.CKK_AES || r.keyType == cryptoki.CKK_GENERIC_SECRET {
		k = s.secret(t, r)
	}
	s.proveKey(t, k, r.keyType)
	if err := s.provider.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
