package keyservice_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

func verify(t *testing.T, public keyservice.Object, m cryptoki.Mechanism, data, signature []byte) {
	t.Helper()
	key, err := softkey.FromAttributes(public.Attributes)
	ok(t, err)
	if err := key.Verify(m, data, signature); err != nil {
		t.Fatalf("the signature does not verify: %v", err)
	}
}

func TestSignOnBothProviders(t *testing.T) {
	for _, provider := range []string{"software", "vault"} {
		t.Run(provider, func(t *testing.T) {
			f := newFixture(t)
			token := f.token("t", provider)
			app := f.application("web", token, everything...)
			call := f.user(app, token)
			public, private := f.pair(call)

			signature, reply, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
			ok(t, err)
			verify(t, public, ecdsaRaw, digest, signature)
			if reply.Revision == 0 {
				t.Error("no revision")
			}
			e := f.lastEvent("sign")
			if e.Outcome != "OK" || e.Application != "web" || e.Token != token || e.Mechanism != "CKM_ECDSA" ||
				e.Object != string(private.Attributes.Bytes(cryptoki.CKA_UNIQUE_ID)) {
				t.Errorf("audit: %+v", e)
			}

			// A hashing mechanism is hashed here, or was by the module.
			message := []byte("a message")
			sum := sha256.Sum256(message)
			hashing := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA_SHA256}
			signature, _, err = f.Sign(f.ctx, call, ref(private), hashing, message, false)
			ok(t, err)
			verify(t, public, ecdsaRaw, sum[:], signature)
			signature, _, err = f.Sign(f.ctx, call, ref(private), hashing, sum[:], true)
			ok(t, err)
			verify(t, public, ecdsaRaw, sum[:], signature)
			for _, m := range f.vault.seen {
				if m.Type != cryptoki.CKM_ECDSA {
					t.Errorf("the provider got %v", m.Type)
				}
			}
			// A digest of the wrong length, and a digest for a mechanism that does not hash.
			_, _, err = f.Sign(f.ctx, call, ref(private), hashing, sum[:20], true)
			if err == nil {
				t.Error("a digest of 20 bytes passed for SHA-256")
			}
			_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, true)
			refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
		})
	}
}

func TestSignRefuses(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	other := f.token("other", "")
	app := f.application("web", token, everything...)
	stranger := f.application("stranger", other, policy.Use)
	call := f.user(app, token)
	public, private := f.pair(call)
	_, decryptOnly := f.pair(call, cryptoki.Bool(cryptoki.CKA_SIGN, false))
	_, narrow := f.pair(call, cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, []cryptoki.MechanismType{cryptoki.CKM_ECDSA_SHA384}))
	tampered := call
	tampered.Ticket = append(bytes.Clone(call.Ticket[:len(call.Ticket)-1]), call.Ticket[len(call.Ticket)-1]^1)
	foreign := f.public(stranger, token)
	foreign.Ticket = call.Ticket
	so := f.loggedIn(app, token, cryptoki.CKU_SO, soPIN)
	unknown := f.public(f.admin, token)
	unknown.Caller.Admin, unknown.Caller.Identity = false, "uid:4711"

	for _, c := range []struct {
		name string
		call keyservice.Call
		key  keyservice.KeyRef
		m    cryptoki.MechanismType
		want cryptoki.RV
	}{
		{"nobody logged in", f.public(app, token), ref(private), cryptoki.CKM_ECDSA, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"the SO logged in", so, ref(private), cryptoki.CKM_ECDSA, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"a forged ticket", tampered, ref(private), cryptoki.CKM_ECDSA, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"another application", foreign, ref(private), cryptoki.CKM_ECDSA, cryptoki.CKR_TOKEN_NOT_PRESENT},
		{"an unknown caller", unknown, ref(private), cryptoki.CKM_ECDSA, cryptoki.CKR_TOKEN_NOT_PRESENT},
		{"no such key", call, keyservice.KeyRef{Object: 4711}, cryptoki.CKM_ECDSA, cryptoki.CKR_KEY_HANDLE_INVALID},
		{"a public key", call, ref(public), cryptoki.CKM_ECDSA, cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{"CKA_SIGN false", call, ref(decryptOnly), cryptoki.CKM_ECDSA, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
		{"not among CKA_ALLOWED_MECHANISMS", call, ref(narrow), cryptoki.CKM_ECDSA, cryptoki.CKR_MECHANISM_INVALID},
		{"another key type's mechanism", call, ref(private), cryptoki.CKM_SHA256_HMAC, cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{"an unknown mechanism", call, ref(private), cryptoki.MechanismType(0x99999), cryptoki.CKR_MECHANISM_INVALID},
		{"garbage for a blob", call, keyservice.KeyRef{Sealed: []byte("garbage")}, cryptoki.CKM_ECDSA, cryptoki.CKR_KEY_HANDLE_INVALID},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := f.Sign(f.ctx, c.call, c.key, cryptoki.Mechanism{Type: c.m}, digest, false)
			if c.name == "a public key" {
				if err == nil {
					t.Fatal("a public key signed")
				}
				return
			}
			refused(t, err, c.want)
			if e := f.lastEvent("sign"); e.Outcome != c.want.String() {
				t.Errorf("audit says %q, want %q", e.Outcome, c.want)
			}
		})
	}
}

