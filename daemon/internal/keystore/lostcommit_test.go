package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// relay stands between a store and its server. It can cut a connection right when a commit has passed, or right before:
// the store cannot tell one from the other.
type relay struct {
	target string
	// before and after are how many commits are still to be cut.
	before, after atomic.Int64
}

// start returns the URL of the database through the relay.
func (r *relay) start(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	r.target = filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(client)
		}
	}()
	return fmt.Sprintf("postgres://%s@%s?host=%s&port=5432", u.User.Username(), u.Path, dir)
}

func (r *relay) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", r.target)
	if err != nil {
		return
	}
	defer server.Close()
	cut := atomic.Bool{}
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if err != nil || cut.Load() {
				client.Close()
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(bytes.ToLower(buffer[:n]), []byte("commit\x00")) {
			if r.before.Add(-1) >= 0 {
				return
			}
			if r.after.Add(-1) >= 0 {
				cut.Store(true)
			}
		}
		if _, err := io.Copy(server, bytes.NewReader(buffer[:n])); err != nil {
			return
		}
	}
}

// The answer to a commit is lost. Whether it took place or not, the change is made once, and the caller does not hear of it.
func TestLostCommit(t *testing.T) {
	r := &relay{}
	dsn := r.start(t, onPostgres.make(t))
	s := open(t, dsn)
	token := newToken(t, s, "a")
	now := time.Now()
	changes := map[string]func(n string) error{
		"with a request id": func(n string) error {
			number, _ := strconv.Atoi(n)
			_, err := makeObject(t.Context(), s, token.UID, number)
			return err
		},
		"with an event": func(n string) error {
			_, replayed, err := s.Change(t.Context(), Change{Event: audit.Event{Operation: "test"}}, func(tx *Tx) ([]byte, error) {
				return nil, tx.UseTicket("event "+n, now)
			})
			if replayed {
				err = errors.New("a first request was called a repetition")
			}
			return err
		},
		"with neither": func(n string) error {
			_, replayed, err := s.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.UseTicket("bare "+n, now) })
			if replayed {
				err = errors.New("a first request was called a repetition")
			}
			return err
		},
		"events": func(string) error {
			return s.AppendEvents(t.Context(), []audit.Event{{Operation: "sign"}, {Operation: "sign"}})
		},
		"a PIN": func(string) error {
			_, err := s.TryPIN(t.Context(), token.UID, true, 10, right)
			return err
		},
	}
	n := 0
	for what, do := range changes {
		for _, cut := range []*atomic.Int64{&r.before, &r.after} {
			for _, times := range []int64{1, 2} {
				n++
				cut.Store(times)
				if err := do(strconv.Itoa(n)); err != nil {
					t.Errorf("%s, cut %d times: %v", what, times, err)
				}
				if left := cut.Swap(0); left == times {
					t.Errorf("%s: no commit was cut", what)
				}
			}
		}
	}
	if objects, err := s.CountObjects(t.Context(), token.UID); err != nil || objects != 4 {
		t.Errorf("%d objects, %v", objects, err)
	}
	// The token's, of the objects, of the tickets, and two of each batch.
	if report := wantVerified(t, s); report.Events != 1+4+4+8 {
		t.Errorf("%d events", report.Events)
	}
	if got, err := s.Token(t.Context(), token.UID); err != nil || got.User.Failed != 0 {
		t.Errorf("%d wrong tries, %v", got.User.Failed, err)
	}
	// A wrong PIN is never counted less than once.
	r.after.Store(1)
	_, err := s.TryPIN(t.Context(), token.UID, true, 10, wrong)
	wantKind(t, "a wrong PIN", err, fault.PINIncorrect)
	if got, err := s.Token(t.Context(), token.UID); err != nil || got.User.Failed < 1 {
		t.Errorf("%d wrong tries, %v", got.User.Failed, err)
	}
}
