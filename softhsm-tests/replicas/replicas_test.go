// Package replicas runs several daemons on one PostgreSQL: whichever is asked, it is one key store.
package replicas

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// two starts two daemons on one new database, with a token in it that both are logged in to.
func two(t *testing.T) (a, b *client) {
	t.Helper()
	const tables = "[audit]\nstrict = true\n"
	first := daemontest.Start(t, daemontest.Options{Store: postgrestest.Shared(t).Database(t), Tables: tables})
	second := daemontest.Start(t, daemontest.Options{Replica: first, Tables: tables})
	a, b = dial(t, first), dial(t, second)
	for _, c := range []*client{a, b} {
		c.find(t)
		if err := c.login(within(t), first.UserPIN); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func wantKind(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("%s: %v", what, err)
	}
}

// wantVerified lets a daemon verify the audit, and returns what it says.
func wantVerified(t *testing.T, c *client) string {
	t.Helper()
	out := c.CLI(t, "audit", "verify")
	t.Log(strings.TrimSpace(out))
	return out
}

// What is made through one daemon is there through the other; a ticket of one is good for the other.
func TestOneStore(t *testing.T) {
	a, b := two(t)
	made, err := a.generate(within(t), rand.Text(), "made by a")
	if err != nil {
		t.Fatal(err)
	}
	if labels := b.listed(t); labels["made by a"] != 1 {
		t.Errorf("b lists %v", labels)
	}
	if err := b.sign(within(t), made); err != nil {
		t.Error(err)
	}
	own := b.ticket
	b.ticket = a.ticket
	if err := b.sign(within(t), made); err != nil {
		t.Errorf("with a's ticket: %v", err)
	}
	b.ticket = own

	// The module and the CLI see one store as well.
	if out := b.CLI(t, "key", "list", "--token", "test"); !strings.Contains(out, "made by a") {
		t.Errorf("the CLI lists %s", out)
	}
	b.CLI(t, "key", "delete", "made by a", "--token", "test", "--yes")
	if err := a.sign(within(t), made); err == nil {
		t.Error("a key that was deleted through b signs through a")
	}
	if labels := a.listed(t); len(labels) != 0 {
		t.Errorf("a lists %v", labels)
	}
	wantVerified(t, a)
}

// Many calls with one request id through both daemons make one key, and all get it.
func TestSameRequest(t *testing.T) {
	a, b := two(t)
	for round := range 5 {
		request, label := rand.Text(), fmt.Sprint("round ", round)
		keys := make([]key, 12)
		var all sync.WaitGroup
		for n := range keys {
			all.Go(func() {
				var err error
				if keys[n], err = []*client{a, b}[n%2].generate(within(t), request, label); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, k := range keys {
			if k.id == 0 || k.id != keys[0].id || k.public == nil || !k.public.Equal(keys[0].public) {
				t.Errorf("round %d: %d and %d", round, k.id, keys[0].id)
			}
		}
		if n := b.listed(t)[label]; n != 1 {
			t.Errorf("round %d: %d keys", round, n)
		}
	}
	wantVerified(t, b)
}

// Whoever tries PINs through both daemons gets as many tries as through one, and both stay locked.
func TestTries(t *testing.T) {
	a, b := two(t)
	var wrong, locked atomic.Int64
	var all sync.WaitGroup
	for n := range 40 {
		all.Go(func() {
			c := *[]*client{a, b}[n%2]
			err := c.login(within(t), fmt.Sprint("wrong ", n))
			switch {
			case fault.Is(err, fault.PINIncorrect):
				wrong.Add(1)
			case fault.Is(err, fault.PINLocked):
				locked.Add(1)
			default:
				t.Errorf("try %d: %v", n, err)
			}
		})
	}
	all.Wait()
	if wrong.Load() != 10 || locked.Load() != 30 {
		t.Errorf("%d tries were looked at, %d were not", wrong.Load(), locked.Load())
	}
	for _, c := range []*client{a, b} {
		wantKind(t, "the right PIN", c.login(within(t), c.UserPIN), fault.PINLocked)
	}
	a.CLI(t, "token", "unlock", "test")
	if err := b.login(within(t), b.UserPIN); err != nil {
		t.Errorf("after unlocking: %v", err)
	}
	wantVerified(t, a)
}

// A grant that one daemon takes away is gone in the other at once; so is a token.
func TestRevoked(t *testing.T) {
	a, b := two(t)
	soon := func(what string, done func() bool) {
		t.Helper()
		begin := time.Now()
		for !done() {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("%s: b does not see it", what)
			}
			time.Sleep(time.Millisecond)
		}
		t.Logf("%s: after at most %v", what, time.Since(begin))
	}
	made, err := b.generate(within(t), rand.Text(), "key")
	if err != nil {
		t.Fatal(err)
	}
	// The caller's own uid becomes an application, which may do what it is granted and no more.
	uid := fmt.Sprint(os.Getuid())
	a.CLI(t, "app", "add", "mail", "--user", uid, "--grant", "test")
	soon("the grant", func() bool {
		err := b.login(within(t), b.UserPIN)
		return err == nil && b.sign(within(t), made) == nil
	})
	time.Sleep(100 * time.Millisecond)
	a.CLI(t, "app", "revoke", "mail", "test")
	soon("its end", func() bool { return b.sign(within(t), made) != nil })
	for range 20 {
		if b.sign(within(t), made) == nil {
			t.Error("a revoked grant is good again")
		}
	}
	a.CLI(t, "app", "revoke", "mail", "--all")
	soon("the application's end", func() bool {
		err := b.login(within(t), b.UserPIN)
		return err == nil && b.sign(within(t), made) == nil
	})
	a.CLI(t, "token", "delete", "test", "--force", "--yes")
	soon("the token's end", func() bool { return b.sign(within(t), made) != nil })
}

// Both daemons make and use keys while something happens; then all that was acknowledged is there once, and in the
// audit.
func underLoad(t *testing.T, a, b *client, happens func()) {
	t.Helper()
	stop := make(chan struct{})
	var mu sync.Mutex
	made := map[string]bool{}
	var signatures atomic.Int64
	var slowest atomic.Int64
	var all sync.WaitGroup
	for w := range 6 {
		c := []*client{a, b}[w%2]
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				begin := time.Now()
				label := fmt.Sprintf("key %d.%d", w, n)
				k, err := c.generate(within(t), rand.Text(), label)
				if err != nil {
					t.Errorf("%s: %v", label, err)
					return
				}
				mu.Lock()
				made[label] = true
				mu.Unlock()
				for range 5 {
					if err := c.sign(within(t), k); err != nil {
						t.Errorf("a signature: %v", err)
						return
					}
					signatures.Add(1)
				}
				for {
					took, before := int64(time.Since(begin)), slowest.Load()
					if took <= before || slowest.CompareAndSwap(before, took) {
						break
					}
				}
			}
		})
	}
	happens()
	close(stop)
	all.Wait()
	for _, c := range []*client{a, b} {
		labels := c.listed(t)
		if len(labels) != len(made) {
			t.Errorf("%d keys are listed, %d were made", len(labels), len(made))
		}
		for label := range made {
			if labels[label] != 1 {
				t.Errorf("%s is there %d times", label, labels[label])
			}
		}
	}
	// Strict: each signature was in the audit before it was answered.
	var events int64
	if _, err := fmt.Sscanf(wantVerified(t, a), "Intact: %d events", &events); err != nil || events < int64(len(made))+signatures.Load() {
		t.Errorf("%d events for %d keys and %d signatures, %v", events, len(made), signatures.Load(), err)
	}
	t.Logf("%d keys, %d signatures, the slowest key with its signatures took %v", len(made), signatures.Load(), time.Duration(slowest.Load()))
	if len(made) < 10 {
		t.Error("there was hardly any load")
	}
}

