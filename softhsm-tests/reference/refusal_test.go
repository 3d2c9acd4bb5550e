package reference

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

func want(t *testing.T, what string, err error, code uint) {
	t.Helper()
	if code == pkcs11.CKR_OK && err == nil {
		return
	}
	if err != pkcs11.Error(code) {
		t.Errorf("%s: %v, want %v", what, err, pkcs11.Error(code))
	}
}

// TestWrongPINs locks a token, which then refuses the right PIN too, and lets an administrator unlock it.
func TestWrongPINs(t *testing.T) {
	daemon := daemontest.Start(t, daemontest.Options{Tables: "[login]\nmax_failed = 3\n"})
	m := load(t, target.Target{Module: daemon.ModulePath, Env: daemon.Env(), Token: daemon.Token, PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon})
	want(t, "logout", m.Logout(m.session), pkcs11.CKR_OK)
	flags := func() uint {
		t.Helper()
		info, err := m.GetTokenInfo(m.slot)
		if err != nil {
			t.Fatal(err)
		}
		return info.Flags
	}
	login := func(pin string) error { return m.Login(m.session, pkcs11.CKU_USER, pin) }
	want(t, "first wrong PIN", login("wrong"), pkcs11.CKR_PIN_INCORRECT)
	if flags()&pkcs11.CKF_USER_PIN_COUNT_LOW == 0 {
		t.Error("CKF_USER_PIN_COUNT_LOW is not set")
	}
	want(t, "second wrong PIN", login("wrong"), pkcs11.CKR_PIN_INCORRECT)
	if flags()&pkcs11.CKF_USER_PIN_FINAL_TRY == 0 {
		t.Error("CKF_USER_PIN_FINAL_TRY is not set")
	}
	// The tries are in the store: a crash gives no new ones.
	daemon.Kill()
	daemon.Restart()
	want(t, "third wrong PIN", login("wrong"), pkcs11.CKR_PIN_INCORRECT)
	want(t, "right PIN of a locked token", login(m.PIN), pkcs11.CKR_PIN_LOCKED)
	if flags()&pkcs11.CKF_USER_PIN_LOCKED == 0 {
		t.Error("CKF_USER_PIN_LOCKED is not set")
	}
	daemon.CLI(t, "token", "unlock", daemon.Token)
	want(t, "right PIN after the unlock", login(m.PIN), pkcs11.CKR_OK)
}

// TestDaemonGone signs while no daemon is there: the call ends at its deadline, and with the daemon back the same
// session and login go on.
func TestDaemonGone(t *testing.T) {
	const timeout = 2 * time.Second
	daemon := daemontest.Start(t, daemontest.Options{})
	file := filepath.Join(t.TempDir(), "module.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "endpoints = [%q]\ntimeout = %q\n", "unix://"+daemon.Socket, timeout), 0o600); err != nil {
		t.Fatal(err)
	}
	m := load(t, target.Target{Module: daemon.ModulePath, Env: []string{"ANYHSM_CONFIG=" + file}, Token: daemon.Token, PIN: daemon.UserPIN, SOPIN: daemon.SOPIN, Daemon: daemon})
	k := m.keys(t)
	want(t, "sign", sign(m, pkcs11.CKM_ECDSA, nil, k.ecPrivate, make([]byte, 32)), pkcs11.CKR_OK)
	daemon.Kill()
	start := time.Now()
	want(t, "sign without a daemon", sign(m, pkcs11.CKM_ECDSA, nil, k.ecPrivate, make([]byte, 32)), pkcs11.CKR_DEVICE_ERROR)
	if took := time.Since(start); took < timeout/2 || took > 5*timeout {
		t.Errorf("the call took %v, its deadline is %v", took, timeout)
	}
	if info, err := m.GetSessionInfo(m.session); err != nil || info.DeviceError == 0 {
		t.Errorf("ulDeviceError %d: %v", info.DeviceError, err)
	}
	// What needs no secret needs no daemon.
	want(t, "digest", func() error {
		if err := m.DigestInit(m.session, mechanism(pkcs11.CKM_SHA256, nil)); err != nil {
			return err
		}
		_, err := m.Digest(m.session, []byte("x"))
		return err
	}(), pkcs11.CKR_OK)
	daemon.Restart()
	want(t, "sign with the daemon back", sign(m, pkcs11.CKM_ECDSA, nil, k.ecPrivate, make([]byte, 32)), pkcs11.CKR_OK)
}
