package reference

import (
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// A row is a wrong call. Both modules must answer it alike, but where SoftHSM breaks the standard: then `standard` is
// what ours must say, and `why` names the words.
type row struct {
	name     string
	call     func(m *module, k keys) error
	standard uint
	why      string
}

const nowhere = pkcs11.ObjectHandle(0x7fffff01)

func sign(m *module, mech uint, parameter any, key pkcs11.ObjectHandle, data []byte) error {
	if err := m.SignInit(m.session, mechanism(mech, parameter), key); err != nil {
		return err
	}
	_, err := m.Sign(m.session, data)
	return err
}

func create(m *module, attributes ...*pkcs11.Attribute) error {
	object, err := m.CreateObject(m.session, attributes)
	if err == nil {
		m.DestroyObject(m.session, object)
	}
	return err
}

func generate(m *module, kind uint, attributes ...*pkcs11.Attribute) error {
	_, err := m.GenerateKey(m.session, mechanism(kind, nil), attributes)
	return err
}

func generatePair(m *module, kind uint, public ...*pkcs11.Attribute) error {
	_, _, err := m.Ctx.GenerateKeyPair(m.session, mechanism(kind, nil), public, nil)
	return err
}

var rows = []row{
	{name: "no such session", call: func(m *module, k keys) error { _, err := m.GetSessionInfo(0x7ffffff0); return err }},
	{name: "close no such session", call: func(m *module, k keys) error { return m.CloseSession(0x7ffffff0) }},
	{name: "no such slot", call: func(m *module, k keys) error { _, err := m.GetSlotInfo(0x7ffffff0); return err }},
	{name: "token of no such slot", call: func(m *module, k keys) error { _, err := m.GetTokenInfo(0x7ffffff0); return err }},
	{name: "session on no such slot", call: func(m *module, k keys) error {
		_, err := m.OpenSession(0x7ffffff0, pkcs11.CKF_SERIAL_SESSION)
		return err
	}},
	{name: "parallel session", call: func(m *module, k keys) error { _, err := m.OpenSession(m.slot, 0); return err }},
	{name: "unknown mechanism's information", call: func(m *module, k keys) error {
		_, err := m.GetMechanismInfo(m.slot, mechanism(0x7ffffff0, nil))
		return err
	}},
	{name: "initialise twice", call: func(m *module, k keys) error { return m.Initialize() }},
	{name: "login twice", call: func(m *module, k keys) error { return m.Login(m.session, pkcs11.CKU_USER, m.PIN) }},
	{name: "SO after user", call: func(m *module, k keys) error { return m.Login(m.session, pkcs11.CKU_SO, m.SOPIN) }},
	{name: "unknown user type", call: func(m *module, k keys) error { return m.Login(m.session, 9, m.PIN) }},
	{name: "InitPIN as user", call: func(m *module, k keys) error { return m.InitPIN(m.session, "4321") }},
	{name: "SetPIN with a wrong old PIN", call: func(m *module, k keys) error { return m.SetPIN(m.session, "9999", "4321") }},
	{name: "SetPIN to a short PIN", call: func(m *module, k keys) error { return m.SetPIN(m.session, m.PIN, "1") }},
	{name: "InitToken with sessions", call: func(m *module, k keys) error { return m.InitToken(m.slot, m.SOPIN, "again") }},

	{name: "sign without init", call: func(m *module, k keys) error { _, err := m.Sign(m.session, []byte("x")); return err }},
	{name: "SignFinal without init", call: func(m *module, k keys) error { _, err := m.SignFinal(m.session); return err }},
	{name: "verify without init", call: func(m *module, k keys) error { return m.Verify(m.session, []byte("x"), []byte("y")) }},
	{name: "encrypt without init", call: func(m *module, k keys) error { _, err := m.Encrypt(m.session, []byte("x")); return err }},
	{name: "decrypt without init", call: func(m *module, k keys) error { _, err := m.Decrypt(m.session, []byte("x")); return err }},
	{name: "digest without init", call: func(m *module, k keys) error { _, err := m.Digest(m.session, []byte("x")); return err }},
	{name: "find without init", call: func(m *module, k keys) error { _, _, err := m.FindObjects(m.session, 1); return err }},
	{name: "FindFinal without init", call: func(m *module, k keys) error { return m.FindObjectsFinal(m.session) }},
	{name: "find twice", call: func(m *module, k keys) error {
		if err := m.FindObjectsInit(m.session, nil); err != nil {
			return err
		}
		defer m.FindObjectsFinal(m.session)
		return m.FindObjectsInit(m.session, nil)
	}},
	{name: "digest twice", call: func(m *module, k keys) error {
		if err := m.DigestInit(m.session, mechanism(pkcs11.CKM_SHA256, nil)); err != nil {
			return err
		}
		defer m.DigestFinal(m.session)
		return m.DigestInit(m.session, mechanism(pkcs11.CKM_SHA256, nil))
	}},

	{
		name: "sign with no such key", call: func(m *module, k keys) error {
			return m.SignInit(m.session, mechanism(pkcs11.CKM_RSA_PKCS, nil), nowhere)
		},
		standard: pkcs11.CKR_KEY_HANDLE_INVALID, why: "5.13.1: KEY_HANDLE_INVALID is the code for a key's handle; SoftHSM says OBJECT_HANDLE_INVALID",
	},
	{name: "sign with an unknown mechanism", call: func(m *module, k keys) error { return m.SignInit(m.session, mechanism(0x7ffffff0, nil), k.rsaPrivate) }},
	{name: "sign with a digest mechanism", call: func(m *module, k keys) error {
		return m.SignInit(m.session, mechanism(pkcs11.CKM_SHA256, nil), k.rsaPrivate)
	}},
	{name: "sign with a key that may not", call: func(m *module, k keys) error {
		return m.SignInit(m.session, mechanism(pkcs11.CKM_RSA_PKCS, nil), k.noSign)
	}},
	{name: "decrypt with a key that may not", call: func(m *module, k keys) error {
		return m.DecryptInit(m.session, mechanism(pkcs11.CKM_RSA_PKCS, nil), k.noSign)
	}},
	{
		name: "RSA mechanism on an EC key", call: func(m *module, k keys) error {
			return m.SignInit(m.session, mechanism(pkcs11.CKM_RSA_PKCS, nil), k.ecPrivate)
		},
		standard: pkcs11.CKR_KEY_TYPE_INCONSISTENT, why: "5.13.1: the key's type is not the mechanism's",
	},
	{
		name: "ECDSA on an RSA key", call: func(m *module, k keys) error {
			return m.SignInit(m.session, mechanism(pkcs11.CKM_ECDSA, nil), k.rsaPrivate)
		},
		standard: pkcs11.CKR_KEY_TYPE_INCONSISTENT, why: "5.13.1: the key's type is not the mechanism's",
	},
	{
		name: "PSS without a parameter", call: func(m *module, k keys) error {
			return m.SignInit(m.session, mechanism(pkcs11.CKM_RSA_PKCS_PSS, nil), k.rsaPrivate)
		},
		standard: pkcs11.CKR_MECHANISM_PARAM_INVALID, why: "5.13.1: the parameter is wrong, not an argument of the function; SoftHSM says ARGUMENTS_BAD",
	},
	{
		name: "CBC without an IV", call: func(m *module, k keys) error {
			return m.EncryptInit(m.session, mechanism(pkcs11.CKM_AES_CBC, nil), k.aes)
		},
		standard: pkcs11.CKR_MECHANISM_PARAM_INVALID, why: "5.8.1: as above",
	},
	{
		name: "CBC with a short IV", call: func(m *module, k keys) error {
			return m.EncryptInit(m.session, mechanism(pkcs11.CKM_AES_CBC, make([]byte, 8)), k.aes)
		},
		standard: pkcs11.CKR_MECHANISM_PARAM_INVALID, why: "5.8.1: as above",
	},
	{name: "too much data for RSA", call: func(m *module, k keys) error {
		return sign(m, pkcs11.CKM_RSA_PKCS, nil, k.rsaPrivate, make([]byte, 250))
	}, standard: pkcs11.CKR_DATA_LEN_RANGE, why: "table of CKM_RSA_PKCS: at most k-11 bytes; SoftHSM says GENERAL_ERROR"},
	{name: "CBC of half a block", call: func(m *module, k keys) error {
		if err := m.EncryptInit(m.session, mechanism(pkcs11.CKM_AES_CBC, make([]byte, 16)), k.aes); err != nil {
			return err
		}
		_, err := m.Encrypt(m.session, make([]byte, 8))
		return err
	}},
	{name: "decrypt half a block", call: func(m *module, k keys) error {
		if err := m.DecryptInit(m.session, mechanism(pkcs11.CKM_AES_CBC_PAD, make([]byte, 16)), k.aes); err != nil {
			return err
		}
		_, err := m.Decrypt(m.session, make([]byte, 8))
		return err
	}},
	{name: "verify a short signature", call: func(m *module, k keys) error {
		if err := m.VerifyInit(m.session, mechanism(pkcs11.CKM_SHA256_RSA_PKCS, nil), k.rsaPublic); err != nil {
			return err
		}
		return m.Verify(m.session, []byte("x"), make([]byte, 10))
	}},
	{name: "verify a wrong signature", call: func(m *module, k keys) error {
		if err := m.VerifyInit(m.session, mechanism(pkcs11.CKM_SHA256_RSA_PKCS, nil), k.rsaPublic); err != nil {
			return err
		}
		return m.Verify(m.session, []byte("x"), make([]byte, 256))
	}},
	{name: "verify a wrong ECDSA signature", call: func(m *module, k keys) error {
		if err := m.VerifyInit(m.session, mechanism(pkcs11.CKM_ECDSA, nil), k.ecPublic); err != nil {
			return err
		}
		return m.Verify(m.session, make([]byte, 32), append(make([]byte, 63), 1))
	}},
	{name: "an error ends the operation", call: func(m *module, k keys) error {
		if err := sign(m, pkcs11.CKM_RSA_PKCS, nil, k.rsaPrivate, make([]byte, 250)); err == nil {
			return nil
		}
		_, err := m.Sign(m.session, []byte("x"))
		return err
	}},

	{name: "value of a sensitive key", call: func(m *module, k keys) error {
		_, err := m.GetAttributeValue(m.session, k.rsaPrivate, []*pkcs11.Attribute{attribute(pkcs11.CKA_PRIVATE_EXPONENT, nil)})
		return err
	}},
	{name: "attribute that the object has not", call: func(m *module, k keys) error {
		_, err := m.GetAttributeValue(m.session, k.data, []*pkcs11.Attribute{attribute(pkcs11.CKA_MODULUS, nil)})
		return err
	}},
	{name: "attribute of no such object", call: func(m *module, k keys) error {
		_, err := m.GetAttributeValue(m.session, nowhere, []*pkcs11.Attribute{attribute(pkcs11.CKA_LABEL, nil)})
		return err
	}},
	{name: "destroy no such object", call: func(m *module, k keys) error { return m.DestroyObject(m.session, nowhere) }},
	{
		name: "copy no such object", call: func(m *module, k keys) error { _, err := m.CopyObject(m.session, nowhere, nil); return err },
		standard: pkcs11.CKR_OBJECT_HANDLE_INVALID, why: "5.7.2: an empty template is a valid one; SoftHSM says ARGUMENTS_BAD",
	},
	{name: "size of no such object", call: func(m *module, k keys) error { _, err := m.GetObjectSize(m.session, nowhere); return err }},
	{name: "set a read-only attribute", call: func(m *module, k keys) error {
		return m.SetAttributeValue(m.session, k.rsaPrivate, []*pkcs11.Attribute{attribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA)})
	}},
	{name: "make a sensitive key readable", call: func(m *module, k keys) error {
		return m.SetAttributeValue(m.session, k.aes, []*pkcs11.Attribute{attribute(pkcs11.CKA_SENSITIVE, false)})
	}},
	{name: "make a key extractable", call: func(m *module, k keys) error {
		return m.SetAttributeValue(m.session, k.aes, []*pkcs11.Attribute{attribute(pkcs11.CKA_EXTRACTABLE, true)})
	}},

	{name: "create without a class", call: func(m *module, k keys) error { return create(m, attribute(pkcs11.CKA_LABEL, "x")) }},
	{name: "create a key without its value", call: func(m *module, k keys) error {
		return create(m, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY), attribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_AES))
	}},
	{name: "create a public key without modulus", call: func(m *module, k keys) error {
		return create(m, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_RSA), attribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	}},
	{name: "create with an attribute of another class", call: func(m *module, k keys) error {
		return create(m, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), attribute(pkcs11.CKA_VALUE, []byte("x")), attribute(pkcs11.CKA_MODULUS, []byte{1}))
	}, standard: pkcs11.CKR_TEMPLATE_INCONSISTENT, why: "4.1.1: the standard describes the attribute, so it is valid, but it does not go with the class; SoftHSM says ATTRIBUTE_TYPE_INVALID"},
	{name: "generate AES of 17 bytes", call: func(m *module, k keys) error {
		return generate(m, pkcs11.CKM_AES_KEY_GEN, attribute(pkcs11.CKA_VALUE_LEN, 17))
	}},
	{name: "generate AES without a length", call: func(m *module, k keys) error { return generate(m, pkcs11.CKM_AES_KEY_GEN) }},
	{name: "generate with an unknown mechanism", call: func(m *module, k keys) error {
		return generate(m, 0x7ffffff0, attribute(pkcs11.CKA_VALUE_LEN, 16))
	}},
	{name: "generate a pair with a key's mechanism", call: func(m *module, k keys) error { return generatePair(m, pkcs11.CKM_AES_KEY_GEN) }},
	{name: "generate RSA without a size", call: func(m *module, k keys) error { return generatePair(m, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN) }},
	{name: "generate EC without a curve", call: func(m *module, k keys) error { return generatePair(m, pkcs11.CKM_EC_KEY_PAIR_GEN) }},
	{name: "generate with another class", call: func(m *module, k keys) error {
		return generate(m, pkcs11.CKM_AES_KEY_GEN, attribute(pkcs11.CKA_VALUE_LEN, 16), attribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA))
	}, standard: pkcs11.CKR_TEMPLATE_INCONSISTENT, why: "5.18.1: the class contradicts the mechanism; SoftHSM says ATTRIBUTE_VALUE_INVALID"},
	{name: "generate with another key type", call: func(m *module, k keys) error {
		return generate(m, pkcs11.CKM_AES_KEY_GEN, attribute(pkcs11.CKA_VALUE_LEN, 16), attribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_DES3))
	}},
}

