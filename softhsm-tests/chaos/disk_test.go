package chaos

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
)

// TestFullDisk fills the disk of the database while nothing else is wrong and the audit is not strict: changes fail and
// say why, signing goes on, afterwards everything works again, and the audit has every signature.
func TestFullDisk(t *testing.T) {
	c := newCluster(t, 2, "")
	must(t, os.Mkdir(historyDir(c), 0o755))
	var all sync.WaitGroup
	c.drive(t, &all, "signer", "signer", mainToken)
	c.drive(t, &all, "objects", "objects", mainToken)
	time.Sleep(2 * time.Second)
	window := history.Window{
		From: time.Now(), Errors: []string{"CKR_DEVICE_MEMORY"}, Why: "the database's disk is full",
		Spared: []history.Kind{history.Sign, history.Verify, history.Read},
	}
	must(t, c.disk.fill())
	failed := func(after time.Time, phase history.Phase) (n int) {
		records, err := history.Load(historyDir(c))
		must(t, err)
		for _, r := range records {
			if r.Process == "objects" && r.Phase == phase && r.Time.After(after) {
				n++
			}
		}
		return n
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !done(); time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not happen", what)
			}
		}
	}
	await("a change that fails for want of room", func() bool { return failed(window.From, history.Fail) > 5 })
	time.Sleep(3 * time.Second)
	must(t, c.disk.free())
	window.To = time.Now().Add(lag)
	await("a change that succeeds when there is room again", func() bool { return failed(window.To, history.OK) > 20 })
	must(t, os.WriteFile(c.stopFile(), nil, 0o644))
	all.Wait()
	records, err := history.Load(historyDir(c))
	must(t, err)
	report(t, records, nil, window.From, window.To)
	signed := 0
	for _, r := range records {
		if r.Process == "signer" && r.Phase == history.OK && r.Time.After(window.From) && r.Time.Before(window.To) {
			signed++
		}
	}
	if signed < 20 {
		t.Errorf("only %d signatures while the disk was full", signed)
	}
	// What could not be written waits to be written again.
	var wrong []string
	for deadline := time.Now().Add(patience); ; time.Sleep(500 * time.Millisecond) {
		wrong = history.Check(records, c.final(t, filepath.Join(c.dir, "signer", "chaos.toml")), history.Rules{
			Windows: []history.Window{window}, Longest: longest, NoEffect: []string{"CKR_DEVICE_MEMORY"}, Strict: true,
		})
		if len(wrong) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, sentence := range wrong {
		t.Error(sentence)
	}
	out, err := c.replicas[0].admin(nil, "audit", "verify")
	must(t, err)
	t.Logf("%s%d signatures while the disk was full", out, signed)
}
