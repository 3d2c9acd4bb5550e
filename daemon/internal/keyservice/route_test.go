package keyservice_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// fails makes a way to fail of a kind.
func fails(kind fault.Kind) func(context.Context) error {
	return func(context.Context) error { return fault.New(kind, "it fails as told") }
}

// hangs until the call is given up.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A provider that fails is passed over within the call, whatever the way and the policy.
func TestPassedOverWithinTheCall(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"unavailable": fails(fault.DeviceError), "removed": fails(fault.DeviceRemoved), "throttled": fails(fault.Throttled),
		"timed out": fails(fault.DeadlineExceeded), "hung": hangs, "key lost": fails(fault.KeyHandleInvalid), "refused": fails(fault.FunctionFailed),
	} {
		for _, routing := range []string{"", "prefer", "any", "failover"} {
			t.Run(name+" "+routing, func(t *testing.T) {
				t.Parallel()
				r := newRouted(t)
				key := r.replicated(routing, "one", "two")
				r.one.failing(fail)
				for range 4 {
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					ok(t, r.sign(ctx, key))
					cancel()
				}
				if r.one.used() == 0 || r.two.used() == 0 {
					t.Errorf("one was asked %d times, two %d times", r.one.used(), r.two.used())
				}
			})
		}
	}
}

// What the key refuses is the same everywhere.
func TestRefusalIsNotRetried(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("", "one", "two")
	r.two.failing(nil)
	for _, kind := range []fault.Kind{fault.DataInvalid, fault.DataLenRange, fault.KeyFunctionNotPermitted, fault.EncryptedDataInvalid, fault.FunctionRejected} {
		r.one.failing(fails(kind))
		for range 5 {
			if err := r.sign(t.Context(), key); !fault.Is(err, kind) {
				t.Fatalf("got %v, want kind %v", err, kind)
			}
		}
	}
	if r.two.used() > 0 {
		t.Error("another provider was asked for what the key refuses")
	}
	r.one.failing(nil)
	ok(t, r.sign(t.Context(), key))
	if r.one.used() != 1 {
		t.Error("refusals have opened the breaker")
	}
}

func TestPrefer(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("prefer", "two", "one")
	r.one.failing(nil)
	r.two.failing(nil)
	for range 10 {
		ok(t, r.sign(t.Context(), key))
	}
	if r.two.used() != 10 || r.one.used() != 0 {
		t.Errorf("two was asked %d times, one %d times", r.two.used(), r.one.used())
	}
}

func TestAny(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("any", "one", "two", "three")
	for _, p := range []*faulty{r.one, r.two, r.three} {
		p.failing(nil)
	}
	r.three.failing(fails(fault.DeviceError))
	for range 30 {
		ok(t, r.sign(t.Context(), key))
	}
	if r.one.used() < 10 || r.two.used() < 10 || r.three.used() < 3 || r.three.used() > 9 {
		t.Errorf("asked %d, %d and %d times", r.one.used(), r.two.used(), r.three.used())
	}
}

// A broken provider costs nothing until it is tried again: by a call of an application under prefer, by its own health
// check under failover, so that no application waits for it.
func TestFailover(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("failover", "one", "two")
	r.one.failing(fails(fault.DeviceError))
	r.one.health(fault.New(fault.DeviceError, "still sick"))
	for range 3 {
		ok(t, r.sign(t.Context(), key))
	}
	r.one.failing(nil) // would serve, but its health check says no
	began := time.Now()
	for time.Since(began) < 3*time.Second {
		ok(t, r.sign(t.Context(), key))
		time.Sleep(50 * time.Millisecond)
	}
	if r.one.used() > 0 {
		t.Errorf("a broken primary was tried %d times by calls of an application", r.one.used())
	}
	r.one.health(nil)
	for deadline := time.Now().Add(30 * time.Second); r.one.used() == 0; time.Sleep(50 * time.Millisecond) {
		if ok(t, r.sign(t.Context(), key)); time.Now().After(deadline) {
			t.Fatal("the primary is healthy and not gone back to")
		}
	}
}

// Where there is no other place, a broken provider's calls fail at once and say why; it is tried again after a pause.
func TestBrokenAlone(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("", "one")
	r.one.failing(fails(fault.Throttled))
	for range 3 {
		if err := r.sign(t.Context(), key); !fault.Is(err, fault.Throttled) {
			t.Fatal(err)
		}
	}
	err := r.sign(t.Context(), key)
	if !fault.Is(err, fault.Throttled) || !strings.Contains(err.Error(), "provider one has failed since 20") ||
		!strings.Contains(err.Error(), "it fails as told") || !strings.Contains(err.Error(), "3 times") {
		t.Errorf("%v", err)
	}
	if n := r.one.used(); n != 3 {
		t.Errorf("a broken provider was asked %d times", n)
	}
	list, err := r.ListProviders(t.Context(), r.public(r.admin, ""))
	ok(t, err)
	for _, p := range list {
		if broken := p.Name == "one"; p.Healthy == broken || broken && !strings.Contains(p.Detail, "it fails as told") {
			t.Errorf("%s: healthy %v, %q", p.Name, p.Healthy, p.Detail)
		}
	}
	r.one.failing(nil)
	for deadline := time.Now().Add(30 * time.Second); r.sign(t.Context(), key) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a provider that serves again is not tried")
		}
	}
}

