// Package chaos runs three daemons on one PostgreSQL under eight applications, and breaks one thing after the other:
// processes, networks, the database, its disk, certificates, versions. Afterwards an independent judge compares what
// applications were told with what is there.
//
// `go test` runs a minute of it, `make test-chaos` CHAOS_TIME (4m). CHAOS_SEED repeats a schedule.
package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

const (
	replicas = 3
	// shortest is how long the short form runs. It does not see all kinds of faults.
	shortest = time.Minute
	// longest is what one call may take: the module's timeout, and what a machine under this load adds.
	longest = 45 * time.Second
	// lag is how long a failure may take from its cause to the application.
	lag = 5 * time.Second
)

// The applications: their names, and for those that are this program what they do and with which token.
var drivers = []struct{ name, role, token string }{
	{"keys-a", "keys", mainToken},
	{"keys-b", "keys", keptToken},
	{"objects-a", "objects", mainToken},
	{"objects-b", "objects", keptToken},
}

var programs = []string{"nginx-a", "nginx-b", "pkcs11-tool", "openssl"}

const applications = 8

func TestMain(m *testing.M) {
	if role := os.Getenv("ANYHSM_CHAOS"); role != "" {
		os.Exit(runApplication(role))
	}
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

func TestChaos(t *testing.T) {
	seed, length := settings(t)
	t.Logf("CHAOS_SEED=%d CHAOS_TIME=%v", seed, length)
	c := newCluster(t, replicas, "[audit]\nstrict = true\n")
	must(t, os.Mkdir(historyDir(c), 0o755))
	stop := make(chan struct{})
	names, wait := c.startApplications(t, stop)
	// Also when the test gives up.
	finish := sync.OnceFunc(func() {
		close(stop)
		if err := os.WriteFile(c.stopFile(), nil, 0o644); err != nil {
			t.Error(err)
		}
		wait()
	})
	t.Cleanup(finish)
	began := time.Now()
	done, windows := c.torment(t, plan(seed, length, replicas, applications), began, names)
	time.Sleep(time.Until(began.Add(length)))
	ended := time.Now()
	for _, r := range c.replicas {
		must(t, r.wait())
	}
	finish()
	records, err := history.Load(historyDir(c))
	must(t, err)
	report(t, records, done, began, ended)

	module := filepath.Join(c.dir, names[0], "chaos.toml")
	final := c.final(t, module)
	wrong := history.Check(records, final, history.Rules{
		Windows: windows, Longest: longest, NoEffect: []string{"CKR_DEVICE_MEMORY"}, Strict: true,
	})
	for i, sentence := range wrong {
		if i == 50 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(sentence)
	}
	out, err := c.replicas[replicas-1].admin(nil, "audit", "verify")
	must(t, err)
	if !strings.HasPrefix(out, fmt.Sprintf("Intact: %d events", len(final.Events))) {
		t.Errorf("the audit's %d events: %s", len(final.Events), out)
	}
	t.Logf("%s%d objects in %d ways of looking, %d keys in the key server, %d complaints",
		out, len(final.Views[0].Objects), len(final.Views), len(final.ProviderKeys[keptToken]), len(wrong))
	for _, r := range c.replicas {
		if log, err := os.ReadFile(r.log()); err != nil || strings.Contains(string(log), "panic") {
			t.Errorf("replica %d panicked (%v): %s", r.number, err, r.log())
		}
	}
	// A fault every four seconds at least, so sixty in four minutes.
	if least := int(length / (4 * time.Second)); len(done) < least {
		t.Errorf("only %d faults, want %d", len(done), least)
	}
}

// settings are the seed and the length of the run.
func settings(t *testing.T) (seed uint64, length time.Duration) {
	t.Helper()
	seed, length = rand.Uint64N(1_000_000), shortest
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, err)
	}
	if text := os.Getenv("CHAOS_TIME"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, err)
	}
	return seed, length
}

func (c *cluster) stopFile() string { return filepath.Join(c.dir, "stop") }

// startApplications starts all eight and returns how to wait for their ends.
func (c *cluster) startApplications(t *testing.T, stop <-chan struct{}) (names []string, wait func()) {
	t.Helper()
	var all sync.WaitGroup
	for _, name := range programs {
		p, r := c.program(t, name), newRecorder(t, c, name, stop)
		names = append(names, name)
		if name != "pkcs11-tool" {
			r.certified(p, name+"-key")
		}
		switch name {
		case "pkcs11-tool":
			all.Go(func() { r.toolLoop(p) })
		case "openssl":
			all.Go(func() { r.opensslLoop(p) })
		default:
			server := c.serve(t, p)
			all.Go(func() { r.handshakes(server, 2, 50*time.Millisecond) })
		}
	}
	for _, d := range drivers {
		names = append(names, d.name)
		c.drive(t, &all, d.name, d.role, d.token)
	}
	if len(names) != applications {
		t.Fatalf("%d applications", len(names))
	}
	return names, all.Wait
}

// drive starts this program as an application.
func (c *cluster) drive(t *testing.T, all *sync.WaitGroup, name, role, token string) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "ANYHSM_CHAOS="+role, "NAME="+name, "TOKEN="+token, "PIN="+userPIN, "MODULE="+c.module, "PAUSE=20ms",
		"STOP="+c.stopFile(), "HISTORY="+historyDir(c), "ANYHSM_CONFIG="+c.addApplication(t, name), "ANYHSM_SOCKET=")
	var errors strings.Builder
	command.Stderr = &errors
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, command.Start())
	all.Go(func() {
		if err := command.Wait(); err != nil {
			t.Errorf("the application %s: %v: %s", name, err, errors.String())
		}
	})
}

// happened is a fault that was injected.
type happened struct {
	fault
	from, to time.Time
}

// torment carries out the plan and returns what happened, and in which times what may fail.
func (c *cluster) torment(t *testing.T, faults []fault, began time.Time, names []string) (done []happened, windows []history.Window) {
	t.Helper()
	var mu, database sync.Mutex
	var all sync.WaitGroup
	var failed atomic.Bool
	for _, f := range faults {
		time.Sleep(time.Until(began.Add(f.at)))
		if failed.Load() {
			break
		}
		if f.kind.disturbs() {
			c.claim(f.target)
		}
		all.Go(func() {
			if f.kind.disturbs() {
				defer c.release(f.target)
			}
			if f.kind.database() {
				database.Lock()
				defer database.Unlock()
			}
			h := happened{fault: f, from: time.Now()}
			if err := c.inject(f, names); err != nil {
				failed.Store(true)
				t.Errorf("%s (%d): %v", f.kind, f.target, err)
			}
			h.to = time.Now()
			mu.Lock()
			defer mu.Unlock()
			done = append(done, h)
			if f.kind == diskFull {
				windows = append(windows, history.Window{
					From: h.from, To: h.to.Add(lag), Errors: []string{"CKR_DEVICE_MEMORY"}, Why: "the database's disk is full",
				})
			}
		})
	}
	all.Wait()
	slices.SortFunc(done, func(a, b happened) int { return a.from.Compare(b.from) })
	return done, windows
}
