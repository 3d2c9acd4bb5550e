package keyservice_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func TestRepeatedRequestMakesOneKey(t *testing.T) {
	for _, provider := range []string{"software", "vault"} {
		t.Run(provider, func(t *testing.T) {
			f := newFixture(t)
			token := f.token("t", provider)
			call := f.user(f.application("web", token, everything...), token)
			_, first, reply, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), onToken())
			ok(t, err)
			events := f.count("key.generate")
			for restart := range 2 {
				_, same, again, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), onToken())
				ok(t, err)
				if same.ID != first.ID || again.Revision != reply.Revision {
					t.Errorf("the repeated request made object %d, revision %d", same.ID, again.Revision)
				}
				if restart == 0 {
					f.open()
				}
			}
			if n, _ := f.store.CountObjects(f.ctx, token); n != 2 {
				t.Errorf("%d objects", n)
			}
			if f.count("key.generate") != events {
				t.Error("the repetition was recorded as another key")
			}
			if provider == "vault" && f.vault.generated != 1 {
				t.Errorf("the provider made %d keys", f.vault.generated)
			}
			// The same id for something else, and from somebody else.
			_, _, err = f.GenerateKey(f.ctx, call, aesGen, aesTemplate(true))
			refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
			_, _, err = f.CreateObject(f.ctx, call, dataObject("x", false))
			refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
			thief := f.user(f.application("thief", token, everything...), token)
			thief.RequestID = call.RequestID
			_, _, _, err = f.GenerateKeyPair(f.ctx, thief, ecGen, p256(true), onToken())
			refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
			if provider == "vault" && f.vault.size() != 1 {
				t.Errorf("the provider keeps %d keys", f.vault.size())
			}
		})
	}
}

func TestConcurrentRepetitions(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	call := f.user(f.application("web", token, everything...), token)
	f.vault.wait = make(chan struct{})
	const many = 8
	ids := make([]uint64, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			_, private, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), onToken())
			if err != nil {
				t.Error(err)
			}
			ids[i] = private.ID
		})
	}
	// One whose caller gives up while it waits for its turn.
	impatient, cancel := context.WithTimeout(f.ctx, 50*time.Millisecond)
	defer cancel()
	time.Sleep(20 * time.Millisecond)
	_, _, _, err := f.GenerateKeyPair(impatient, call, ecGen, p256(true), onToken())
	refused(t, err, cryptoki.CKR_DEVICE_ERROR)
	close(f.vault.wait)
	wg.Wait()
	for _, id := range ids {
		if id == 0 || id != ids[0] {
			t.Fatalf("objects %v", ids)
		}
	}
	if f.vault.generated != 1 || f.vault.size() != 1 {
		t.Errorf("the provider made %d keys and keeps %d", f.vault.generated, f.vault.size())
	}
	if n, _ := f.store.CountObjects(f.ctx, token); n != 2 {
		t.Errorf("%d objects", n)
	}
}

func TestRepeatedChangesOfOneObject(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	call := f.user(f.application("web", token, everything...), token)
	public, private := f.pair(call)
	set := again(call)
	label := func(l string) cryptoki.Attributes {
		return cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, l)}
	}
	_, _, err := f.SetAttributes(f.ctx, set, ref(private), label("one"))
	ok(t, err)
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(private), label("two"))
	ok(t, err)
	// The late retry of the first must not undo the second.
	changed, _, err := f.SetAttributes(f.ctx, set, ref(private), label("one"))
	ok(t, err)
	if l := string(changed.Attributes.Bytes(cryptoki.CKA_LABEL)); l != "two" {
		t.Errorf("the label is %q", l)
	}
	// The id of a change does not destroy.
	_, err = f.DestroyObject(f.ctx, set, private.ID)
	refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
	_, _, err = f.SetAttributes(f.ctx, set, ref(public), label("one"))
	refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
	gone := again(call)
	for range 2 {
		reply, err := f.DestroyObject(f.ctx, gone, private.ID)
		ok(t, err)
		if reply.Revision == 0 {
			t.Error("no revision")
		}
	}
	if f.vault.destroyed != 1 || f.vault.size() != 0 {
		t.Errorf("destroyed %d times, %d keys left", f.vault.destroyed, f.vault.size())
	}
	_, err = f.DestroyObject(f.ctx, again(call), private.ID)
	refused(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
	_, err = f.DestroyObject(f.ctx, again(call), public.ID)
	ok(t, err)
}

func TestRefusedTransactionLeavesNoKeyBehind(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	call := f.user(f.application("web", token, everything...), token)
	// The token goes while the provider works, so the object cannot be stored.
	f.vault.wait = make(chan struct{})
	failed := make(chan error)
	go func() {
		_, _, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), onToken())
		failed <- err
	}()
	time.Sleep(50 * time.Millisecond)
	_, err := f.DeleteToken(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, false, false)
	ok(t, err)
	close(f.vault.wait)
	if err := <-failed; err == nil {
		t.Fatal("an object was made in a deleted token")
	}
	if f.vault.generated != 1 || f.vault.size() != 0 {
		t.Errorf("the provider made %d keys and keeps %d", f.vault.generated, f.vault.size())
	}
}

func TestMixedPairIsAnsweredAgain(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	call := f.user(f.application("web", token, everything...), token)
	// The public half on the token, the private one with the session.
	public, private, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), nil)
	ok(t, err)
	public2, private2, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), nil)
	ok(t, err)
	if public.ID == 0 || public.ID != public2.ID || len(private2.Sealed) == 0 {
		t.Fatal("the repeated request made another pair")
	}
	signature, _, err := f.Sign(f.ctx, call, ref(private2), ecdsaRaw, digest, false)
	ok(t, err)
	verify(t, public, ecdsaRaw, digest, signature)
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
}