func TestConcurrentLoad(t *testing.T) {
	a, b := two(t)
	underLoad(t, a, b, func() { time.Sleep(2 * time.Second) })
}

// PostgreSQL crashes and is restarted, and shut down and started: callers see at most that they should call again.
func TestServerRestarts(t *testing.T) {
	server := postgrestest.Shared(t)
	a, b := two(t)
	a.again, b.again = true, true
	underLoad(t, a, b, func() {
		for _, end := range []func(){server.Crash, server.Shut} {
			time.Sleep(500 * time.Millisecond)
			end()
			time.Sleep(200 * time.Millisecond)
			if err := server.Start(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(500 * time.Millisecond)
	})
}

// A daemon is killed in the middle of its work. Whoever repeats its unanswered requests through the other gets one key
// for each.
func TestKilledDaemon(t *testing.T) {
	a, b := two(t)
	made := make(chan string, 10_000)
	var repeated atomic.Int64
	var all sync.WaitGroup
	killed := make(chan struct{})
	for w := range 4 {
		all.Go(func() {
			for n := 0; ; n++ {
				label, request := fmt.Sprintf("key %d.%d", w, n), rand.Text()
				k, err := a.generate(within(t), request, label)
				if err != nil {
					<-killed
					repeated.Add(1)
					k, err = b.generate(within(t), request, label)
				}
				if err == nil {
					err = b.sign(within(t), k)
				}
				if err != nil {
					t.Error(err)
				}
				made <- label
				select {
				case <-killed:
					return
				default:
				}
			}
		})
	}
	time.Sleep(700 * time.Millisecond)
	a.Kill()
	close(killed)
	all.Wait()
	close(made)
	labels, count := b.listed(t), 0
	for label := range made {
		if count++; labels[label] != 1 {
			t.Errorf("%s is there %d times", label, labels[label])
		}
	}
	if len(labels) != count || repeated.Load() == 0 {
		t.Errorf("%d keys are listed, %d were made, %d requests were repeated", len(labels), count, repeated.Load())
	}
	wantVerified(t, b)
}

// A daemon that is stopped in the middle of its work does not keep the other from working.
func TestStoppedDaemon(t *testing.T) {
	a, b := two(t)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := a.generate(within(t), rand.Text(), "a"); err != nil && t.Context().Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		a.Signal(syscall.SIGSTOP)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		begin := time.Now()
		k, err := b.generate(ctx, rand.Text(), "b")
		if err == nil {
			err = b.sign(ctx, k)
		}
		cancel()
		if err != nil {
			t.Errorf("b, while a is stopped: %v", err)
		}
		t.Logf("b's key took %v", time.Since(begin))
		a.Signal(syscall.SIGCONT)
	}
	close(stop)
	load.Wait()
	wantVerified(t, b)
}
