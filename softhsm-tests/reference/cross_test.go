package reference

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

// TestCross opens the SoftHSM token behind the daemon directly, and lets each side check what the other made with the
// same keys.
func TestCross(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{Provider: "hsm"})
	ours := load(t, target.Target{
		Name: "hsm", Module: daemon.ModulePath, Env: daemon.Env(), Token: daemon.Token, PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon,
	})
	k := ours.keys(t)
	direct := load(t, target.Target{
		Name: "softhsm", Module: daemontest.SoftHSMLibrary, Env: []string{"SOFTHSM2_CONF=" + filepath.Join(daemon.Dir, "softhsm2.conf")},
		Token: daemontest.SoftHSMToken, PIN: daemontest.SoftHSMPIN,
	})

	digest := bytes.Repeat([]byte{0x5a}, 32)
	message := []byte("the same operation through both")
	for _, pair := range []struct {
		name            string
		public, private pkcs11.ObjectHandle
		key             uint
		signatures      []operation
	}{
		{"RSA", k.rsaPublic, k.rsaPrivate, pkcs11.CKA_MODULUS, []operation{
			{"PKCS", pkcs11.CKM_RSA_PKCS, nil, message},
			{"X_509", pkcs11.CKM_RSA_X_509, nil, append(make([]byte, 200), bytes.Repeat([]byte{7}, 56)...)},
			{"SHA256_RSA_PKCS", pkcs11.CKM_SHA256_RSA_PKCS, nil, message},
			{"SHA512_RSA_PKCS", pkcs11.CKM_SHA512_RSA_PKCS, nil, message},
			{"PSS", pkcs11.CKM_RSA_PKCS_PSS, pkcs11.NewPSSParams(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 32), digest},
			{"SHA384_PSS", pkcs11.CKM_SHA384_RSA_PKCS_PSS, pkcs11.NewPSSParams(pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, 48), message},
		}},
		{"EC", k.ecPublic, k.ecPrivate, pkcs11.CKA_EC_POINT, []operation{{"ECDSA", pkcs11.CKM_ECDSA, nil, digest}}},
	} {
		t.Run(pair.name, func(t *testing.T) {
			public, private := direct.same(t, ours, pair.public, pair.key)
			for _, o := range pair.signatures {
				o.check(t, ours, pair.private, direct, public)
				o.check(t, direct, private, ours, pair.public)
			}
		})
	}
	t.Run("RSA encryption", func(t *testing.T) {
		public, private := direct.same(t, ours, k.rsaPublic, pkcs11.CKA_MODULUS)
		for _, o := range []operation{
			{"PKCS", pkcs11.CKM_RSA_PKCS, nil, message},
			{"OAEP", pkcs11.CKM_RSA_PKCS_OAEP, pkcs11.NewOAEPParams(pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1, pkcs11.CKZ_DATA_SPECIFIED, nil), message},
		} {
			o.encrypt(t, ours, k.rsaPublic, direct, private)
			o.encrypt(t, direct, public, ours, k.rsaPrivate)
		}
	})
	t.Run("AES", func(t *testing.T) {
		key := direct.only(t, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_SECRET_KEY))
		iv := bytes.Repeat([]byte{3}, 16)
		for _, o := range []operation{
			{"ECB", pkcs11.CKM_AES_ECB, nil, digest},
			{"CBC", pkcs11.CKM_AES_CBC, iv, digest},
			{"CBC_PAD", pkcs11.CKM_AES_CBC_PAD, iv, message},
			{"CTR", pkcs11.CKM_AES_CTR, append([]byte{128, 0, 0, 0, 0, 0, 0, 0}, iv...), message},
		} {
			o.encrypt(t, ours, k.aes, direct, key)
			o.encrypt(t, direct, key, ours, k.aes)
		}
		// The library keeps what C_EncryptInit wrote into the parameters, so each use needs its own.
		gcm := func() operation {
			return operation{"GCM", pkcs11.CKM_AES_GCM, pkcs11.NewGCMParams(bytes.Repeat([]byte{9}, 12), []byte("header"), 128), message}
		}
		gcm().encrypt(t, ours, k.aes, direct, key)
		gcm().encrypt(t, direct, key, ours, k.aes)
	})
}

