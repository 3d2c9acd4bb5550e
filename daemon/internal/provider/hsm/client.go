package hsm

import (
	"errors"
	"io/fs"
	"os"
	"unsafe"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// client is what we use of a library: one C_ function each. All but Encrypt and WrapKey are *pkcs11.Ctx's.
type client interface {
	Initialize(options ...pkcs11.InitializeOption) error
	Finalize() error
	GetInfo() (pkcs11.Info, error)
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error)
	GetMechanismInfo(slot uint, m []*pkcs11.Mechanism) (pkcs11.MechanismInfo, error)
	OpenSession(slot, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(s pkcs11.SessionHandle) error
	GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	CreateObject(s pkcs11.SessionHandle, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	DestroyObject(s pkcs11.SessionHandle, o pkcs11.ObjectHandle) error
	GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, a []*pkcs11.Attribute) ([]*pkcs11.Attribute, error)
	FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(s pkcs11.SessionHandle) error
	EncryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Encrypt(s pkcs11.SessionHandle, plaintext []byte, room int) ([]byte, error)
	DecryptInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Decrypt(s pkcs11.SessionHandle, ciphertext []byte) ([]byte, error)
	SignInit(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle) error
	Sign(s pkcs11.SessionHandle, data []byte) ([]byte, error)
	GenerateKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	GenerateKeyPair(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	DeriveKey(s pkcs11.SessionHandle, m []*pkcs11.Mechanism, key pkcs11.ObjectHandle, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error)
	WrapKey(s pkcs11.SessionHandle, mechanism uint, iv []byte, wrapping, key pkcs11.ObjectHandle, room int) ([]byte, error)
	GenerateRandom(s pkcs11.SessionHandle, length int) ([]byte, error)
}

// load opens the shared library. It is a variable so that tests can put faults between us and a real library.
var load = func(path string) (client, error) {
	// The binding says only "no" when it cannot load a library, so the usual reasons are looked for first.
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.DeviceError, "the PKCS#11 library %s does not exist; correct `library` or install the HSM's client software", path)
	case err != nil:
		return nil, fault.New(fault.DeviceError, "the PKCS#11 library cannot be read: %w; check the path's permissions", err)
	case info.IsDir():
		return nil, fault.New(fault.DeviceError, "%s is a directory; `library` must name the PKCS#11 library itself", path)
	}
	context := pkcs11.New(path)
	var whole client
	if context != nil {
		whole = newRoomy(context, path)
	}
	if whole == nil {
		return nil, fault.New(fault.DeviceError, "%s cannot be loaded as a PKCS#11 library: it is no shared library for this machine, lacks C_GetFunctionList, or misses a library of its own; look at `ldd %s`", path, path)
	}
	return whole, nil
}

// initialize calls C_Initialize and tells whether it was us who initialised the library. Another user of the same
// library in this process, crypto11 for one, may have been first: that is no error, but then it is not ours to finalise.
func initialize(c client, reserved string) (ours bool, err error) {
	var options []pkcs11.InitializeOption
	if reserved != "" {
		// The bytes hold no Go pointer and stay alive over the call, which is all that cgo asks for.
		text := append([]byte(reserved), 0)
		options = append(options, pkcs11.InitializeWithReserved(unsafe.Pointer(&text[0])))
	}
	err = c.Initialize(options...)
	if errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		return false, nil
	}
	return err == nil, err
}
