package hsm

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

var ecdsaMechanism = cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}

// makeKey generates a P-256 key.
func makeKey(t *testing.T, p *Provider, uid string) (*key, *ecdsa.PublicKey) {
	t.Helper()
	on, _ := curve.ByName("P-256")
	identity := provider.Identity{UID: uid, Token: "token"}
	request := provider.GenerateRequest{
		Identity: identity, Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public: cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, on.Params), cryptoki.String(cryptoki.CKA_LABEL, "key "+uid)},
		Private: cryptoki.Attributes{
			cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.String(cryptoki.CKA_LABEL, "key "+uid),
		},
	}
	generated, err := p.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	found, err := p.Key(t.Context(), provider.Reference{Identity: identity, Ref: generated.Ref})
	if err != nil {
		t.Fatal(err)
	}
	point, _ := on.Point(generated.Public.Bytes(cryptoki.CKA_EC_POINT))
	public, err := ecdsa.ParseUncompressedPublicKey(on.Elliptic, point)
	if err != nil {
		t.Fatal(err)
	}
	return found.(*key), public
}

// signs checks that a key signs.
func signs(t *testing.T, k *key, public *ecdsa.PublicKey) {
	t.Helper()
	digest := []byte("0123456789abcdef0123456789abcdef")
	signature, err := k.Sign(t.Context(), ecdsaMechanism, digest)
	if err != nil {
		t.Error(err)
		return
	}
	if !ecdsa.Verify(public, digest, new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Error("the signature does not verify")
	}
}

// stranger is another user of the same library in this process.
func stranger(t *testing.T) *pkcs11.Ctx {
	t.Helper()
	other := pkcs11.New(softhsm)
	if other == nil {
		t.Fatal("the library cannot be loaded")
	}
	return other
}

// TestRecover takes sessions, login and library away and looks whether the next call works.
func TestRecover(t *testing.T) {
	p := connect(t, config("recover"))
	k, public := makeKey(t, p, strings.Repeat("1", 32))
	other := stranger(t)
	slot := p.link.Load().slot
	for name, harm := range map[string]func() error{
		"all sessions closed": func() error { return other.CloseAllSessions(slot) },
		"logged out": func() error {
			s, err := other.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
			if err != nil {
				return err
			}
			defer func() { _ = other.CloseSession(s) }()
			return other.Logout(s)
		},
		"one session closed":   func() error { return other.CloseSession(p.pool.idle[len(p.pool.idle)-1].handle) },
		"login session closed": func() error { return other.CloseSession(p.link.Load().anchor) },
		"finalised":            other.Finalize,
		"finalised by one and initialised by another": func() error {
			if err := other.Finalize(); err != nil {
				return err
			}
			return other.Initialize()
		},
		"a stale operation": func() error {
			on := p.pool.idle[len(p.pool.idle)-1].handle
			return other.FindObjectsInit(on, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			signs(t, k, public)
			if err := harm(); err != nil {
				t.Fatal(err)
			}
			signs(t, k, public)
			// And a key nobody has looked up since.
			found, err := p.Key(t.Context(), k.reference)
			if err != nil {
				t.Fatal(err)
			}
			signs(t, found.(*key), public)
			if err := p.Health(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRecoverUnderLoad takes all sessions away, again and again, while many sign. It does so between two calls: SoftHSM
// crashes when a session is closed that is in a call.
func TestRecoverUnderLoad(t *testing.T) {
	p := connect(t, config("recover"))
	k, public := makeKey(t, p, strings.Repeat("2", 32))
	other, slot := stranger(t), p.link.Load().slot
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wait sync.WaitGroup
	var mu sync.Mutex
	lost, signed := 0, 0
	for range 16 {
		wait.Go(func() {
			for ctx.Err() == nil {
				_, err := k.Sign(t.Context(), ecdsaMechanism, make([]byte, 32))
				mu.Lock()
				signed++
				if err != nil {
					lost++
					// Several losses in a row may use up the attempts; what is told must be that the device failed.
					if !fault.Is(err, fault.DeviceError) && !fault.Is(err, fault.KeyHandleInvalid) {
						t.Error(err)
					}
				}
				mu.Unlock()
			}
		})
	}
	for ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		if err := p.library.alone(t.Context(), func() error { return other.CloseAllSessions(slot) }); err != nil {
			t.Error(err)
		}
	}
	wait.Wait()
	if lost*50 > signed {
		t.Errorf("%d of %d signatures were lost", lost, signed)
	}
	signs(t, k, public)
}

// TestReopenAll lets the library be re-opened while many sign: nobody is inside when it is finalised, and no signature
// is lost.
func TestReopenAll(t *testing.T) {
	p := connect(t, config("recover"))
	k, public := makeKey(t, p, strings.Repeat("3", 32))
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for ctx.Err() == nil {
				signs(t, k, public)
			}
		})
	}
	for ctx.Err() == nil {
		epoch, err := p.library.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.library.leave()
		if err := p.library.reopen(t.Context(), epoch); err != nil {
			t.Error(err)
		}
	}
	wait.Wait()
}

// TestSessions uses more callers than sessions, and callers that do not wait.
func TestSessions(t *testing.T) {
	c := config("sessions")
	c.Sessions = 2
	p := connect(t, c)
	k, public := makeKey(t, p, strings.Repeat("4", 32))
	var wait sync.WaitGroup
	for range 32 {
		wait.Go(func() {
			for range 20 {
				signs(t, k, public)
			}
		})
	}
	wait.Wait()
	if n := len(p.pool.idle); n > 2 {
		t.Errorf("%d sessions are open; 2 were allowed", n)
	}
	for range 2 {
		<-p.pool.permits
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := k.Sign(ctx, ecdsaMechanism, make([]byte, 32))
	if !fault.Is(err, fault.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "sessions") {
		t.Errorf("a caller who waits in vain is told: %v", err)
	}
	for range 2 {
		p.pool.permits <- struct{}{}
	}
	signs(t, k, public)
}
