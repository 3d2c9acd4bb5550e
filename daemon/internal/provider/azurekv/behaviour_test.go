package azurekv_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

var digest = make([]byte, 32)

// request asks for a P-256 key.
func request(uses ...cryptoki.AttributeType) provider.GenerateRequest {
	uid := make([]byte, 16)
	_, _ = rand.Read(uid)
	p256, _ := curve.ByName("P-256")
	r := provider.GenerateRequest{
		Identity:  provider.Identity{UID: hex.EncodeToString(uid), Token: "token"},
		Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public:    cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params)},
		Private:   cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC), cryptoki.String(cryptoki.CKA_LABEL, "web")},
	}
	if len(uses) == 0 {
		uses = []cryptoki.AttributeType{cryptoki.CKA_SIGN}
	}
	for _, u := range uses {
		r.Private = append(r.Private, cryptoki.Bool(u, true))
	}
	return r
}

// born makes a key and opens it.
func born(t *testing.T, p provider.Provider) (provider.Reference, provider.Key) {
	t.Helper()
	r := request()
	made, err := p.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	ref := provider.Reference{Identity: r.Identity, Ref: made.Ref, Attributes: r.Private}
	key, err := p.Key(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return ref, key
}

func sign(ctx context.Context, key provider.Key) error {
	_, err := key.(provider.Signer).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest)
	return err
}

// expect checks an error's kind, and that it says something.
func expect(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("the error means %s, want %s: %v", fault.RV(err), kind.Row().RV, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), azurefake.ClientSecret) {
		t.Error("the error shows the client secret")
	}
}

func TestStates(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	ref, key := born(t, p)
	name := "anyhsm-" + ref.Identity.UID
	hour := time.Hour
	for _, tc := range []struct {
		name   string
		change func(*azurefake.Key)
		kind   fault.Kind
		words  []string
	}{
		{"disabled", func(k *azurefake.Key) { k.Enabled = false }, fault.FunctionFailed, []string{"disabled", "--enabled true"}},
		{"expired", func(k *azurefake.Key) { k.Expires = time.Now().Add(-hour) }, fault.FunctionFailed, []string{"expired", "--expires"}},
		{"not yet valid", func(k *azurefake.Key) { k.NotBefore = time.Now().Add(hour) }, fault.FunctionFailed, []string{"not yet valid", "--not-before"}},
		{"key_ops", func(k *azurefake.Key) { k.Operations = []string{"verify"} }, fault.KeyFunctionNotPermitted, []string{"key_ops", "--ops"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before azurefake.Key
			fake.Change(name, func(k *azurefake.Key) { before = *k; tc.change(k) })
			expect(t, sign(t.Context(), key), tc.kind, append(tc.words, name)...)
			fake.Change(name, func(k *azurefake.Key) { *k = before })
			if err := sign(t.Context(), key); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	_, key := born(t, p)
	fake.Deny("sign", "create", "get", "list")
	expect(t, sign(t.Context(), key), fault.FunctionFailed, "Microsoft.KeyVault/vaults/keys/sign/action", "Key Vault Crypto User", `"sign"`)
	expect(t, p.(provider.HealthChecker).Health(t.Context()), fault.FunctionFailed, "keys/read")
	_, _, err := p.(provider.Lister).List(t.Context(), "")
	expect(t, err, fault.FunctionFailed, "keys/read")
	fake.Heal()
	fake.Deny("create")
	_, err = p.Generate(t.Context(), request())
	expect(t, err, fault.FunctionFailed, "keys/create/action", "Key Vault Crypto Officer")
	fake.Heal()
	for _, tc := range []struct {
		fault azurefake.Fault
		kind  fault.Kind
		words []string
	}{
		{azurefake.Fault{Status: http.StatusForbidden, Code: "Forbidden", Inner: "ForbiddenByFirewall"}, fault.DeviceError, []string{"firewall"}},
		{azurefake.Fault{Status: http.StatusUnauthorized, Code: "Unauthorized"}, fault.DeviceError, []string{"token"}},
		{azurefake.Fault{Status: http.StatusConflict, Code: "Conflict"}, fault.Conflict, []string{"try again"}},
		{azurefake.Fault{Status: http.StatusBadRequest, Code: "BadParameter"}, fault.FunctionFailed, []string{"BadParameter"}},
		{azurefake.Fault{Status: http.StatusMovedPermanently}, fault.FunctionFailed, nil},
	} {
		fake.Inject(tc.fault)
		expect(t, sign(t.Context(), key), tc.kind, tc.words...)
		fake.Heal()
	}
	if err := sign(t.Context(), key); err != nil {
		t.Error(err)
	}
}

func TestTemplates(t *testing.T) {
	_, c := vault(t, azurefake.Options{})
	p := open(t, c)
	_, err := p.Generate(t.Context(), request(cryptoki.CKA_DERIVE))
	expect(t, err, fault.TemplateInconsistent, "key agreement")
	made, err := p.Generate(t.Context(), request(cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE, cryptoki.CKA_DECRYPT))
	if err != nil {
		t.Fatal(err)
	}
	if value, ok := made.Private.Get(cryptoki.CKA_DERIVE); !ok || value[0] != 0 || !made.Private.Has(cryptoki.CKA_DECRYPT) || made.Private.Has(cryptoki.CKA_SIGN) {
		t.Errorf("what became of the flags is %v", made.Private)
	}
	if allowed, _ := made.Private.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS); len(allowed) == 0 {
		t.Error("no mechanisms are allowed")
	}
	r := request()
	r.Mechanism.Type = cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN
	r.Public = cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048)), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{3})}
	_, err = p.Generate(t.Context(), r)
	expect(t, err, fault.AttributeValueInvalid, "65537")
	for mechanism, word := range map[cryptoki.MechanismType]string{
		cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN: "Edwards", cryptoki.CKM_AES_KEY_GEN: "Managed HSM", cryptoki.CKM_GENERIC_SECRET_KEY_GEN: "HMAC",
	} {
		r := request()
		r.Mechanism.Type = mechanism
		_, err = p.Generate(t.Context(), r)
		expect(t, err, fault.MechanismInvalid, word)
	}
	_, key := born(t, p)
	_, err = key.(provider.Deriver).Derive(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE}, 0)
	expect(t, err, fault.MechanismInvalid, "key agreement")
}

