package chaos

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
)

// uniqueID is CKA_UNIQUE_ID, which the package pkcs11 does not have.
const uniqueID = 0x00000004

// application is a program that loads the module and works until the file STOP is there. It goes on after errors: the
// judge decides what they mean.
type application struct {
	module  *pkcs11.Ctx
	session pkcs11.SessionHandle
	token   string
	name    string
	log     *history.Log
	// failed is set when the history cannot be written: without it nothing can be judged.
	failed error
}

// runApplication is the main function of an application's process.
func runApplication(role string) int {
	a := &application{name: os.Getenv("NAME"), token: os.Getenv("TOKEN")}
	if err := a.open(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer a.module.Finalize()
	var err error
	if role == "dump" {
		err = a.dump()
	} else {
		err = a.work(role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (a *application) open() error {
	a.module = pkcs11.New(os.Getenv("MODULE"))
	if a.module == nil {
		return fmt.Errorf("cannot load %s", os.Getenv("MODULE"))
	}
	if err := a.module.Initialize(); err != nil {
		return err
	}
	slots, err := a.module.GetSlotList(true)
	if err != nil {
		return err
	}
	for _, slot := range slots {
		info, err := a.module.GetTokenInfo(slot)
		if err != nil {
			return err
		}
		if info.Label != a.token {
			continue
		}
		if a.session, err = a.module.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION); err != nil {
			return err
		}
		return a.module.Login(a.session, pkcs11.CKU_USER, os.Getenv("PIN"))
	}
	return fmt.Errorf("the token %s is in none of the slots %v", a.token, slots)
}

func (a *application) work(role string) error {
	var err error
	if a.log, err = history.Open(os.Getenv("HISTORY"), a.name); err != nil {
		return err
	}
	pause, err := time.ParseDuration(os.Getenv("PAUSE"))
	if err != nil {
		return err
	}
	for n := 0; a.failed == nil; n++ {
		if _, err := os.Stat(os.Getenv("STOP")); err == nil {
			break
		}
		name := a.name + "-" + strconv.Itoa(n)
		switch role {
		case "keys":
			a.key(name, n, pause)
		case "objects":
			a.object(name, n, pause)
		case "signer":
			a.signer(name, pause)
		}
	}
	return errors.Join(a.failed, a.log.Close())
}

// do makes one operation and writes it down.
func (a *application) do(r history.Record, operation func(end *history.Record) error) bool {
	r.Token = a.token
	begun, err := a.log.Begin(r)
	if err != nil {
		a.failed = err
		return false
	}
	end := history.Record{Phase: history.OK}
	if err := operation(&end); err != nil {
		end.Phase, end.Error = history.Unknown, err.Error()
		var rv pkcs11.Error
		if errors.As(err, &rv) {
			end.Phase, end.Error = history.Fail, cryptoki.RV(rv).String()
		}
		// Who fails at once should not fail as often as it can.
		defer time.Sleep(100 * time.Millisecond)
	}
	if err := begun.End(end); err != nil {
		a.failed = err
	}
	return end.Phase == history.OK && a.failed == nil
}

// key is the life of a key pair: made, seen, used, and now and then destroyed.
func (a *application) key(name string, n int, pause time.Duration) {
	public, private, point, made := a.make(name)
	a.see(name, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKA_EC_POINT)
	if !made {
		return
	}
	for i := range 20 {
		digest := sha256.Sum256(fmt.Append(nil, name, i))
		var signature []byte
		if a.do(history.Record{Kind: history.Sign, Name: name}, func(*history.Record) (err error) {
			signature, err = a.sign(private, point, digest[:])
			return err
		}) && i%10 == 0 {
			a.do(history.Record{Kind: history.Verify, Name: name}, func(*history.Record) error {
				if err := a.module.VerifyInit(a.session, mechanism(pkcs11.CKM_ECDSA), public); err != nil {
					return err
				}
				return a.module.Verify(a.session, digest[:], signature)
			})
		}
		time.Sleep(rand.N(2*pause + 1))
	}
	if n%3 == 0 {
		a.do(history.Record{Kind: history.Destroy, Name: name}, func(*history.Record) error {
			if err := a.module.DestroyObject(a.session, private); err != nil {
				return err
			}
			return a.module.DestroyObject(a.session, public)
		})
		a.see(name, pkcs11.CKO_PUBLIC_KEY, pkcs11.CKA_EC_POINT)
	}
}

// make makes a key pair, and learns what tells it apart from all others.
func (a *application) make(name string) (public, private pkcs11.ObjectHandle, point []byte, made bool) {
	made = a.do(history.Record{Kind: history.Generate, Name: name}, func(end *history.Record) (err error) {
		if public, private, err = a.generate(name); err != nil {
			return err
		}
		if point, err = a.attribute(public, pkcs11.CKA_EC_POINT); err != nil {
			return err
		}
		uid, err := a.attribute(private, uniqueID)
		end.UID, end.Value = string(uid), hex.EncodeToString(point)
		return err
	})
	return public, private, point, made
}

// signer makes one key and signs with it to the end.
func (a *application) signer(name string, pause time.Duration) {
	_, private, point, made := a.make(name)
	if !made {
		return
	}
	for n := 0; a.failed == nil; n++ {
		if _, err := os.Stat(os.Getenv("STOP")); err == nil {
			return
		}
		digest := sha256.Sum256(fmt.Append(nil, name, n))
		a.do(history.Record{Kind: history.Sign, Name: name}, func(*history.Record) error {
			_, err := a.sign(private, point, digest[:])
			return err
		})
		time.Sleep(pause)
	}
}

// object is the life of a data object: made, seen, changed, seen after each change, and now and then destroyed.
func (a *application) object(name string, n int, pause time.Duration) {
	var handle pkcs11.ObjectHandle
	if !a.do(history.Record{Kind: history.Create, Name: name, Value: "v0"}, func(end *history.Record) (err error) {
		handle, err = a.module.CreateObject(a.session, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_DATA), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, name), pkcs11.NewAttribute(pkcs11.CKA_VALUE, "v0"),
		})
		if err != nil {
			return err
		}
		uid, err := a.attribute(handle, uniqueID)
		end.UID = string(uid)
		return err
	}) {
		a.see(name, pkcs11.CKO_DATA, pkcs11.CKA_VALUE)
		return
	}
	for version := range 8 {
		value := fmt.Sprint("v", version+1)
		a.do(history.Record{Kind: history.Modify, Name: name, Value: value}, func(*history.Record) error {
			return a.module.SetAttributeValue(a.session, handle, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, value)})
		})
		a.see(name, pkcs11.CKO_DATA, pkcs11.CKA_VALUE)
		time.Sleep(rand.N(2*pause + 1))
	}
	if n%2 == 0 {
		a.do(history.Record{Kind: history.Destroy, Name: name}, func(*history.Record) error { return a.module.DestroyObject(a.session, handle) })
		a.see(name, pkcs11.CKO_DATA, pkcs11.CKA_VALUE)
	}
}

