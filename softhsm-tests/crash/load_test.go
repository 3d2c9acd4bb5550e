package crash

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"

	"github.com/miekg/pkcs11"
)

// load is the application: it makes keys and signs with them, and with LOGINS logs out and in, until the file STOP is
// there. It ends with 1 at the first error that it sees.
func load() int {
	if err := work(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func work() error {
	module := pkcs11.New(os.Getenv("MODULE"))
	if module == nil {
		return fmt.Errorf("cannot load %s", os.Getenv("MODULE"))
	}
	if err := module.Initialize(); err != nil {
		return err
	}
	defer module.Finalize()
	slots, err := module.GetSlotList(true)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		info, err := module.GetTokenInfo(slot)
		if err != nil {
			return err
		}
		if info.Label == os.Getenv("TOKEN") {
			return use(module, slot)
		}
	}
	return fmt.Errorf("no token in %v", slots)
}

func use(module *pkcs11.Ctx, slot uint) error {
	session, err := module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	if err := module.Login(session, pkcs11.CKU_USER, os.Getenv("PIN")); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if _, err := os.Stat(os.Getenv("STOP")); err == nil {
			return nil
		}
		label := fmt.Sprintf("key-%s-%d", os.Getenv("NUMBER"), i)
		public, private, err := generate(module, session, label)
		if err != nil {
			return fmt.Errorf("generate %s: %w", label, err)
		}
		fmt.Println("made", label)
		for n := range 5 {
			if err := sign(module, session, public, private, n); err != nil {
				return fmt.Errorf("sign with %s: %w", label, err)
			}
		}
		if os.Getenv("LOGINS") == "" {
			continue
		}
		if err := module.Logout(session); err != nil {
			return fmt.Errorf("log out after %s: %w", label, err)
		}
		if err := module.Login(session, pkcs11.CKU_USER, os.Getenv("PIN")); err != nil {
			return fmt.Errorf("log in after %s: %w", label, err)
		}
	}
}

func generate(module *pkcs11.Ctx, session pkcs11.SessionHandle, label string) (public, private pkcs11.ObjectHandle, err error) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	return module.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256),
		},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		})
}

// sign signs and lets Go's crypto verify with the public key's point.
func sign(module *pkcs11.Ctx, session pkcs11.SessionHandle, public, private pkcs11.ObjectHandle, n int) error {
	digest := sha256.Sum256(fmt.Append(nil, n))
	if err := module.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, private); err != nil {
		return err
	}
	signature, err := module.Sign(session, digest[:])
	if err != nil {
		return err
	}
	attributes, err := module.GetAttributeValue(session, public, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		return err
	}
	var point []byte
	if _, err := asn1.Unmarshal(attributes[0].Value, &point); err != nil {
		return err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	if len(signature) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return fmt.Errorf("signature %x does not verify", signature)
	}
	return nil
}
