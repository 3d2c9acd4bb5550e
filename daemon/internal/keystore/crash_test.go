package keystore

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// crashEnv makes the test program a writer that is to be killed: "PATH TOKEN FIRST".
const crashEnv = "ANYHSM_TEST_CRASH"

func TestMain(m *testing.M) {
	if job := os.Getenv(crashEnv); job != "" {
		if err := writeUntilKilled(strings.Fields(job)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

// writeUntilKilled makes objects under request ids that count up, and strict audit events beside them. It says what was
// acknowledged, line by line.
func writeUntilKilled(job []string) error {
	path, token := job[0], job[1]
	first, err := strconv.Atoi(job[2])
	if err != nil {
		return err
	}
	s, err := Open(context.Background(), path)
	if err != nil {
		return err
	}
	s.Authenticate(keyed("root"))
	log := audit.NewLog(s, audit.Options{Strict: true})
	for w := range 4 {
		go func() {
			for n := 0; ; n++ {
				detail := fmt.Sprintf("%d.%d.%d", first, w, n)
				if err := log.Record(context.Background(), audit.Event{Operation: "sign", Detail: detail}); err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Println("event", detail)
			}
		}()
	}
	for n := first; ; n++ {
		if _, err := makeObject(context.Background(), s, token, n); err != nil {
			return err
		}
		fmt.Println("object", n)
	}
}

func makeObject(ctx context.Context, s *Store, token string, n int) (replayed bool, err error) {
	uid := fmt.Sprintf("%032d", n)
	c := Change{RequestID: fmt.Sprint("request-", n), Application: "web", Event: audit.Event{Operation: "key.create", Object: uid}}
	response, replayed, err := s.Change(ctx, c, func(tx *Tx) ([]byte, error) {
		o := Object{UID: uid, Token: token, Provider: "software", Ref: make([]byte, 1500)}
		return []byte(uid), tx.CreateObject(&o)
	})
	if err == nil && string(response) != uid {
		err = fmt.Errorf("the response to request %d is %q", n, response)
	}
	return replayed, err
}

// A writer is killed at random moments. Whatever it acknowledged is there once, a repeated request does not do its work
// again, and the audit verifies and has every event that a strict log acknowledged.
func TestKill(t *testing.T) { onEach(t, testKill) }

func testKill(t *testing.T, on database) {
	path := on.make(t)
	s := open(t, path)
	token := newToken(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next, doubtful := 0, 0
	var events []string
	for round := range 25 {
		objects, acknowledged := killed(t, path, token.UID, next, time.Duration(20+rand.IntN(80))*time.Millisecond)
		events = append(events, acknowledged...)
		last := next + objects

		s := open(t, path)
		// As a writer: a server may still be busy with what the killed one has sent last.
		var count uint64
		err := s.transact(t.Context(), func(tx *Tx) (err error) {
			count, err = tx.CountObjects(t.Context(), token.UID)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// One more may have been committed when its acknowledgement was cut off.
		if count != uint64(last) && count != uint64(last)+1 {
			t.Fatalf("round %d: %d objects are there, %d were acknowledged", round, count, last)
		}
		for n := range last {
			if round%5 != 4 && n < next {
				continue // looked at before; all of them now and then
			}
			if replayed, err := makeObject(t.Context(), s, token.UID, n); err != nil || !replayed {
				t.Fatalf("round %d: request %d was acknowledged, now replayed is %v, %v", round, n, replayed, err)
			}
		}
		// The client makes its unanswered request again.
		replayed, err := makeObject(t.Context(), s, token.UID, last)
		if err != nil || replayed != (count == uint64(last)+1) {
			t.Fatalf("round %d: the unanswered request: %v, %v", round, replayed, err)
		}
		if replayed {
			doubtful++
		}
		next = last + 1
		wantVerified(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}

	s = open(t, path)
	all, err := s.Objects(t.Context(), ObjectQuery{Token: token.UID})
	if err != nil || len(all) != next {
		t.Fatalf("%d objects of %d, %v", len(all), next, err)
	}
	recorded, err := s.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range recorded {
		seen[e.Detail+e.Object]++
	}
	for _, detail := range events {
		if seen[detail] != 1 {
			t.Errorf("the event %s was acknowledged and is there %d times", detail, seen[detail])
		}
	}
	for n := range next {
		if uid := fmt.Sprintf("%032d", n); seen[uid] != 1 {
			t.Errorf("object %d has %d events", n, seen[uid])
		}
	}
	if next < 25 || len(events) < 25 { // once a round, on a machine that is busy with other tests
		t.Errorf("only %d objects and %d events: the test saw too little", next, len(events))
	}
	t.Logf("%d objects, %d strict events, %d committed without an answer", next, len(events), doubtful)
}

// killed runs a writer, kills it after a while, and returns what it acknowledged.
func killed(t *testing.T, path, token string, first int, after time.Duration) (objects int, events []string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	writer := exec.Command(program)
	writer.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", crashEnv, path, token, first))
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	var begun sync.Once
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that was cut off was not acknowledged
		}
		// The moment counts from the first acknowledgement, however long the start takes.
		begun.Do(func() { timer = time.AfterFunc(after, func() { writer.Process.Kill() }) })
		what, detail, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "object":
			if detail != fmt.Sprint(first+objects) {
				t.Fatalf("object %s was acknowledged after %d", detail, first+objects-1)
			}
			objects++
		case "event":
			events = append(events, detail)
		default:
			t.Errorf("the writer says: %s", line)
		}
	}
	if timer != nil {
		timer.Stop()
	}
	if err := writer.Wait(); err == nil {
		t.Error("the writer ended by itself")
	}
	return objects, events
}
