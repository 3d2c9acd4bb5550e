package module_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

func data(value string, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA), cryptoki.String(cryptoki.CKA_VALUE, value),
	}, more...)
}

func class(c cryptoki.ObjectClass) cryptoki.Attribute { return cryptoki.Ulong(cryptoki.CKA_CLASS, c) }

// read returns one attribute.
func read(s *session.Session, handle uint64, t cryptoki.AttributeType) ([]byte, error) {
	values, err := s.Attributes(handle, []cryptoki.AttributeType{t})
	if err != nil {
		return nil, err
	}
	return values[0].Data, values[0].Err
}

func TestSessionObjectsStayHere(t *testing.T) {
	h := start(t)
	s := h.open(slotA, ro)
	c, _ := curve.ByName("P-256")
	h.wantRPCs(0, func() {
		object, err := s.CreateObject(data("value", label("here")))
		h.must(err)
		if object < 0x80000000 {
			t.Errorf("handle %x", object)
		}
		if found := find(t, s, label("here"), cryptoki.Bool(cryptoki.CKA_TOKEN, false)); !slices.Equal(found, []uint64{object}) {
			t.Errorf("found %v", found)
		}
		h.must(s.SetAttributes(object, cryptoki.Attributes{label("there")}))
		if value, err := read(s, object, cryptoki.CKA_LABEL); err != nil || string(value) != "there" {
			t.Errorf("label %q, %v", value, err)
		}
		copied, err := s.CopyObject(object, cryptoki.Attributes{label("copy")})
		h.must(err)
		if value, err := read(s, copied, cryptoki.CKA_VALUE); err != nil || string(value) != "value" {
			t.Errorf("value %q, %v", value, err)
		}
		if size, err := s.ObjectSize(copied); err != nil || size < 5 {
			t.Errorf("size %d, %v", size, err)
		}
		h.must(s.DestroyObject(object))
		want(t, s.DestroyObject(object), cryptoki.CKR_OBJECT_HANDLE_INVALID)
		_, err = read(s, object, cryptoki.CKA_LABEL)
		want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
		// A secret key before any login, as SunPKCS11 makes them for HMAC.
		_, err = s.CreateObject(secretKey(cryptoki.CKK_GENERIC_SECRET, []byte("0123456789")))
		h.must(err)
		_, err = s.CreateObject(cryptoki.Attributes{
			class(cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC), cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params),
		})
		want(t, err, cryptoki.CKR_TEMPLATE_INCOMPLETE)
	})
	// Session objects are all sessions', but die with theirs.
	other := h.open(slotA, ro)
	object, err := other.CreateObject(data("x"))
	h.must(err)
	_, err = read(s, object, cryptoki.CKA_VALUE)
	h.must(err)
	h.must(h.CloseSession(other.Handle()))
	_, err = read(s, object, cryptoki.CKA_VALUE)
	want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
}

func TestWhoMayMakeWhat(t *testing.T) {
	private, public := cryptoki.Bool(cryptoki.CKA_PRIVATE, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)
	for _, test := range []struct {
		name  string
		flags cryptoki.Flags
		login int
		slot  uint64
		more  []cryptoki.Attribute
		rv    cryptoki.RV
	}{
		{"ro public session object", ro, 0, slotA, []cryptoki.Attribute{public}, cryptoki.CKR_OK},
		{"ro public, private session object", ro, 0, slotA, []cryptoki.Attribute{private}, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"ro token object", ro, 0, slotA, []cryptoki.Attribute{token}, cryptoki.CKR_SESSION_READ_ONLY},
		{"rw token object", rw, 0, slotA, []cryptoki.Attribute{token}, cryptoki.CKR_OK},
		{"rw private token object", rw, 0, slotA, []cryptoki.Attribute{token, private}, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"ro user, private session object", ro, 1, slotA, []cryptoki.Attribute{private}, cryptoki.CKR_OK},
		{"rw user, private token object", rw, 1, slotA, []cryptoki.Attribute{token, private}, cryptoki.CKR_OK},
		{"so, private token object", rw, 2, slotA, []cryptoki.Attribute{token, private}, cryptoki.CKR_USER_NOT_LOGGED_IN},
		{"so, public token object", rw, 2, slotA, []cryptoki.Attribute{token}, cryptoki.CKR_OK},
		{"no login needed", rw, 0, slotOpen, []cryptoki.Attribute{token, private}, cryptoki.CKR_OK},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := start(t)
			s := h.open(test.slot, test.flags)
			switch test.login {
			case 1:
				h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
			case 2:
				h.must(s.Login(cryptoki.CKU_SO, []byte(soPIN)))
			}
			object, err := s.CreateObject(data("x", test.more...))
			want(t, err, test.rv)
			if test.rv == cryptoki.CKR_OK {
				if found := find(t, s, data("x")...); !slices.Equal(found, []uint64{object}) {
					t.Errorf("found %v, want %v", found, object)
				}
			} else if found := find(t, s); len(found) != 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}

func TestReadOnlySessions(t *testing.T) {
	h := start(t)
	s := h.user()
	object, err := s.CreateObject(data("x", token))
	h.must(err)
	reader := h.open(slotA, ro)
	want(t, reader.DestroyObject(object), cryptoki.CKR_SESSION_READ_ONLY)
	want(t, reader.SetAttributes(object, cryptoki.Attributes{label("y")}), cryptoki.CKR_SESSION_READ_ONLY)
	_, err = reader.CopyObject(object, cryptoki.Attributes{label("y")})
	want(t, err, cryptoki.CKR_SESSION_READ_ONLY)
	_, err = reader.CopyObject(object, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, false)})
	h.must(err)
	h.must(s.SetAttributes(object, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_COPYABLE, false)}))
	_, err = reader.CopyObject(object, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, false)})
	want(t, err, cryptoki.CKR_ACTION_PROHIBITED)
}