// ask makes a row's call in a session of its own, so that what one row leaves behind does not answer the next.
func (m *module) ask(t *testing.T, r row, k keys) error {
	t.Helper()
	own := *m
	own.session = m.open(t, pkcs11.CKF_RW_SESSION)
	defer m.CloseSession(own.session)
	return r.call(&own, k)
}

func TestReturnCodes(t *testing.T) {
	answers := map[string]map[string]error{}
	ask := func(t *testing.T, target target.Target) {
		m := load(t, target)
		k := m.keys(t)
		answers[target.Name] = map[string]error{}
		for _, r := range rows {
			answers[target.Name][r.name] = m.ask(t, r, k)
		}
	}
	target.Each(t, ask)
	for _, r := range rows {
		reference := answers["softhsm"][r.name]
		for _, name := range []string{"software", "hsm"} {
			got := answers[name][r.name]
			switch {
			case got == nil:
				t.Errorf("%s: %s accepts it; SoftHSM: %v", r.name, name, reference)
			case r.standard != 0 && got != pkcs11.Error(r.standard):
				t.Errorf("%s: %s says %v, the standard %v (%s)", r.name, name, got, pkcs11.Error(r.standard), r.why)
			case r.standard == 0 && got != reference:
				t.Errorf("%s: %s says %v, SoftHSM %v", r.name, name, got, reference)
			}
		}
	}
}