func TestThrottling(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	_, key := born(t, p)
	t.Run("passes", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Times: 2, Status: http.StatusTooManyRequests, Code: "Throttled"})
		if err := sign(t.Context(), key); err != nil {
			t.Error(err)
		}
	})
	t.Run("Retry-After is heeded", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Times: 1, Status: http.StatusTooManyRequests, Code: "Throttled", RetryAfter: 1})
		begin := time.Now()
		if err := sign(t.Context(), key); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < time.Second {
			t.Errorf("the next attempt came after %v", took)
		}
	})
	t.Run("beyond the deadline", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Status: http.StatusTooManyRequests, Code: "Throttled", RetryAfter: 30})
		defer fake.Heal()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin, before := time.Now(), fake.Calls("sign")
		expect(t, sign(ctx, key), fault.Throttled, "limit")
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the refusal came after %v", took)
		}
		if calls := fake.Calls("sign") - before; calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
	t.Run("without end", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Status: http.StatusTooManyRequests, Code: "Throttled"})
		defer fake.Heal()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		expect(t, sign(ctx, key), fault.Throttled)
	})
	t.Run("creation", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "create", Times: 1, Status: http.StatusTooManyRequests, Code: "Throttled"})
		born(t, p)
	})
	t.Run("the listing", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "list", Times: 1, Status: http.StatusTooManyRequests, Code: "Throttled"})
		if _, _, err := p.(provider.Lister).List(t.Context(), ""); err != nil {
			t.Error(err)
		}
	})
}

