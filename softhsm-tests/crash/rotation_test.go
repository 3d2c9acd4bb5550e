package crash

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
	"github.com/anyhsm/anyhsm/softhsm-tests/target"
)

const (
	// killedRotations is how many rotations of the root key are killed on a file, killedShared on a server.
	killedRotations, killedShared = 40, 15
	// quietRotations is how many are left alone, under load.
	quietRotations = 8
)

// rootKey is what `anyhsm root-key show --json` says.
type rootKey struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

// replica is a daemon whose root key is rotated.
type replica struct {
	*daemontest.Daemon
	file string
}

func newReplica(d *daemontest.Daemon) replica {
	return replica{d, filepath.Join(d.Dir, "state", "root.key")}
}

func (r replica) show(t *testing.T) (state rootKey) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.CLI(t, "root-key", "show", "--json")), &state); err != nil {
		t.Fatal(err)
	}
	return state
}

// rotate asks for a rotation and returns when the CLI has ended, which repeats a call that a restart interrupted.
func (r replica) rotate(cli string) error {
	command := exec.Command(cli, "root-key", "rotate")
	command.Env = append(os.Environ(), r.Env()...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// begun waits until there is a next root key, so that a kill which follows falls into what comes after.
func (r replica) begun(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if r.staged() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the rotation does not begin")
		}
	}
}

func (r replica) staged() bool {
	_, err := os.Stat(r.file + ".next")
	return err == nil
}

// refusesRetired starts the daemon with root keys of before, none of which may open the store any more.
func (r replica) refusesRetired(t *testing.T) {
	t.Helper()
	retired, err := filepath.Glob(r.file + ".retired-*")
	if err != nil || len(retired) == 0 {
		t.Fatalf("no retired root keys: %v", err)
	}
	right, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	program, _ := daemontest.Programs(t)
	slices.Sort(retired)
	for _, file := range []string{retired[0], retired[len(retired)/2], retired[len(retired)-1]} {
		wrong, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.file, wrong, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "--config", r.ConfigFile).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is not the one that this store was made with") {
			t.Errorf("with %s: %v, %s", file, err, out)
		}
	}
	if err := os.WriteFile(r.file, right, 0o600); err != nil {
		t.Fatal(err)
	}
}

// random returns a source that a failing test names.
func random(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// upTo returns a random time below a bound.
func upTo(random *rand.Rand, bound time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(bound)))
}

