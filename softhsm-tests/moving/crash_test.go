package moving

import (
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// TestCrash kills the daemon at each step of a copy. What it has left behind is found by the repeated command: there is
// one key in the service, and it is the object's.
func TestCrash(t *testing.T) {
	l := newLaboratory(t, "")
	_, cli := daemontest.Programs(t)
	for i, at := range []struct {
		operation string
		after     bool
	}{
		{"CreateKey", false},
		{"CreateKey", true},
		{"CreateAlias", true},
		{"GetParametersForImport", false},
		{"ImportKeyMaterial", false},
		{"ImportKeyMaterial", true},
		{"Sign", false},
		{"Sign", true},
	} {
		label := at.operation
		if at.after {
			label += " done"
		}
		t.Run(label, func(t *testing.T) {
			l.Daemon.CLI(t, "key", "create", label, "--type", "ec:p256", "--token", l.Token)
			l.certify(t, label)
			held := l.aws.holdOnce(at.operation, at.after)
			copying := l.Command(cli, "key", "copy", label, "--to", "aws", "--token", l.Token)
			if err := copying.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-held:
			case <-time.After(5 * time.Minute):
				t.Fatalf("%s never came", at.operation)
			}
			l.Daemon.Kill()
			_ = copying.Process.Kill()
			_ = copying.Wait()
			l.Daemon.Restart()
			// Nothing is recorded, and the key works.
			l.signs(t, label)
			if used, _ := l.place(t, "copy", label, "--to", "aws").used(); used != "software aws" {
				t.Errorf("the key is in %q", used)
			}
			if n := l.holds(t, "aws"); n != i+1 {
				t.Errorf("AWS has %d keys, not %d", n, i+1)
			}
			l.place(t, "move", label, "--to", "aws")
			l.signs(t, label)
		})
	}
}
