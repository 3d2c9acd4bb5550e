// Package reference compares our module in front of SoftHSM with SoftHSM itself, both loaded into this process: the
// same wrong calls get the same return codes, and what one signs the other verifies.
package reference

import (
	"os"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// module is a loaded PKCS#11 module with a session in which the user is logged in.
type module struct {
	*pkcs11.Ctx
	target.Target
	slot    uint
	session pkcs11.SessionHandle
}

// load loads a target's module and opens its token.
func load(t *testing.T, target target.Target) *module {
	t.Helper()
	for _, variable := range target.Env {
		name, value, _ := strings.Cut(variable, "=")
		before, had := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil { // not t.Setenv: cgo must pass it on to C's environment
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if had {
				os.Setenv(name, before)
			} else {
				os.Unsetenv(name)
			}
		})
	}
	m := &module{Ctx: pkcs11.New(target.Module), Target: target}
	if m.Ctx == nil {
		t.Fatalf("cannot load %s", target.Module)
	}
	if err := m.Initialize(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Finalize()
		m.Destroy()
	})
	slots, err := m.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		if info, err := m.GetTokenInfo(slot); err == nil && info.Label == target.Token {
			m.slot = slot
			m.session = m.open(t, pkcs11.CKF_RW_SESSION)
			if err := m.Login(m.session, pkcs11.CKU_USER, target.PIN); err != nil {
				t.Fatal(err)
			}
			return m
		}
	}
	t.Fatalf("no slot of %v has the token %q", slots, target.Token)
	return nil
}

func (m *module) open(t *testing.T, flags uint) pkcs11.SessionHandle {
	t.Helper()
	session, err := m.OpenSession(m.slot, pkcs11.CKF_SERIAL_SESSION|flags)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// keys are made alike in both modules.
type keys struct {
	rsaPublic, rsaPrivate, ecPublic, ecPrivate, aes, noSign, data pkcs11.ObjectHandle
}

var p256 = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}

func attribute(kind uint, value any) *pkcs11.Attribute { return pkcs11.NewAttribute(kind, value) }

func mechanism(kind uint, parameter any) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(kind, parameter)}
}

func (m *module) keys(t *testing.T) keys {
	t.Helper()
	var k keys
	pair := func(kind uint, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle) {
		a, b, err := m.Ctx.GenerateKeyPair(m.session, mechanism(kind, nil), append(public, attribute(pkcs11.CKA_TOKEN, true)),
			append(private, attribute(pkcs11.CKA_TOKEN, true), attribute(pkcs11.CKA_PRIVATE, true), attribute(pkcs11.CKA_SENSITIVE, true)))
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	rsa := []*pkcs11.Attribute{attribute(pkcs11.CKA_MODULUS_BITS, 2048), attribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})}
	k.rsaPublic, k.rsaPrivate = pair(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, append(rsa, attribute(pkcs11.CKA_VERIFY, true), attribute(pkcs11.CKA_ENCRYPT, true)),
		[]*pkcs11.Attribute{attribute(pkcs11.CKA_SIGN, true), attribute(pkcs11.CKA_DECRYPT, true)})
	_, k.noSign = pair(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, rsa, []*pkcs11.Attribute{attribute(pkcs11.CKA_SIGN, false), attribute(pkcs11.CKA_DECRYPT, false)})
	k.ecPublic, k.ecPrivate = pair(pkcs11.CKM_EC_KEY_PAIR_GEN, []*pkcs11.Attribute{attribute(pkcs11.CKA_EC_PARAMS, p256), attribute(pkcs11.CKA_VERIFY, true)},
		[]*pkcs11.Attribute{attribute(pkcs11.CKA_SIGN, true)})
	var err error
	if k.aes, err = m.GenerateKey(m.session, mechanism(pkcs11.CKM_AES_KEY_GEN, nil), []*pkcs11.Attribute{
		attribute(pkcs11.CKA_VALUE_LEN, 32), attribute(pkcs11.CKA_TOKEN, true), attribute(pkcs11.CKA_SENSITIVE, true),
		attribute(pkcs11.CKA_EXTRACTABLE, false), attribute(pkcs11.CKA_ENCRYPT, true), attribute(pkcs11.CKA_DECRYPT, true),
	}); err != nil {
		t.Fatal(err)
	}
	if k.data, err = m.CreateObject(m.session, []*pkcs11.Attribute{
		attribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), attribute(pkcs11.CKA_TOKEN, true), attribute(pkcs11.CKA_LABEL, "note"), attribute(pkcs11.CKA_VALUE, []byte("text")),
	}); err != nil {
		t.Fatal(err)
	}
	return k
}
