package daemontest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// SoftHSMLibrary is Debian's SoftHSM, the reference of all tests.
const SoftHSMLibrary = "/usr/lib/softhsm/libsofthsm2.so"

// SoftHSMToken and SoftHSMPIN open the token behind the provider hsm directly; SOFTHSM2_CONF is softhsm2.conf in the
// daemon's directory.
const SoftHSMToken, SoftHSMPIN = "anyhsm", "softhsm-pin-42"

// softHSM makes a SoftHSM token in the daemon's directory and returns the configuration of a provider on it.
func (d *Daemon) softHSM() string {
	d.t.Helper()
	const label, pin = SoftHSMToken, SoftHSMPIN
	tokens, configuration := filepath.Join(d.Dir, "softhsm"), filepath.Join(d.Dir, "softhsm2.conf")
	check(d.t, os.Mkdir(tokens, 0o700))
	check(d.t, os.WriteFile(configuration, fmt.Appendf(nil, "directories.tokendir = %s\nlog.level = ERROR\n", tokens), 0o600))
	d.environment = []string{"SOFTHSM2_CONF=" + configuration}
	command := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin)
	command.Env = append(os.Environ(), d.environment...)
	if out, err := command.CombinedOutput(); err != nil {
		d.t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	secret := filepath.Join(d.Dir, "state", "softhsm.pin")
	check(d.t, os.WriteFile(secret, []byte(pin), 0o600))
	return fmt.Sprintf(`[[provider]]
name = "hsm"
kind = "hsm"
library = %q
token = %q
pin = %q
`, SoftHSMLibrary, label, "file:"+secret)
}