func TestFailures(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	c.AttemptTimeout = 300 * time.Millisecond
	p := open(t, c)
	_, key := born(t, p)
	for name, f := range map[string]azurefake.Fault{
		"503":          {Operation: "sign", Times: 2, Status: http.StatusServiceUnavailable},
		"lost":         {Operation: "sign", Times: 1, Lost: true},
		"hanging once": {Operation: "sign", Times: 1, Delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			fake.Inject(f)
			if err := sign(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("all the time", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Status: http.StatusInternalServerError, Code: "InternalServerError"})
		defer fake.Heal()
		expect(t, sign(t.Context(), key), fault.DeviceError, "service health")
	})
	t.Run("hanging", func(t *testing.T) {
		fake.Inject(azurefake.Fault{Operation: "sign", Delay: time.Minute})
		defer fake.Heal()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		err := sign(ctx, key)
		if !fault.Is(err, fault.DeadlineExceeded) && !fault.Is(err, fault.DeviceError) {
			t.Error(err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		c := c
		c.VaultURL = "https://127.0.0.1:1"
		expect(t, open(t, c).(provider.HealthChecker).Health(t.Context()), fault.DeviceError, "cannot be reached")
	})
}

// A key is made once, whatever becomes of the answers.
func TestBornOnce(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	for name, f := range map[string]azurefake.Fault{
		"a 500 after the fact": {Operation: "create", Times: 1, Lost: true, Status: http.StatusInternalServerError},
		"a broken connection":  {Operation: "create", Times: 1, Lost: true},
		"a 503 before it":      {Operation: "create", Times: 2, Status: http.StatusServiceUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, c)
			fake.Inject(f)
			ref, key := born(t, p)
			if n := fake.Versions("anyhsm-" + ref.Identity.UID); n != 1 {
				t.Errorf("%d versions", n)
			}
			if err := sign(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("two daemons at once", func(t *testing.T) {
		r := request()
		name := "anyhsm-" + r.Identity.UID
		one, other := open(t, c), open(t, c)
		// The other daemon's creation happens after the first one has looked.
		var inTheMiddle provider.Generated
		fake.Inject(azurefake.Fault{Operation: "create", Times: 1, Race: func() {
			var err error
			if inTheMiddle, err = other.Generate(context.Background(), r); err != nil {
				t.Error(err)
			}
			time.Sleep(1100 * time.Millisecond) // Azure's clock counts seconds.
		}})
		made, err := one.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if string(made.Ref) != string(inTheMiddle.Ref) {
			t.Errorf("%s and %s: two keys for one request", made.Ref, inTheMiddle.Ref)
		}
		if n := fake.Versions(name); n != 2 {
			t.Fatalf("%d versions: there was no race", n)
		}
		fake.Change(name, func(k *azurefake.Key) {
			if k.Enabled {
				t.Error("the version that does not count is enabled")
			}
		})
		// Later requests and the listing find the one that counts.
		again, err := open(t, c).Generate(t.Context(), r)
		if err != nil || string(again.Ref) != string(made.Ref) {
			t.Errorf("%s: %v", again.Ref, err)
		}
		found, err := one.(provider.Finder).Find(t.Context(), name)
		if err != nil || string(found.Ref) != string(made.Ref) {
			t.Errorf("%s: %v", found.Ref, err)
		}
	})
	t.Run("another request with the uid", func(t *testing.T) {
		p := open(t, c)
		r := request()
		if _, err := p.Generate(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		p384, _ := curve.ByName("P-384")
		r.Public = cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p384.Params)}
		_, err := p.Generate(t.Context(), r)
		expect(t, err, fault.Conflict)
	})
	t.Run("a name that is not ours", func(t *testing.T) {
		p := open(t, c)
		ref, _ := born(t, p)
		fake.Change("anyhsm-"+ref.Identity.UID, func(k *azurefake.Key) { k.Tags = nil })
		r := request()
		r.Identity = ref.Identity
		_, err := p.Generate(t.Context(), r)
		expect(t, err, fault.Conflict, "not made")
	})
	t.Run("a deleted key's name", func(t *testing.T) {
		p := open(t, c)
		ref, _ := born(t, p)
		if err := p.(provider.Destroyer).Destroy(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		r := request()
		r.Identity = ref.Identity
		_, err := p.Generate(t.Context(), r)
		expect(t, err, fault.Conflict, "recover", "purge")
	})
}

// Many callers who want one key cost one call.
func TestSingleFlight(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	ref, _ := born(t, open(t, c))
	p := open(t, c)
	fake.Inject(azurefake.Fault{Operation: "get", Delay: 50 * time.Millisecond})
	before := fake.Calls("get")
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := p.Key(t.Context(), ref); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if calls := fake.Calls("get") - before; calls != 1 {
		t.Errorf("%d calls", calls)
	}
}

// The caller of an import wipes the key when its call ends; the import that goes on has a copy.
func TestImportOutlivesItsCall(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := request()
	attributes := func() cryptoki.Attributes {
		open, secret, err := softkey.PrivateAttributes(private)
		if err != nil {
			t.Fatal(err)
		}
		return append(append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Bool(cryptoki.CKA_SIGN, true)}, open...), secret...)
	}
	fake.Inject(azurefake.Fault{Operation: "versions", Times: 1, Delay: 300 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	sent := attributes()
	_, err = p.(provider.Importer).Import(ctx, r.Identity, sent)
	expect(t, err, fault.DeadlineExceeded)
	for _, a := range sent {
		clear(a.Value)
	}
	made, err := p.(provider.Importer).Import(t.Context(), r.Identity, attributes())
	if err != nil {
		t.Fatal(err)
	}
	if n := fake.Versions("anyhsm-" + r.Identity.UID); n != 1 {
		t.Errorf("%d versions", n)
	}
	want, err := softkey.PublicAttributes(&private.PublicKey)
	if err != nil || string(want.Bytes(cryptoki.CKA_EC_POINT)) != string(made.Public.Bytes(cryptoki.CKA_EC_POINT)) {
		t.Errorf("another key was imported: %v", err)
	}
}