func TestLogoutTakesPrivateObjects(t *testing.T) {
	h := start(t)
	s := h.user()
	_, stored := h.p256(s)
	held := h.aes(s)
	public, err := s.CreateObject(data("x"))
	h.must(err)
	h.must(s.SignInit(ecdsa, stored))
	h.must(s.FindInit(nil))
	h.must(s.Logout())
	_, _, err = s.Sign(make([]byte, 32), 64)
	want(t, err, cryptoki.CKR_OPERATION_NOT_INITIALIZED)
	for _, handle := range []uint64{stored, held} {
		_, err := read(s, handle, cryptoki.CKA_CLASS)
		want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
	}
	_, err = read(s, public, cryptoki.CKA_CLASS)
	h.must(err)
	h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
	_, err = read(s, stored, cryptoki.CKA_CLASS)
	h.must(err)
	_, err = read(s, held, cryptoki.CKA_CLASS)
	want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
}

func TestSecretAttributes(t *testing.T) {
	h := start(t)
	s := h.user()
	value := []byte("0123456789abcdef")
	readable := []cryptoki.Attribute{cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)}
	for name, test := range map[string]struct {
		more []cryptoki.Attribute
		rv   cryptoki.RV
		rpcs int
	}{
		"sensitive session key": {nil, cryptoki.CKR_ATTRIBUTE_SENSITIVE, 0},
		"readable session key":  {readable, cryptoki.CKR_OK, 0},
		"sensitive token key":   {[]cryptoki.Attribute{token}, cryptoki.CKR_ATTRIBUTE_SENSITIVE, 0},
		"readable token key":    {append([]cryptoki.Attribute{token}, readable...), cryptoki.CKR_OK, 1},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := s.CreateObject(secretKey(cryptoki.CKK_AES, value, test.more...))
			h.must(err)
			_, err = read(s, key, cryptoki.CKA_LABEL)
			h.must(err)
			h.wantRPCs(test.rpcs, func() {
				got, err := read(s, key, cryptoki.CKA_VALUE)
				want(t, err, test.rv)
				if test.rv == cryptoki.CKR_OK && !bytes.Equal(got, value) {
					t.Errorf("value %x", got)
				}
			})
			_, err = read(s, key, cryptoki.CKA_MODULUS)
			want(t, err, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID)
		})
	}
	_, rsa := h.rsa(s, token)
	find(t, s)
	h.wantRPCs(0, func() {
		values, err := s.Attributes(rsa, []cryptoki.AttributeType{cryptoki.CKA_PRIME_1, cryptoki.CKA_VALUE, cryptoki.CKA_MODULUS, cryptoki.CKA_PRIVATE_EXPONENT})
		h.must(err)
		want(t, values[0].Err, cryptoki.CKR_ATTRIBUTE_SENSITIVE)
		want(t, values[1].Err, cryptoki.CKR_ATTRIBUTE_TYPE_INVALID)
		want(t, values[2].Err, cryptoki.CKR_OK)
		want(t, values[3].Err, cryptoki.CKR_ATTRIBUTE_SENSITIVE)
	})
	_, open, err := s.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN},
		cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(2048))}, append(cryptoki.Attributes{token}, readable...))
	h.must(err)
	find(t, s)
	h.wantRPCs(1, func() {
		values, err := s.Attributes(open, []cryptoki.AttributeType{cryptoki.CKA_PRIME_1, cryptoki.CKA_PRIME_2, cryptoki.CKA_PRIVATE_EXPONENT})
		h.must(err)
		for _, v := range values {
			if v.Err != nil || len(v.Data) == 0 {
				t.Errorf("a readable secret: %v, %v", v.Data, v.Err)
			}
		}
	})
}