// under runs work while applications make keys, sign, log out and in. They may not see an error. Work calls settled
// before it kills: a PIN that is tried when the daemon dies counts as a wrong one, so one must have been right since the
// kill before.
func under(t *testing.T, target target.Target, work func(settled func())) {
	t.Helper()
	made := make(chan string, 100_000)
	target.Env = append(target.Env, "LOGINS=1")
	stop := target.File("stop")
	done := make(chan error, applications)
	for number := range applications {
		go func() { done <- run(target, number, stop, made) }()
	}
	work(func() {
		t.Helper()
		before, deadline := len(made), time.Now().Add(30*time.Second)
		// One of the applications has made two keys, and logged in between.
		for len(made) <= before+applications && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	})
	if err := os.WriteFile(stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range applications {
		if err := <-done; err != nil {
			t.Errorf("an application saw an error: %v", err)
		}
	}
	close(made)
	wantAll(t, target, made)
}

// TestKilledRotation kills a daemon that is alone on its store again and again while it rotates its root key.
func TestKilledRotation(t *testing.T) {
	d := daemontest.Start(t, daemontest.Options{Tables: "[audit]\nstrict = true\n"})
	r, random := newReplica(d), random(t)
	_, cli := daemontest.Programs(t)
	start := time.Now()
	if err := r.rotate(cli); err != nil {
		t.Fatal(err)
	}
	usual := time.Since(start)
	rotated, between, changed := 0, 0, map[string]bool{}
	under(t, target.Of(t, "software", d), func(settled func()) {
		before := r.show(t)
		for round := range killedRotations {
			settled()
			ended := make(chan error, 1)
			go func() { ended <- r.rotate(cli) }()
			if round%2 == 0 {
				time.Sleep(upTo(random, usual+usual/2))
			} else {
				r.begun(t)
				time.Sleep(upTo(random, 5*time.Millisecond))
			}
			d.Kill()
			if r.staged() {
				between++
			}
			d.Restart()
			err := <-ended
			after := r.show(t)
			if err == nil {
				rotated++
				if after.Current == before.Current {
					t.Errorf("round %d: the rotation was acknowledged and did not happen", round)
				}
			}
			if changed[after.Current] && after.Current != before.Current {
				t.Fatalf("round %d: the root key %s is current again", round, after.Current)
			}
			if after.Current != before.Current {
				if _, err := os.Stat(r.file + ".retired-" + before.Current); err != nil {
					t.Errorf("round %d: the key before is lost: %v", round, err)
				}
			}
			changed[before.Current], before = true, after
		}
	})
	t.Logf("%d rotations killed, %d of them with two files, %d acknowledged, %d root keys seen; one takes %v",
		killedRotations, between, rotated, len(changed), usual)
	// Whether a kill falls between the two files is up to the machine's speed, and told above.
	if len(changed) < killedRotations/2 {
		t.Errorf("%d root keys after %d rotations", len(changed), killedRotations)
	}
	d.Kill()
	r.refusesRetired(t)
	d.Restart()
	wantIntact(t, d)
}

// TestRotationUnderLoad rotates the root key of a store in a file while applications work. Nothing fails.
func TestRotationUnderLoad(t *testing.T) {
	d := daemontest.Start(t, daemontest.Options{Tables: "[audit]\nstrict = true\n"})
	r := newReplica(d)
	_, cli := daemontest.Programs(t)
	seen := map[string]bool{}
	under(t, target.Of(t, "software", d), func(func()) {
		for range quietRotations {
			if err := r.rotate(cli); err != nil {
				t.Error(err)
			}
			seen[r.show(t).Current] = true
			time.Sleep(200 * time.Millisecond)
		}
	})
	if len(seen) != quietRotations {
		t.Errorf("%d root keys after %d rotations", len(seen), quietRotations)
	}
	wantIntact(t, d)
}

// TestKilledRotationOfReplicas does the same to two replicas on PostgreSQL, each with its own file: one or both die at
// any moment between the making of the next key and the end of the rotation.
func TestKilledRotationOfReplicas(t *testing.T) {
	const tables = "[audit]\nstrict = true\n"
	d := daemontest.Start(t, daemontest.Options{Store: postgrestest.Shared(t).Database(t), Tables: tables})
	first := newReplica(d)
	second := newReplica(daemontest.Start(t, daemontest.Options{Replica: d, Tables: tables}))
	second.ownRootKey(t, first)
	replicas, random := []replica{first, second}, random(t)
	_, cli := daemontest.Programs(t)

	of := target.Of(t, "postgres", d)
	both := of.Write(t, "module.toml", fmt.Appendf(nil, "endpoints = [%q, %q]\n", "unix://"+first.Socket, "unix://"+second.Socket))
	of.Env = []string{"ANYHSM_CONFIG=" + both}
	between, changed := 0, map[string]bool{}
	under(t, of, func(settled func()) {
		before := first.show(t).Current
		for round := range killedShared {
			settled()
			ended := make(chan error, 1)
			go func() { ended <- first.shareAndRotate(cli, second) }()
			victims := [][]replica{{first}, {second}, replicas}[round%3]
			if round%2 == 0 {
				first.begun(t)
			}
			time.Sleep(upTo(random, 300*time.Millisecond))
			for _, v := range victims {
				v.Kill()
				if v.staged() {
					between++
				}
			}
			for _, v := range victims {
				v.Restart()
			}
			if err := <-ended; err != nil {
				t.Logf("round %d: %v", round, err)
			}
			// Whatever was interrupted: the operator does it again, and it is done once.
			for deadline := time.Now().Add(time.Minute); first.show(t).Current == before; {
				if err := first.shareAndRotate(cli, second); err != nil && time.Now().After(deadline) {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			after := first.show(t).Current
			if other := second.show(t).Current; other != after {
				t.Errorf("round %d: the replicas have the root keys %s and %s", round, after, other)
			}
			if changed[after] {
				t.Fatalf("round %d: the root key %s is current again", round, after)
			}
			changed[before], before = true, after
		}
	})
	t.Logf("%d rotations killed, %d daemons with two files, %d root keys retired", killedShared, between, len(changed))
	for _, r := range replicas {
		r.Kill()
	}
	for _, r := range replicas {
		r.refusesRetired(t)
		r.Restart()
	}
	wantIntact(t, second.Daemon)
}

// ownRootKey gives a replica a file of its own, with the key that another one has.
func (r replica) ownRootKey(t *testing.T, other replica) {
	t.Helper()
	text, err := os.ReadFile(r.ConfigFile)
	if err == nil {
		err = os.WriteFile(r.ConfigFile, []byte(strings.ReplaceAll(string(text), other.file, r.file)), 0o600)
	}
	if err == nil {
		err = copyKey(other.file, r.file)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Restart()
}

func copyKey(from, to string) error {
	key, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, key, fs.FileMode(0o600))
}

// shareAndRotate does what an operator does: stage, copy, wait until the other has it, rotate.
func (r replica) shareAndRotate(cli string, other replica) error {
	run := func(at replica, words ...string) error {
		command := exec.Command(cli, words...)
		command.Env = append(os.Environ(), at.Env()...)
		if out, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("anyhsm %s: %w: %s", strings.Join(words, " "), err, out)
		}
		return nil
	}
	if err := run(r, "root-key", "stage"); err != nil {
		return err
	}
	if err := copyKey(r.file+".next", other.file+".next"); err != nil {
		return err
	}
	// Who is asked looks at once, not after some seconds.
	if err := run(other, "root-key", "show"); err != nil {
		return err
	}
	return r.rotate(cli)
}
