// Package absent has an application that was there before its HSM: the daemon and the module start while the provider is
// away, and the same process uses it when it has come.
package absent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

func TestApplicationBeforeItsHSM(t *testing.T) {
	directory := t.TempDir()
	tokens, conf, pin := filepath.Join(directory, "tokens"), filepath.Join(directory, "softhsm2.conf"), filepath.Join(directory, "pin")
	must(t, os.Mkdir(tokens, 0o700))
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nlog.level = ERROR\n", tokens), 0o600))
	must(t, os.WriteFile(pin, []byte("1234"), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)
	daemon := daemontest.Start(t, daemontest.Options{Provider: "hsm-later", Tables: fmt.Sprintf(`
[[provider]]
name = "hsm-later"
kind = "hsm"
library = %q
token = "later"
pin = "file:%s"
`, daemontest.SoftHSMLibrary, pin)})
	const name = "ANYHSM_CONFIG" // not t.Setenv: cgo must pass it on to C's environment
	must(t, os.Setenv(name, filepath.Join(daemon.Dir, "module.toml")))
	t.Cleanup(func() { _ = os.Unsetenv(name) })
	module := pkcs11.New(daemon.ModulePath)
	if module == nil {
		t.Fatal("cannot load the module")
	}
	t.Cleanup(module.Destroy)
	must(t, module.Initialize())
	t.Cleanup(func() { _ = module.Finalize() })
	slots, err := module.GetSlotList(true)
	must(t, err)
	session, err := module.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	must(t, err)
	must(t, module.Login(session, pkcs11.CKU_USER, daemon.UserPIN))

	generate := func() error {
		_, _, err := module.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil)},
			[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 2048)},
			[]*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true)})
		return err
	}
	if err := generate(); !errors.Is(err, pkcs11.Error(pkcs11.CKR_DEVICE_ERROR)) {
		t.Errorf("generating without an HSM: want CKR_DEVICE_ERROR: %v", err)
	}
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "later", "--so-pin", "1234", "--pin", "1234").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	// No C_GetSlotList, no C_Initialize: the session goes on.
	deadline := time.Now().Add(90 * time.Second)
	for err = generate(); err != nil && time.Now().Before(deadline); err = generate() {
		time.Sleep(100 * time.Millisecond)
	}
	must(t, err)
	mechanisms, err := module.GetMechanismList(slots[0])
	must(t, err)
	if len(mechanisms) == 0 {
		t.Error("the token still shows no mechanisms")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
