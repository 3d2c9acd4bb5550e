package chaos

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
)

// final looks at what is there at the end, in all ways there are.
func (c *cluster) final(t *testing.T, module string) history.Final {
	t.Helper()
	f := history.Final{ProviderKeys: map[string][]history.ProviderKey{keptToken: c.keptKeys(t)}}
	shown := history.View{Name: "a fresh module"}
	administered := history.View{Name: "the administrator's list", KeysOnly: true}
	for _, token := range []string{mainToken, keptToken} {
		shown.Objects = append(shown.Objects, c.dump(t, module, token)...)
		administered.Objects = append(administered.Objects, c.listed(t, token)...)
	}
	stored := history.View{Name: "the database"}
	c.query(t, `SELECT t.label, o.label, o.class, o.uid FROM objects o JOIN tokens t ON t.id = o.token_id`, func(rows pgx.Rows) error {
		var token, uid string
		var label []byte
		var number int64
		if err := rows.Scan(&token, &label, &number, &uid); err != nil {
			return err
		}
		class, err := classOf(uint64(number))
		stored.Objects = append(stored.Objects, history.Seen{Token: token, Name: string(label), Class: class, UID: uid})
		return err
	})
	f.Views = []history.View{shown, administered, stored}
	c.query(t, `SELECT operation, object, outcome FROM audit ORDER BY sequence`, func(rows pgx.Rows) error {
		var e history.Event
		err := rows.Scan(&e.Operation, &e.UID, &e.Outcome)
		f.Events = append(f.Events, e)
		return err
	})
	return f
}

func classOf(number uint64) (history.Class, error) {
	switch cryptoki.ObjectClass(number) {
	case cryptoki.CKO_PRIVATE_KEY:
		return history.Private, nil
	case cryptoki.CKO_PUBLIC_KEY:
		return history.Public, nil
	case cryptoki.CKO_DATA:
		return history.Data, nil
	}
	return "", fmt.Errorf("an object of class %#x", number)
}

// dump lets a fresh process read a token through the module.
func (c *cluster) dump(t *testing.T, module, token string) (seen []history.Seen) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "ANYHSM_CHAOS=dump", "NAME=dump", "MODULE="+c.module, "TOKEN="+token, "PIN="+userPIN, "ANYHSM_CONFIG="+module, "ANYHSM_SOCKET=")
	var errors strings.Builder
	command.Stderr = &errors
	out, err := command.Output()
	if err != nil {
		t.Fatalf("the token %s cannot be read: %v: %s", token, err, errors.String())
	}
	must(t, json.Unmarshal(out, &seen))
	return seen
}

// listed is what the administrator sees of a token's keys.
func (c *cluster) listed(t *testing.T, token string) (seen []history.Seen) {
	t.Helper()
	out, err := c.replicas[0].admin(nil, "key", "list", "--token", token, "--json")
	must(t, err)
	var keys []struct{ UID, Label, Class string }
	must(t, json.Unmarshal([]byte(out), &keys))
	for _, k := range keys {
		if k.Class == "CKO_PRIVATE_KEY" {
			seen = append(seen, history.Seen{Token: token, Name: k.Label, Class: history.Private, UID: k.UID})
		}
	}
	return seen
}

// keptKeys are the keys in the key server.
func (c *cluster) keptKeys(t *testing.T) (keys []history.ProviderKey) {
	t.Helper()
	out, err := c.replicas[0].admin(nil, "provider", "keys", "kms", "--json")
	must(t, err)
	var found []struct{ Reference, Token string }
	must(t, json.Unmarshal([]byte(out), &found))
	for _, k := range found {
		keys = append(keys, history.ProviderKey{Reference: k.Reference, Owned: k.Token != ""})
	}
	return keys
}
