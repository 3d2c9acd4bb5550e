package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
)

// TestEndpoints looks at what applications feel of one replica at a time: one that is stopped costs each of them a call
// or two, one that is ended properly nothing, and one that is back is used again.
func TestEndpoints(t *testing.T) {
	const signers, stopped = 8, 5 * time.Second
	c := newCluster(t, replicas, "")
	must(t, os.Mkdir(historyDir(c), 0o755))
	var all sync.WaitGroup
	for n := range signers {
		c.drive(t, &all, fmt.Sprint("signer-", n), "signer", mainToken)
	}
	time.Sleep(3 * time.Second)
	type span struct {
		what     string
		from, to time.Time
		// slow is how many calls of one application may take over 2.5 seconds, most how long one may take.
		slow int
		most time.Duration
	}
	var spans []span
	note := func(what string, slow int, most time.Duration, do func()) {
		s := span{what: what, from: time.Now(), slow: slow, most: most}
		do()
		// What began meanwhile ends after it.
		time.Sleep(2 * time.Second)
		s.to = time.Now()
		spans = append(spans, s)
	}
	for _, r := range c.replicas {
		note(fmt.Sprint("SIGSTOP of ", r.number), 3, 15*time.Second, func() {
			must(t, r.signal(syscall.SIGSTOP))
			time.Sleep(stopped)
			must(t, r.signal(syscall.SIGCONT))
			must(t, r.wait())
		})
	}
	for _, r := range c.replicas {
		note(fmt.Sprint("SIGTERM of ", r.number), 2, 10*time.Second, func() {
			must(t, r.end(syscall.SIGTERM))
			must(t, r.start())
		})
	}
	// All go to the last one; when the others are back, those whom chance gave them return.
	for _, r := range c.replicas[:2] {
		must(t, r.end(syscall.SIGTERM))
	}
	time.Sleep(2 * time.Second)
	for _, r := range c.replicas[:2] {
		must(t, r.start())
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		a, err := c.replicas[0].signatures()
		must(t, err)
		b, err := c.replicas[1].signatures()
		must(t, err)
		if a+b > 20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("replicas that came back are not used again: %d and %d signatures", a, b)
		}
	}
	must(t, os.WriteFile(c.stopFile(), nil, 0o644))
	all.Wait()
	records, err := history.Load(historyDir(c))
	must(t, err)
	for _, sentence := range history.Check(records, c.final(t, filepath.Join(c.dir, "signer-0", "chaos.toml")), history.Rules{Longest: longest}) {
		t.Error(sentence)
	}
	for _, s := range spans {
		begun, slow := map[string]time.Time{}, map[string]int{}
		calls, slowest := 0, time.Duration(0)
		for _, r := range records {
			key := fmt.Sprint(r.Process, "/", r.ID)
			if r.Phase == history.Invoke {
				begun[key] = r.Time
				continue
			}
			if begun[key].Before(s.from) || begun[key].After(s.to) {
				continue
			}
			calls++
			took := r.Time.Sub(begun[key])
			slowest = max(slowest, took)
			if took > 2500*time.Millisecond {
				slow[r.Process]++
			}
		}
		t.Logf("%s: %d calls, the slowest took %v; over 2.5 seconds: %v", s.what, calls, slowest.Round(time.Millisecond), slow)
		if slowest > s.most {
			t.Errorf("%s: a call took %v", s.what, slowest)
		}
		for process, n := range slow {
			if n > s.slow {
				t.Errorf("%s: %s had %d slow calls", s.what, process, n)
			}
		}
	}
}