func TestProviderLimitIsNamedInTheLog(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "vault")
	call := f.user(f.application("web", token, everything...), token)
	_, _, _, err := f.GenerateKeyPair(f.ctx, call, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		append(onToken(), cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))), onToken())
	refused(t, err, cryptoki.CKR_MECHANISM_INVALID)
	if log := f.log.String(); !strings.Contains(log, "provider=vault") || !strings.Contains(log, "CKM_RSA_PKCS_KEY_PAIR_GEN") {
		t.Errorf("the log does not name the limit: %s", log)
	}
	// Session objects are the software provider's, so there it works.
	_, private, _, err := f.GenerateKeyPair(f.ctx, again(call), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, nil)
	ok(t, err)
	if len(private.Sealed) == 0 || private.ID != 0 {
		t.Error("the session key is not sealed")
	}
	if f.vault.size() != 0 {
		t.Error("the vault got a key")
	}
}

func TestAlwaysAuthenticate(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	_, private := f.pair(call, cryptoki.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE, true))

	_, _, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	// The user's ticket is none for one operation.
	call.ContextTicket = call.Ticket
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)

	once := func() []byte {
		login, _, err := f.Login(f.ctx, call, cryptoki.CKU_CONTEXT_SPECIFIC, []byte(userPIN))
		ok(t, err)
		return login.Ticket
	}
	call = again(call)
	call.ContextTicket = once()
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	// A retry of the same request is the same operation.
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	// Other data under the same request, and another request, are not.
	_, _, err = f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest[:20], false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	_, _, err = f.Sign(f.ctx, again(call), ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
	// A context ticket does not log in.
	alone := f.public(app, token)
	alone.Ticket = once()
	_, _, err = f.Sign(f.ctx, alone, ref(private), ecdsaRaw, digest, false)
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)
}