// TestSealedSessionKeys: SunPKCS11 makes session keys and copies them to the token.
func TestSealedSessionKeys(t *testing.T) {
	h := start(t)
	s := h.user()
	c, _ := curve.ByName("P-256")
	pub, priv, err := s.GenerateKeyPair(cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params)}, nil)
	h.must(err)
	if pub < 0x80000000 || priv < 0x80000000 {
		t.Errorf("handles %x, %x", pub, priv)
	}
	sign := func(key uint64) {
		t.Helper()
		h.must(s.SignInit(ecdsa, key))
		signature, _, err := s.Sign(make([]byte, 32), 64)
		h.must(err)
		h.must(s.VerifyInit(ecdsa, pub))
		h.must(s.Verify(make([]byte, 32), signature))
	}
	sign(priv)
	stored, err := s.CopyObject(priv, cryptoki.Attributes{token, cryptoki.String(cryptoki.CKA_ID, "id")})
	h.must(err)
	if stored >= 0x80000000 {
		t.Errorf("handle %x", stored)
	}
	sign(stored)
	storedPublic, err := s.CopyObject(pub, cryptoki.Attributes{token})
	h.must(err)
	if value, err := read(s, storedPublic, cryptoki.CKA_EC_POINT); err != nil || len(value) == 0 {
		t.Errorf("point %x, %v", value, err)
	}
	again, err := s.CopyObject(stored, cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, false)})
	h.must(err)
	sign(again)
	h.must(s.SetAttributes(again, cryptoki.Attributes{label("renamed")}))
	sign(again)
	if found := find(t, s, label("renamed")); !slices.Equal(found, []uint64{again}) {
		t.Errorf("found %v", found)
	}

	// Brought along as a session object, it is sealed too.
	local, err := s.CreateObject(secretKey(cryptoki.CKK_AES, []byte("0123456789abcdef")))
	h.must(err)
	copied, err := s.CopyObject(local, cryptoki.Attributes{token})
	h.must(err)
	h.must(s.EncryptInit(ecb, copied))
	one, _, err := s.Encrypt(make([]byte, 16), 16)
	h.must(err)
	h.must(s.EncryptInit(ecb, local))
	two, _, err := s.Encrypt(make([]byte, 16), 16)
	if h.must(err); !bytes.Equal(one, two) {
		t.Error("the copy is another key")
	}
}

func TestDerive(t *testing.T) {
	h := start(t)
	s := h.user()
	apub, a := h.p256(s)
	bpub, b := h.p256(s)
	derive := func(private, public uint64) []byte {
		point, err := read(s, public, cryptoki.CKA_EC_POINT)
		h.must(err)
		m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: point}}
		key, err := s.DeriveKey(m, private, cryptoki.Attributes{
			class(cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
			cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true),
		})
		h.must(err)
		var value []byte
		h.wantRPCs(0, func() { value, err = read(s, key, cryptoki.CKA_VALUE) })
		h.must(err)
		return value
	}
	if one, two := derive(a, bpub), derive(b, apub); len(one) != 32 || !bytes.Equal(one, two) {
		t.Errorf("shared secrets %x and %x", one, two)
	}
}

func TestProfileAndVendorClasses(t *testing.T) {
	h := start(t)
	s := h.open(slotA, ro)
	h.wantRPCs(0, func() {
		found := find(t, s, class(cryptoki.CKO_PROFILE))
		if len(found) != 1 {
			t.Fatalf("found %v", found)
		}
		if value, err := read(s, found[0], cryptoki.CKA_PROFILE_ID); err != nil || value[0] != byte(cryptoki.CKP_BASELINE_PROVIDER) {
			t.Errorf("profile %x, %v", value, err)
		}
		if found := find(t, s, class(cryptoki.CKO_VENDOR_DEFINED|0x4E534350)); len(found) != 0 {
			t.Errorf("found %v", found)
		}
		want(t, h.open(slotA, rw).DestroyObject(found[0]), cryptoki.CKR_ACTION_PROHIBITED)
	})
}

