package hsm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// faulty puts a fault between us and a real library: before each function it asks whether that is to fail.
type faulty struct {
	client
	mu   sync.Mutex
	fail func(function string) error
}

func (f *faulty) check(function string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(function)
}

func (f *faulty) Initialize(options ...pkcs11.InitializeOption) error {
	if err := f.check("C_Initialize"); err != nil {
		return err
	}
	return f.client.Initialize(options...)
}

func (f *faulty) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	if err := f.check("C_OpenSession"); err != nil {
		return 0, err
	}
	return f.client.OpenSession(slot, flags)
}

func (f *faulty) GetSlotList(present bool) ([]uint, error) {
	if err := f.check("C_GetSlotList"); err != nil {
		return nil, err
	}
	return f.client.GetSlotList(present)
}

func (f *faulty) GetSessionInfo(s pkcs11.SessionHandle) (pkcs11.SessionInfo, error) {
	if err := f.check("C_GetSessionInfo"); err != nil {
		return pkcs11.SessionInfo{}, err
	}
	return f.client.GetSessionInfo(s)
}

func (f *faulty) Sign(s pkcs11.SessionHandle, data []byte) ([]byte, error) {
	if err := f.check("C_Sign"); err != nil {
		return nil, err
	}
	return f.client.Sign(s, data)
}

// private makes a provider on a library of its own, with something between us and it: a copy of the file is another
// library to the loader.
func private(t *testing.T, c Config, between func(client) client) *Provider {
	t.Helper()
	content, err := os.ReadFile(softhsm)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "libsofthsm2.so")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	honest := load
	load = func(path string) (client, error) {
		real, err := honest(path)
		if err != nil {
			return nil, err
		}
		return between(real), nil
	}
	defer func() { load = honest }()
	c.Library = path
	return connect(t, c)
}

// TestDeviceFaults lets functions fail as HSMs on a network do.
func TestDeviceFaults(t *testing.T) {
	f := &faulty{}
	p := private(t, config("recover"), func(c client) client { f.client = c; return f })
	k, public := makeKey(t, p, strings.Repeat("c", 32))
	set := func(fail func(string) error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.fail = fail
	}
	// until lets functions fail until C_Initialize is called.
	until := func(rv uint, functions ...string) func(string) error {
		lost := true
		return func(function string) error {
			if function == "C_Initialize" {
				lost = false
			}
			if lost && slices.Contains(functions, function) {
				return pkcs11.Error(rv)
			}
			return nil
		}
	}
	once := func(rv uint, function string) func(string) error {
		done := false
		return func(called string) error {
			if done || called != function {
				return nil
			}
			done = true
			return pkcs11.Error(rv)
		}
	}
	for name, fail := range map[string]func(string) error{
		"a device error":           once(pkcs11.CKR_DEVICE_ERROR, "C_Sign"),
		"a session that is closed": once(pkcs11.CKR_SESSION_CLOSED, "C_Sign"),
		"a lost login":             once(pkcs11.CKR_USER_NOT_LOGGED_IN, "C_Sign"),
		"a lost key handle":        once(pkcs11.CKR_KEY_HANDLE_INVALID, "C_Sign"),
		"a stale operation":        once(pkcs11.CKR_OPERATION_ACTIVE, "C_Sign"),
		"the device is removed":    until(pkcs11.CKR_DEVICE_REMOVED, "C_Sign", "C_OpenSession", "C_GetSessionInfo"),
		"no token is present":      until(pkcs11.CKR_TOKEN_NOT_PRESENT, "C_Sign", "C_OpenSession"),
		"the library is finalised": until(pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED, "C_Sign", "C_OpenSession", "C_GetSessionInfo", "C_GetSlotList"),
	} {
		t.Run(name, func(t *testing.T) {
			set(fail)
			signs(t, k, public)
			set(nil)
			signs(t, k, public)
		})
	}
	t.Run("a device that stays away", func(t *testing.T) {
		set(func(string) error { return pkcs11.Error(pkcs11.CKR_DEVICE_REMOVED) })
		_, err := k.Sign(t.Context(), ecdsaMechanism, make([]byte, 32))
		if !fault.Is(err, fault.DeviceRemoved) && !fault.Is(err, fault.DeviceError) {
			t.Errorf("the error means %s: %v", fault.RV(err), err)
		}
		set(nil)
		signs(t, k, public)
	})
	t.Run("an error that is none of these", func(t *testing.T) {
		set(once(pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, "C_Sign"))
		_, err := k.Sign(t.Context(), ecdsaMechanism, make([]byte, 32))
		if !fault.Is(err, fault.KeyFunctionNotPermitted) || !strings.Contains(err.Error(), "CKR_KEY_FUNCTION_NOT_PERMITTED") {
			t.Errorf("the error means %s: %v", fault.RV(err), err)
		}
		set(nil)
		signs(t, k, public)
	})
}

// limited is a library that allows few sessions.
type limited struct {
	client
	mu         sync.Mutex
	open, most int
}

func (l *limited) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == l.most {
		return 0, pkcs11.Error(pkcs11.CKR_SESSION_COUNT)
	}
	l.open++
	return l.client.OpenSession(slot, flags)
}

func (l *limited) CloseSession(s pkcs11.SessionHandle) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	return l.client.CloseSession(s)
}

// TestFewerSessions uses a token that allows fewer sessions than are configured.
func TestFewerSessions(t *testing.T) {
	p := private(t, config("sessions"), func(c client) client { return &limited{client: c, most: 3} })
	k, public := makeKey(t, p, strings.Repeat("d", 32))
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 10 {
				signs(t, k, public)
			}
		})
	}
	wait.Wait()
}

// weak is a library without much: what it lacks must be declared or made up for.
type weak struct{ client }

var lacking = []cryptoki.MechanismType{
	cryptoki.CKM_RSA_X_509, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, cryptoki.CKM_EDDSA, cryptoki.CKM_AES_GCM,
	cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKM_SHA512_HMAC,
}

func (w weak) GetMechanismList(slot uint) ([]*pkcs11.Mechanism, error) {
	list, err := w.client.GetMechanismList(slot)
	return slices.DeleteFunc(list, func(m *pkcs11.Mechanism) bool {
		return slices.Contains(lacking, cryptoki.MechanismType(m.Mechanism))
	}), err
}

// TestWeakConformance runs the suite on a token that lacks much.
func TestWeakConformance(t *testing.T) {
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider {
		return private(t, config("weak"), func(c client) client { return weak{c} })
	}})
}