// All places fail: the error names each.
func TestAllFail(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("", "one", "two")
	r.one.failing(fails(fault.Throttled))
	r.two.failing(fails(fault.DeviceError))
	err := r.sign(t.Context(), key)
	if !fault.Is(err, fault.Throttled) || !strings.Contains(err.Error(), "none of the 2 places") {
		t.Error(err)
	}
}

// A caller with no time, or one who gives up, says nothing about the provider.
func TestImpatientCallers(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("", "one")
	r.one.failing(hangs)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if r.sign(ctx, key) == nil {
			t.Fatal("signed")
		}
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if err := r.sign(ctx, key); !fault.Is(err, fault.FunctionCanceled) {
			t.Fatal(err)
		}
	}
	r.one.failing(nil)
	ok(t, r.sign(t.Context(), key))
}

// A place whose provider does less is left out for what it does not do.
func TestRoutedByMechanism(t *testing.T) {
	r := newRouted(t)
	pub := cryptoki.Attributes{tokenOn, cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}
	_, key, _, err := r.GenerateKeyPair(t.Context(), again(r.call), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}, pub, onToken())
	ok(t, err)
	r.twin(key, map[string][]cryptoki.MechanismType{
		"one": {cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256_RSA_PKCS_PSS}, "two": {cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA256_RSA_PKCS},
	})
	pss := cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}
	for _, c := range []struct {
		m        cryptoki.Mechanism
		one, two int
	}{
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: pss}, 1, 0},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS_PSS, Params: pss}, 1, 0},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, 0, 1},
		{cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_RSA_PKCS}, 0, 1},
	} {
		r.one.failing(nil)
		r.two.failing(nil)
		_, _, err := r.Sign(t.Context(), again(r.call), ref(key), c.m, digest, false)
		if err != nil || r.one.used() != c.one || r.two.used() != c.two {
			t.Errorf("%v: one was asked %d times, two %d times, %v", c.m.Type, r.one.used(), r.two.used(), err)
		}
	}
	_, _, err = r.Sign(t.Context(), again(r.call), ref(key), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, make([]byte, 256), false)
	refused(t, err, cryptoki.CKR_MECHANISM_INVALID)
}

// The same where the provider itself says that it does not do it.
func TestRoutedByCapabilities(t *testing.T) {
	limits := func(c *provider.Capabilities) {
		kept := c.Mechanisms[:0:0]
		for _, m := range c.Mechanisms {
			if m.Type != cryptoki.CKM_ECDSA {
				kept = append(kept, m)
			}
		}
		c.Mechanisms = kept
	}
	r := newRoutedWith(t, limits)
	key := r.replicated("", "one", "two")
	r.one.failing(nil)
	ok(t, r.sign(t.Context(), key))
	if r.one.used() != 0 {
		t.Error("a provider was asked for what it does not do")
	}
}

func TestProviderMetrics(t *testing.T) {
	r := newRouted(t)
	key := r.replicated("", "one", "two")
	r.one.failing(fails(fault.Throttled))
	for range 5 {
		ok(t, r.sign(t.Context(), key))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Collector())
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`anyhsm_provider_duration_seconds_count{operation="sign",provider="two"} 5`,
		`anyhsm_provider_duration_seconds_count{operation="sign",provider="one"} 3`,
		`anyhsm_provider_errors_total{kind="throttled",operation="sign",provider="one"} 3`,
		`anyhsm_provider_passed_over_total{provider="one",reason="throttled"} 3`,
		`anyhsm_provider_breaker_state{provider="one",state="open"} 1`,
		`anyhsm_provider_breaker_state{provider="two",state="closed"} 1`,
	} {
		if !strings.Contains(answer.Body.String(), want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if t.Failed() {
		fmt.Println(answer.Body.String())
	}
}

// Decryption and derivation go the same way as signing.
func TestOtherUsesAreRouted(t *testing.T) {
	r := newRouted(t)
	key, _, err := r.GenerateKey(t.Context(), again(r.call), aesGen, aesTemplate(true))
	ok(t, err)
	r.places(key, "", "one", "two")
	cbc := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: make([]byte, 16)}}
	ciphertext, _, err := r.Encrypt(t.Context(), again(r.call), ref(key), cbc, []byte("a message"), false)
	ok(t, err)
	r.one.failing(fails(fault.DeviceError))
	plain, _, err := r.Decrypt(t.Context(), again(r.call), ref(key), cbc, ciphertext, false)
	if err != nil || string(plain) != "a message" {
		t.Errorf("%q, %v", plain, err)
	}
	// Damaged data is damaged everywhere.
	r.one.failing(nil)
	r.two.failing(nil)
	_, _, err = r.Decrypt(t.Context(), again(r.call), ref(key), cbc, make([]byte, 16), false)
	if refused(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID); r.two.used() > 0 {
		t.Error("the second place was asked as well")
	}
}