func TestCipher(t *testing.T) {
	for _, provider := range []string{"software", "vault"} {
		t.Run(provider, func(t *testing.T) {
			f := newFixture(t)
			token := f.token("t", provider)
			call := f.user(f.application("web", token, everything...), token)
			key, _, err := f.GenerateKey(f.ctx, call, aesGen, aesTemplate(true))
			ok(t, err)
			padded := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: make([]byte, 16)}}
			plain := bytes.Repeat([]byte("0123456789abcdef"), 3)

			// In one call, and in parts that the caller chains: the same.
			whole, _, err := f.Encrypt(f.ctx, call, ref(key), padded, plain, false)
			ok(t, err)
			if len(whole) != 64 {
				t.Fatalf("%d bytes of ciphertext, want 64", len(whole))
			}
			first, _, err := f.Encrypt(f.ctx, call, ref(key), padded, plain[:32], true)
			ok(t, err)
			rest := padded
			rest.Params = cryptoki.IVParams{IV: first[16:32]}
			second, _, err := f.Encrypt(f.ctx, call, ref(key), rest, plain[32:], false)
			ok(t, err)
			if !bytes.Equal(append(first, second...), whole) {
				t.Error("parts differ from the whole")
			}
			back, _, err := f.Decrypt(f.ctx, call, ref(key), padded, whole, false)
			ok(t, err)
			if !bytes.Equal(back, plain) {
				t.Error("decryption differs")
			}
			inner, _, err := f.Decrypt(f.ctx, call, ref(key), padded, whole[:32], true)
			ok(t, err)
			if !bytes.Equal(inner, plain[:32]) {
				t.Error("decryption of a part differs")
			}
			_, _, err = f.Encrypt(f.ctx, call, ref(key), padded, plain[:20], true)
			refused(t, err, cryptoki.CKR_DATA_LEN_RANGE)
			_, _, err = f.Decrypt(f.ctx, call, ref(key), padded, whole[:20], false)
			refused(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
			_, _, err = f.Decrypt(f.ctx, call, ref(key), padded, whole[:48], false)
			refused(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
			gcm := cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}}
			_, _, err = f.Encrypt(f.ctx, call, ref(key), gcm, plain, true)
			if err == nil {
				t.Error("CKM_AES_GCM took a part of a message")
			}
			if provider == "vault" {
				_, _, err = f.Encrypt(f.ctx, call, ref(key), gcm, plain, false)
				refused(t, err, cryptoki.CKR_MECHANISM_INVALID)
			}
		})
	}
}

func TestVerifyMAC(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	key, _, err := f.GenerateKey(f.ctx, call, cryptoki.Mechanism{Type: cryptoki.CKM_GENERIC_SECRET_KEY_GEN}, aesTemplate(true))
	ok(t, err)
	hmac := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}
	mac, _, err := f.Sign(f.ctx, call, ref(key), hmac, []byte("data"), false)
	ok(t, err)
	_, err = f.Verify(f.ctx, call, ref(key), hmac, []byte("data"), mac)
	ok(t, err)
	_, err = f.Verify(f.ctx, call, ref(key), hmac, []byte("other"), mac)
	refused(t, err, cryptoki.CKR_SIGNATURE_INVALID)
	_, err = f.Verify(f.ctx, call, ref(key), hmac, []byte("data"), mac[:31])
	refused(t, err, cryptoki.CKR_SIGNATURE_LEN_RANGE)
	short := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC_GENERAL, Params: cryptoki.MACGeneralParams{Length: 10}}
	cut, _, err := f.Sign(f.ctx, call, ref(key), short, []byte("data"), false)
	ok(t, err)
	if !bytes.Equal(cut, mac[:10]) {
		t.Error("the short MAC is not the beginning of the long one")
	}

	public, private := f.pair(call)
	signature, _, err := f.Sign(f.ctx, call, ref(private), ecdsaRaw, digest, false)
	ok(t, err)
	_, err = f.Verify(f.ctx, call, ref(public), ecdsaRaw, digest, signature)
	ok(t, err)
	_, err = f.Verify(f.ctx, call, ref(public), ecdsaRaw, digest[1:], signature)
	refused(t, err, cryptoki.CKR_SIGNATURE_INVALID)
}

func TestRandom(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, policy.Use)
	one, _, err := f.GenerateRandom(f.ctx, f.public(app, token), 32)
	ok(t, err)
	other, _, err := f.GenerateRandom(f.ctx, f.public(app, token), 32)
	ok(t, err)
	if len(one) != 32 || bytes.Equal(one, other) {
		t.Error("not random")
	}
	_, _, err = f.GenerateRandom(f.ctx, f.public(app, token), 1<<30)
	refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
	_, err = f.SeedRandom(f.ctx, f.public(app, token), []byte("seed"))
	ok(t, err)
	_, _, err = f.GenerateRandom(f.ctx, f.public(f.application("none", f.token("u", ""), policy.Use), token), 32)
	refused(t, err, cryptoki.CKR_TOKEN_NOT_PRESENT)
}