// see searches an object by its name and reads it.
func (a *application) see(name string, class uint, value uint) {
	a.do(history.Record{Kind: history.Read, Name: name}, func(end *history.Record) error {
		found, err := a.find([]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, name)})
		if err != nil || len(found) == 0 {
			return err
		}
		read, err := a.attribute(found[0], value)
		end.Count, end.Value = len(found), string(read)
		if class == pkcs11.CKO_PUBLIC_KEY {
			end.Value = hex.EncodeToString(read)
		}
		return err
	})
}

func (a *application) find(template []*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := a.module.FindObjectsInit(a.session, template); err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for {
		found, _, err := a.module.FindObjects(a.session, 100)
		if err != nil {
			return nil, errors.Join(err, a.module.FindObjectsFinal(a.session))
		}
		if len(found) == 0 {
			return all, a.module.FindObjectsFinal(a.session)
		}
		all = append(all, found...)
	}
}

func (a *application) attribute(object pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	attributes, err := a.module.GetAttributeValue(a.session, object, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		return nil, err
	}
	return attributes[0].Value, nil
}

func mechanism(number uint) []*pkcs11.Mechanism {
	return []*pkcs11.Mechanism{pkcs11.NewMechanism(number, nil)}
}

func (a *application) generate(label string) (public, private pkcs11.ObjectHandle, err error) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	return a.module.GenerateKeyPair(a.session, mechanism(pkcs11.CKM_EC_KEY_PAIR_GEN),
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
			pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256), pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
		},
		[]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		})
}

// sign signs and lets Go's crypto verify with the public key's point.
func (a *application) sign(private pkcs11.ObjectHandle, encoded, digest []byte) ([]byte, error) {
	if err := a.module.SignInit(a.session, mechanism(pkcs11.CKM_ECDSA), private); err != nil {
		return nil, err
	}
	signature, err := a.module.Sign(a.session, digest)
	if err != nil {
		return nil, err
	}
	var point []byte
	if _, err := asn1.Unmarshal(encoded, &point); err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil, err
	}
	if len(signature) != 64 || !ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return nil, fmt.Errorf("the signature %x does not verify", signature)
	}
	return signature, nil
}

// dump writes all objects of the token to the standard output, as the module shows them to a fresh process.
func (a *application) dump() error {
	found, err := a.find(nil)
	if err != nil {
		return err
	}
	var seen []history.Seen
	for _, object := range found {
		class, err := a.attribute(object, pkcs11.CKA_CLASS)
		if err != nil {
			return err
		}
		s := history.Seen{Token: a.token}
		value := uint(pkcs11.CKA_VALUE)
		switch uint(class[0]) {
		case pkcs11.CKO_PRIVATE_KEY:
			s.Class, value = history.Private, 0
		case pkcs11.CKO_PUBLIC_KEY:
			s.Class, value = history.Public, pkcs11.CKA_EC_POINT
		case pkcs11.CKO_DATA:
			s.Class = history.Data
		default:
			return fmt.Errorf("an object of class %x", class)
		}
		label, err := a.attribute(object, pkcs11.CKA_LABEL)
		if err != nil {
			return err
		}
		uid, err := a.attribute(object, uniqueID)
		if err != nil {
			return err
		}
		s.Name, s.UID = string(label), string(uid)
		if value != 0 {
			read, err := a.attribute(object, value)
			if err != nil {
				return err
			}
			s.Value = string(read)
			if s.Class == history.Public {
				s.Value = hex.EncodeToString(read)
			}
		}
		seen = append(seen, s)
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}