// operation is a mechanism with its parameter and its input.
type operation struct {
	name      string
	mechanism uint
	parameter any
	data      []byte
}

// check signs on one side and verifies on the other, which must refuse a changed signature.
func (o operation) check(t *testing.T, signer *module, private pkcs11.ObjectHandle, verifier *module, public pkcs11.ObjectHandle) {
	t.Helper()
	if err := signer.SignInit(signer.session, mechanism(o.mechanism, o.parameter), private); err != nil {
		t.Errorf("%s: SignInit of %s: %v", o.name, signer.Name, err)
		return
	}
	signature, err := signer.Sign(signer.session, o.data)
	if err != nil {
		t.Errorf("%s: Sign of %s: %v", o.name, signer.Name, err)
		return
	}
	verify := func() error {
		if err := verifier.VerifyInit(verifier.session, mechanism(o.mechanism, o.parameter), public); err != nil {
			return err
		}
		return verifier.Verify(verifier.session, o.data, signature)
	}
	if err := verify(); err != nil {
		t.Errorf("%s: %s does not verify what %s signed: %v", o.name, verifier.Name, signer.Name, err)
	}
	signature[len(signature)/2] ^= 1
	if err := verify(); err != pkcs11.Error(pkcs11.CKR_SIGNATURE_INVALID) {
		t.Errorf("%s: %s on a changed signature: %v", o.name, verifier.Name, err)
	}
}

// encrypt encrypts on one side and decrypts on the other.
func (o operation) encrypt(t *testing.T, sender *module, key pkcs11.ObjectHandle, receiver *module, other pkcs11.ObjectHandle) {
	t.Helper()
	if err := sender.EncryptInit(sender.session, mechanism(o.mechanism, o.parameter), key); err != nil {
		t.Errorf("%s: EncryptInit of %s: %v", o.name, sender.Name, err)
		return
	}
	encrypted, err := sender.Encrypt(sender.session, o.data)
	if err != nil {
		t.Errorf("%s: Encrypt of %s: %v", o.name, sender.Name, err)
		return
	}
	if err := receiver.DecryptInit(receiver.session, mechanism(o.mechanism, o.parameter), other); err != nil {
		t.Errorf("%s: DecryptInit of %s: %v", o.name, receiver.Name, err)
		return
	}
	if plain, err := receiver.Decrypt(receiver.session, encrypted); err != nil || !bytes.Equal(plain, o.data) {
		t.Errorf("%s: %s decrypts what %s encrypted to %x: %v", o.name, receiver.Name, sender.Name, plain, err)
	}
}

// same finds the key pair of another module here, by its public value.
func (m *module) same(t *testing.T, other *module, key pkcs11.ObjectHandle, value uint) (public, private pkcs11.ObjectHandle) {
	t.Helper()
	attributes, err := other.GetAttributeValue(other.session, key, []*pkcs11.Attribute{attribute(value, nil)})
	if err != nil {
		t.Fatal(err)
	}
	public = m.only(t, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY), attributes[0])
	id, err := m.GetAttributeValue(m.session, public, []*pkcs11.Attribute{attribute(pkcs11.CKA_ID, nil)})
	if err != nil {
		t.Fatal(err)
	}
	return public, m.only(t, attribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY), id[0])
}

// only finds the one object that fits.
func (m *module) only(t *testing.T, template ...*pkcs11.Attribute) pkcs11.ObjectHandle {
	t.Helper()
	if err := m.FindObjectsInit(m.session, template); err != nil {
		t.Fatal(err)
	}
	defer m.FindObjectsFinal(m.session)
	found, _, err := m.FindObjects(m.session, 2)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d objects fit in %s: %v", len(found), m.Name, err)
	}
	return found[0]
}