func TestFind(t *testing.T) {
	h := start(t)
	h.d.pageSize = 3
	s := h.user()
	var all []uint64
	for i := range 10 {
		object, err := s.CreateObject(data("x", token, label(string(rune('a'+i%2)))))
		h.must(err)
		all = append(all, object)
	}
	h.must(h.CloseAllSessions(slotA))
	s = h.user()
	h.wantRPCs(4, func() {
		if found := find(t, s); !slices.Equal(found, all) {
			t.Errorf("found %v, want %v", found, all)
		}
	})
	if found := find(t, s, label("b")); len(found) != 5 {
		t.Errorf("found %v", found)
	}
	h.must(s.FindInit(nil))
	want(t, s.FindInit(nil), cryptoki.CKR_OPERATION_ACTIVE)
	var one []uint64
	for {
		found, err := s.Find(1)
		h.must(err)
		if len(found) == 0 {
			break
		}
		one = append(one, found...)
	}
	if !slices.Equal(one, all) {
		t.Errorf("one by one: %v", one)
	}
	h.must(s.FindFinal())
	want(t, s.FindFinal(), cryptoki.CKR_OPERATION_NOT_INITIALIZED)
	_, err := s.Find(1)
	want(t, err, cryptoki.CKR_OPERATION_NOT_INITIALIZED)
}

// TestCacheSeesOthers: what another program changes is seen within a second, and at once where nothing was found.
func TestCacheSeesOthers(t *testing.T) {
	h := start(t)
	s, other := h.user(), newHost(t, h.d, "").user()
	began := time.Now()
	h.wantRPCs(1, func() { find(t, s, label("new")) })
	// On a machine that is too busy the confirmation is rightly too old already.
	if n := h.rpcs(func() { find(t, s, label("new")) }); n != 0 && time.Since(began) < 50*time.Millisecond {
		t.Errorf("%d calls for what was asked a moment ago", n)
	}
	time.Sleep(60 * time.Millisecond)
	object, err := other.CreateObject(data("x", token, label("new")))
	h.must(err)
	h.wantRPCs(1, func() {
		if found := find(t, s, label("new")); !slices.Equal(found, []uint64{object}) {
			t.Errorf("found %v, want %v", found, object)
		}
	})
	h.must(other.SetAttributes(object, cryptoki.Attributes{label("renamed")}))
	// Any answer with another revision makes the cache stale.
	_, err = s.GenerateRandom(1)
	h.must(err)
	h.wantRPCs(1, func() {
		if found := find(t, s, label("renamed")); !slices.Equal(found, []uint64{object}) {
			t.Errorf("found %v, want %v", found, object)
		}
	})
	if value, err := read(s, object, cryptoki.CKA_LABEL); err != nil || string(value) != "renamed" {
		t.Errorf("label %q, %v", value, err)
	}
	h.must(other.DestroyObject(object))
	time.Sleep(1050 * time.Millisecond)
	_, err = read(s, object, cryptoki.CKA_LABEL)
	want(t, err, cryptoki.CKR_OBJECT_HANDLE_INVALID)
}

// TestOwnChangesNeedNoListing: what the session itself changes is known at once.
func TestOwnChangesNeedNoListing(t *testing.T) {
	h := start(t)
	s := h.user()
	find(t, s)
	began := time.Now()
	n := h.rpcs(func() {
		object, err := s.CreateObject(data("x", token, label("mine")))
		h.must(err)
		if found := find(t, s, label("mine")); !slices.Equal(found, []uint64{object}) {
			t.Errorf("found %v", found)
		}
		h.must(s.SetAttributes(object, cryptoki.Attributes{label("renamed")}))
		if found := find(t, s, label("renamed")); !slices.Equal(found, []uint64{object}) {
			t.Errorf("found %v", found)
		}
		h.must(s.DestroyObject(object))
		if found := find(t, s, label("renamed")); len(found) != 0 {
			t.Errorf("found %v", found)
		}
	})
	if n != 3 && time.Since(began) < 50*time.Millisecond {
		t.Errorf("%d calls to the daemon, want 3", n)
	}
}
