package keyservice_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

func TestSealedKeys(t *testing.T) {
	f := newFixture(t)
	token, other := f.token("t", "vault"), f.token("other", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	public, private, reply, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(false), nil)
	ok(t, err)
	if public.ID != 0 || private.ID != 0 || len(public.Sealed) != 0 || len(private.Sealed) == 0 {
		t.Fatal("session objects look like token objects")
	}
	if reply.Revision == 0 {
		t.Error("no revision")
	}
	signature, _, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	verify(t, public, ecdsaRaw, digest, signature)

	// They need no server state: a restarted daemon uses them.
	f.open()
	signature, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	verify(t, public, ecdsaRaw, digest, signature)

	// Each bit counts, and so do token and application.
	for at := range private.Sealed {
		changed := bytes.Clone(private.Sealed)
		changed[at] ^= 1
		_, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Sealed: changed}, ecdsaRaw, digest, false)
		refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
		if at > 40 {
			break
		}
	}
	_, _, err = f.Sign(f.ctx, call, keyservice.KeyRef{Sealed: private.Sealed[:20]}, ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
	neighbour := f.user(f.application("neighbour", token, everything...), token)
	_, _, err = f.Sign(f.ctx, neighbour, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
	elsewhere := f.user(f.application("web", other, everything...), other)
	_, _, err = f.Sign(f.ctx, elsewhere, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_KEY_HANDLE_INVALID)
	f.application("web", token, everything...)

	// A private one needs the user as a token object does.
	_, _, err = f.Sign(f.ctx, f.public(app, token), ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	_, _, _, err = f.GenerateKeyPair(f.ctx, f.public(app, token), ecGen, p256(false), nil)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)

	// Changed attributes come back in a new blob.
	changed, _, err := f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SIGN, false)})
	ok(t, err)
	_, _, err = f.Sign(f.ctx, call, ref(changed), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)
}

func TestReadableSessionKeyBringsItsValue(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	open := []cryptoki.Attribute{cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)}
	key, _, err := f.GenerateKey(f.ctx, call, aesGen, aesTemplate(false, open...))
	ok(t, err)
	if len(key.Secret.Bytes(cryptoki.CKA_VALUE)) != 32 || len(key.Sealed) == 0 {
		t.Error("a readable session key lacks its value or its blob")
	}
	closed, _, err := f.SetAttributes(f.ctx, again(call), ref(key), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)})
	ok(t, err)
	if len(closed.Secret) != 0 {
		t.Error("a sensitive key shows its value")
	}
	secret, _, err := f.GenerateKey(f.ctx, again(call), aesGen, aesTemplate(false, cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)))
	ok(t, err)
	if len(secret.Secret) != 0 {
		t.Error("a sensitive key shows its value")
	}
}

func TestDerive(t *testing.T) {
	for _, provider := range []string{"software", "vault"} {
		t.Run(provider, func(t *testing.T) {
			f := newFixture(t)
			token := f.token("t", provider)
			app := f.application("web", token, everything...)
			call := f.user(app, token)
			public, private := f.pair(call)
			mine, err := ecdh.P256().GenerateKey(rand.Reader)
			ok(t, err)
			c, _ := curve.ByName("P-256")
			point, _ := c.Point(public.Attributes.Bytes(cryptoki.CKA_EC_POINT))
			theirs, err := ecdh.P256().NewPublicKey(point)
			ok(t, err)
			want, err := mine.ECDH(theirs)
			ok(t, err)
			m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{
				KDF: cryptoki.CKD_NULL, PublicData: mine.PublicKey().Bytes(),
			}}
			template := cryptoki.Attributes{
				cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
				cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true),
			}
			key, _, err := f.DeriveKey(f.ctx, again(call), m, ref(private), template)
			ok(t, err)
			if !bytes.Equal(key.Secret.Bytes(cryptoki.CKA_VALUE), want) {
				t.Error("another secret than ECDH's")
			}
			if key.Attributes.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || key.Attributes.Bool(cryptoki.CKA_LOCAL) {
				t.Error("a derived readable key says it was always sensitive, or local")
			}
			hidden, _, err := f.DeriveKey(f.ctx, again(call), m, ref(private), append(template.Clone()[:2], cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)))
			ok(t, err)
			if !hidden.Attributes.Bool(cryptoki.CKA_ALWAYS_SENSITIVE) || len(hidden.Secret) != 0 {
				t.Error("a sensitive key derived from an always sensitive one is not such a one")
			}
			_, _, err = f.DeriveKey(f.ctx, f.public(app, token), m, ref(private), template)
			refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
			_, forbidden := f.pair(call, cryptoki.Bool(cryptoki.CKA_DERIVE, false))
			_, _, err = f.DeriveKey(f.ctx, again(call), m, ref(forbidden), template)
			refused(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)

			// To the token: only where the provider takes keys from outside.
			kept, _, err := f.DeriveKey(f.ctx, again(call), m, ref(private), append(template, tokenOn))
			if provider == "vault" {
				refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
				return
			}
			ok(t, err)
			secret, _, err := f.GetSecretValue(f.ctx, call, ref(kept))
			ok(t, err)
			if !bytes.Equal(secret.Bytes(cryptoki.CKA_VALUE), want) {
				t.Error("the token object has another value")
			}
		})
	}
}

// TestCopyToToken is Java's way: a session key pair is stored by C_CopyObject.
func TestCopyToToken(t *testing.T) {
	f := newFixture(t)
	token, vault := f.token("t", ""), f.token("v", "vault")
	call := f.user(f.application("web", token, everything...), token)
	public, private, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(false), nil)
	ok(t, err)
	stored, reply, err := f.CopyObject(f.ctx, again(call), ref(private), cryptoki.Attributes{tokenOn, cryptoki.Bytes(cryptoki.CKA_ID, []byte{1})})
	ok(t, err)
	if stored.ID == 0 || len(stored.Sealed) != 0 || reply.Revision == 0 {
		t.Fatalf("the copy is no token object: %+v", stored.ID)
	}
	signature, _, err := f.Sign(f.ctx, call, keyservice.KeyRef{Object: stored.ID}, ecdsaRaw, digest, false)
	ok(t, err)
	verify(t, public, ecdsaRaw, digest, signature)
	if bytes.Equal(stored.Attributes.Bytes(cryptoki.CKA_UNIQUE_ID), private.Attributes.Bytes(cryptoki.CKA_UNIQUE_ID)) {
		t.Error("the copy has the source's unique id")
	}

	call = f.user(f.application("web", vault, everything...), vault)
	_, private, _, err = f.GenerateKeyPair(f.ctx, call, ecGen, p256(false), nil)
	ok(t, err)
	_, _, err = f.CopyObject(f.ctx, again(call), ref(private), onToken())
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	// A key of a provider that keeps it cannot be copied at all.
	_, kept := f.pair(call)
	_, _, err = f.CopyObject(f.ctx, again(call), ref(kept), nil)
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
}
