package replicas

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
	"github.com/anyhsm/anyhsm/softhsm-tests/postgrestest"
)

// Two replicas get one request for a key in an HSM, and the database refuses every other object. Whoever fails destroys
// the key that it made, but never the one that the other has stored: who gets an answer has a key that signs.
func TestOrphanOfTheOther(t *testing.T) {
	server := postgrestest.Shared(t)
	url := server.Database(t)
	first := daemontest.Start(t, daemontest.Options{Store: url, Provider: "hsm"})
	a := dial(t, first)
	b := dial(t, daemontest.Start(t, daemontest.Options{Replica: first}))
	for _, c := range []*client{a, b} {
		c.find(t)
		if err := c.login(within(t), first.UserPIN); err != nil {
			t.Fatal(err)
		}
	}
	name := strings.TrimPrefix(url[strings.LastIndex(url[:strings.Index(url, "?")], "/"):strings.Index(url, "?")], "/")
	server.Run(t, name, `CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN
		IF random() < 0.4 THEN RAISE EXCEPTION 'refused by the test'; END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
		CREATE TRIGGER refuse BEFORE INSERT ON objects FOR EACH ROW EXECUTE FUNCTION refuse()`)
	const rounds = 15
	failed := 0
	for round := range rounds {
		request, label := rand.Text(), fmt.Sprint("round ", round)
		keys := make([]key, 2)
		var mu sync.Mutex
		var both sync.WaitGroup
		for n, c := range []*client{a, b} {
			both.Go(func() {
				for range 60 {
					made, err := c.generate(within(t), request, label)
					if err == nil {
						keys[n] = made
						return
					}
					mu.Lock()
					failed++
					mu.Unlock()
				}
				t.Errorf("%s: no key after 60 tries", label)
			})
		}
		both.Wait()
		if keys[0].id != keys[1].id {
			t.Errorf("%s: %d and %d", label, keys[0].id, keys[1].id)
		}
		for n, c := range []*client{a, b} {
			if err := c.sign(within(t), keys[n]); err != nil {
				t.Errorf("%s: its key is gone: %v", label, err)
			}
		}
	}
	t.Logf("%d keys, %d attempts were refused", rounds, failed)
	if labels := a.listed(t); len(labels) != rounds {
		t.Errorf("%d keys are listed: %v", len(labels), labels)
	}
	if failed == 0 {
		t.Error("nothing was refused")
	}
	wantVerified(t, a)
}
