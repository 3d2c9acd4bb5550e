package keyservice_test

import (
	"bytes"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// A PIN that was right is remembered; everything else is as if it were not.
func TestRememberedPIN(t *testing.T) {
	f := newFixture(t)
	token, other := f.token("t", ""), f.token("other", "")
	app := f.application("web", token, everything...)
	call := f.public(app, token)
	login := func(pin string) error {
		_, _, err := f.Login(f.ctx, call, cryptoki.CKU_USER, []byte(pin))
		return err
	}
	for range 3 {
		ok(t, login(userPIN))
	}
	// Wrong ones are counted, also after a right one, and the right one sets the count back.
	low := func() bool { return f.flags(call)&cryptoki.CKF_USER_PIN_COUNT_LOW != 0 }
	refused(t, login(userPIN+" "), cryptoki.CKR_PIN_INCORRECT)
	if !low() {
		t.Error("a wrong PIN is not counted while the right one is remembered")
	}
	ok(t, login(userPIN))
	if low() {
		t.Error("the right PIN did not set the count back")
	}
	// A locked PIN is locked for who knows it.
	for range 3 {
		refused(t, login("wrong"), cryptoki.CKR_PIN_INCORRECT)
	}
	refused(t, login(userPIN), cryptoki.CKR_PIN_LOCKED)
	_, err := f.UnlockToken(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, nil)
	ok(t, err)
	ok(t, login(userPIN))
	// After a change the old one is wrong, also where it becomes the PIN of another token.
	_, err = f.UnlockToken(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, []byte("new-pin-1"))
	ok(t, err)
	refused(t, login(userPIN), cryptoki.CKR_PIN_INCORRECT)
	ok(t, login("new-pin-1"))
	_, err = f.UnlockToken(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, []byte(userPIN))
	ok(t, err)
	refused(t, login("new-pin-1"), cryptoki.CKR_PIN_INCORRECT)
	ok(t, login(userPIN))
	// The SO's PIN is not the user's, and each token has its own.
	_, _, err = f.Login(f.ctx, call, cryptoki.CKU_SO, []byte(userPIN))
	refused(t, err, cryptoki.CKR_PIN_INCORRECT)
	ok(t, f.setUserPIN(other, "other-pin-1"))
	_, _, err = f.Login(f.ctx, f.public(f.application("mail", other, everything...), other), cryptoki.CKU_USER, []byte(userPIN))
	refused(t, err, cryptoki.CKR_PIN_INCORRECT)
	f.Forget()
	ok(t, login(userPIN))
}

func (f *fixture) setUserPIN(token, pin string) error {
	_, err := f.UnlockToken(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, []byte(pin))
	return err
}

// Keys are used, changed and destroyed at the same time. When the answer says that a key is gone, or may not sign any
// more, it does not sign.
func TestUseWhileKeysChange(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	for round := range 6 {
		_, private := f.pair(call)
		// 0: everybody may sign; 1: nobody any more.
		var ended atomic.Bool
		var signers sync.WaitGroup
		stop, signed := make(chan struct{}), make(chan struct{}, 1<<16)
		for range 4 {
			signers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					late := ended.Load()
					_, _, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
					switch {
					case err == nil && late:
						t.Error("a key signs that was destroyed, or may not sign")
						return
					case err != nil && !ended.Load() && !late:
						// The change is made and not yet answered.
					case err == nil:
						select {
						case signed <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		for range 20 {
			<-signed
		}
		// Changes that do not matter to the signature.
		for n := range 3 {
			_, _, err := f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, strconv.Itoa(n))})
			ok(t, err)
		}
		if round%2 == 0 {
			_, err := f.DestroyObject(f.ctx, again(call), private.ID)
			ok(t, err)
		} else {
			_, _, err := f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SIGN, false)})
			ok(t, err)
		}
		ended.Store(true)
		want := cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED
		if round%2 == 0 {
			want = cryptoki.CKR_KEY_HANDLE_INVALID
		}
		for range 50 {
			_, _, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
			refused(t, err, want)
		}
		close(stop)
		signers.Wait()
	}
}

// A blob that comes again is still one of its token and application alone.
func TestRememberedBlob(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	stranger := f.user(f.application("mail", token, everything...), token)
	key, _, err := f.GenerateKey(f.ctx, call, cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}, cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32)), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_SENSITIVE, true),
	})
	ok(t, err)
	hmac := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}
	var first []byte
	for range 3 {
		mac, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Sealed: key.Sealed}, hmac, digest, false)
		ok(t, err)
		if first == nil {
			first = mac
		} else if !bytes.Equal(mac, first) {
			t.Errorf("the MAC is %x, then %x", first, mac)
		}
	}
	_, _, err = f.Sign(f.ctx, stranger, keyservice.KeyRef{Sealed: key.Sealed}, hmac, digest, false)
	refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
	changed := bytes.Clone(key.Sealed)
	changed[len(changed)-1] ^= 1
	_, _, err = f.Sign(f.ctx, call, keyservice.KeyRef{Sealed: changed}, hmac, digest, false)
	refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
	mac, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Sealed: key.Sealed}, hmac, digest, false)
	ok(t, err)
	if !bytes.Equal(mac, first) {
		t.Error("another MAC after a stranger has tried")
	}
}
