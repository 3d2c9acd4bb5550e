// Package clock lets the daemon's clock jump by hours while applications work, and certificates expire while they are
// connected.
package clock

import (
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// application is a PKCS#11 application in this process, logged in, with a key.
type application struct {
	module  *pkcs11.Ctx
	slot    uint
	session pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
}

// start loads the module with a configuration and logs in.
func start(t *testing.T, d *daemontest.Daemon, config string) *application {
	t.Helper()
	t.Setenv("ANYHSM_CONFIG", config)
	a := &application{module: pkcs11.New(d.ModulePath)}
	if a.module == nil {
		t.Fatalf("cannot load %s", d.ModulePath)
	}
	must(t, a.module.Initialize())
	t.Cleanup(func() { _ = a.module.Finalize() })
	slots, err := a.module.GetSlotList(true)
	must(t, err)
	for _, slot := range slots {
		if info, err := a.module.GetTokenInfo(slot); err == nil && info.Label == d.Token {
			a.slot = slot
		}
	}
	a.session, err = a.module.OpenSession(a.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	must(t, a.login(d.UserPIN))
	must(t, a.generate())
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (a *application) login(pin string) error { return a.module.Login(a.session, pkcs11.CKU_USER, pin) }

func (a *application) generate() (err error) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	_, a.key, err = a.module.GenerateKeyPair(a.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256)},
		[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)})
	return err
}

func (a *application) sign() error {
	digest := sha256.Sum256([]byte("tick"))
	if err := a.module.SignInit(a.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}, a.key); err != nil {
		return err
	}
	_, err := a.module.Sign(a.session, digest[:])
	return err
}

// works lets an application sign and make keys for a while; it may not see an error.
func (a *application) works(t *testing.T, when string) {
	t.Helper()
	for i := range 200 {
		err := a.sign()
		if err == nil && i%50 == 0 {
			err = a.generate()
		}
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
}

// TestClockJumps sets the clock by hours in both directions. What lives for less than a jump forward ends, as if the
// time had passed, and nothing else.
func TestClockJumps(t *testing.T) {
	jump := jumping(t)
	d := daemontest.Start(t, daemontest.Options{Tables: "[audit]\nstrict = true\n[login]\nmax_failed = 3\n"})
	app := start(t, d, filepath.Join(d.Dir, "module.toml"))
	app.works(t, "before")
	for _, by := range []time.Duration{7 * time.Hour, 0, -7 * time.Hour, time.Minute, 4 * time.Hour, -4 * time.Hour, 0} {
		jump(by)
		app.works(t, "at "+by.String())
		if off := newestEvent(t, d).Sub(time.Now().Add(by)).Abs(); off > time.Minute {
			t.Errorf("at %v the daemon's clock is off by %v: the test does nothing", by, off)
		}
		// Whoever logs in then is as well off.
		must(t, app.module.Logout(app.session))
		must(t, app.login(d.UserPIN))
		must(t, app.generate())
	}
	if out := d.CLI(t, "audit", "verify"); !strings.Contains(strings.ToLower(out), "intact: ") {
		t.Errorf("audit verify: %s", out)
	}

	// A login lives 12 hours: 13 hours later it has expired, and one logs in again.
	jump(13 * time.Hour)
	if err := app.sign(); !errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)) {
		t.Errorf("a login of 13 hours ago: %v", err)
	}
	_ = app.module.Logout(app.session)
	must(t, app.login(d.UserPIN))
	must(t, app.generate())
	app.works(t, "13 hours later")

	// Tries of PINs count whatever the clock says, and time unlocks nothing.
	must(t, app.module.Logout(app.session))
	for _, by := range []time.Duration{0, 48 * time.Hour, -48 * time.Hour} {
		jump(by)
		if err := app.login("wrong-pin"); !errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)) && !errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_LOCKED)) {
			t.Errorf("a wrong PIN at %v: %v", by, err)
		}
	}
	for _, by := range []time.Duration{-48 * time.Hour, 0, 1000 * time.Hour} {
		jump(by)
		if err := app.login(d.UserPIN); !errors.Is(err, pkcs11.Error(pkcs11.CKR_PIN_LOCKED)) {
			t.Errorf("a locked PIN at %v: %v", by, err)
		}
	}
	if out := d.CLI(t, "audit", "verify"); !strings.Contains(strings.ToLower(out), "intact: ") {
		t.Errorf("audit verify: %s", out)
	}
}

// TestExpiredWhileConnected lets an application's certificate expire while it signs over TCP: the next call is refused
// and the log says whose certificate it was. With the clock set right the same connection is good again.
func TestExpiredWhileConnected(t *testing.T) {
	jump := jumping(t)
	d := daemontest.Start(t, daemontest.Options{TCP: true})
	d.CLI(t, "app", "add", "shop", "--grant", d.Token+":use+create+modify+destroy")
	dir := t.TempDir()
	code := write(t, dir, "code", []byte(strings.TrimSpace(d.CLI(t, "app", "code", "shop"))))
	d.CLI(t, "enroll", "--endpoint", d.Endpoint, "--dir", filepath.Join(dir, "shop"), "--code", "file:"+code)
	config := filepath.Join(dir, "shop", "module.toml")
	app := start(t, d, config)
	app.works(t, "with a good certificate")
	jump(364 * 24 * time.Hour)
	if strings.Contains(logged(t, d), "expired") {
		t.Error("the log tells of an expiry too early")
	}
	jump(366 * 24 * time.Hour)
	begin := time.Now()
	if err := app.sign(); err == nil {
		t.Error("the certificate has expired and signs")
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("the refusal took %v", took)
	}
	_ = app.sign()
	if n := strings.Count(logged(t, d), "the client certificate of shop (cert:"); n != 1 {
		t.Errorf("the log tells %d times that the certificate of shop has expired:\n%s", n, logged(t, d))
	}
	jump(0)
	_ = app.module.Logout(app.session)
	must(t, app.login(d.UserPIN))
	must(t, app.generate())
	app.works(t, "with the clock set right")
}
