package keyservice_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// fill puts so many data objects into a token, "object 0" and on; every tenth is private.
func (f *fixture) fill(token string, objects int) {
	f.t.Helper()
	for first := 0; first < objects; first += 10_000 {
		_, _, err := f.store.Change(f.ctx, keystore.Change{Application: "test"}, func(tx *keystore.Tx) ([]byte, error) {
			for n := first; n < min(first+10_000, objects); n++ {
				if err := tx.CreateObject(&keystore.Object{Token: token, Attributes: cryptoki.Attributes{
					cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA), cryptoki.Bool(cryptoki.CKA_TOKEN, true),
					cryptoki.Bool(cryptoki.CKA_PRIVATE, n%10 == 0), cryptoki.String(cryptoki.CKA_LABEL, fmt.Sprint("object ", n)),
				}}); err != nil {
					return nil, err
				}
			}
			return nil, nil
		})
		ok(f.t, err)
	}
}

func TestFindObjects(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	user, public := f.user(app, token), f.public(app, token)
	labels := func(call keyservice.Call, wanted keyservice.Wanted) []string {
		t.Helper()
		found, narrowed, _, err := f.FindObjects(f.ctx, call, wanted)
		ok(t, err)
		if !narrowed {
			t.Error("a large token was not looked into")
		}
		var labels []string
		for _, o := range found {
			labels = append(labels, string(o.Attributes.Bytes(cryptoki.CKA_LABEL)))
		}
		return labels
	}
	f.fill(token, 1000)
	if _, narrowed, _, err := f.FindObjects(f.ctx, user, keyservice.Wanted{Label: []byte("object 7")}); err != nil || narrowed {
		t.Errorf("a token that fits a page: narrowed %v, %v", narrowed, err)
	}
	long := strings.Repeat("long", 100)
	secret := keyservice.NewKey{Spec: "aes:256", Label: long, ID: []byte("one id")}
	_, err := f.CreateKey(f.ctx, keyservice.Call{Caller: f.admin, Token: token}, secret)
	ok(t, err)
	for _, c := range []struct {
		call   keyservice.Call
		wanted keyservice.Wanted
		want   []string
	}{
		{user, keyservice.Wanted{Label: []byte("object 7")}, []string{"object 7"}},
		{public, keyservice.Wanted{Label: []byte("object 7")}, []string{"object 7"}},
		{user, keyservice.Wanted{Label: []byte("object 10")}, []string{"object 10"}},
		{public, keyservice.Wanted{Label: []byte("object 10")}, nil},
		{user, keyservice.Wanted{Label: []byte(long)}, []string{long}},
		{user, keyservice.Wanted{Label: []byte(long), ID: []byte("one id")}, []string{long}},
		{user, keyservice.Wanted{ID: []byte("one id")}, []string{long}},
		{user, keyservice.Wanted{Label: []byte(long), ID: []byte("another id")}, nil},
		{public, keyservice.Wanted{ID: []byte("one id")}, nil},
		{user, keyservice.Wanted{Label: []byte("nothing")}, nil},
		{user, keyservice.Wanted{Object: 8}, []string{"object 7"}},
		{public, keyservice.Wanted{Object: 11}, nil},
		{user, keyservice.Wanted{Object: 11}, []string{"object 10"}},
		{user, keyservice.Wanted{Object: 1 << 40}, nil},
	} {
		if got := labels(c.call, c.wanted); !slices.Equal(got, c.want) {
			t.Errorf("%q, %q, %d: found %q, want %q", c.wanted.Label, c.wanted.ID, c.wanted.Object, got, c.want)
		}
	}
	stranger := f.application("mail", f.token("other", ""), everything...)
	_, _, _, err = f.FindObjects(f.ctx, f.public(stranger, token), keyservice.Wanted{Object: 8})
	refused(t, err, cryptoki.CKR_TOKEN_NOT_PRESENT)
}

// BenchmarkFind is a search by label, in tokens of several sizes.
func BenchmarkFind(b *testing.B) {
	for _, size := range []int{2_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f, call := newBench(b)
			f.fill(call.Token, size)
			n := 0
			measure(b, func() error {
				n = (n*48271 + 1) % size
				found, _, _, err := f.FindObjects(b.Context(), call, keyservice.Wanted{Label: fmt.Appendf(nil, "object %d", n)})
				if err == nil && len(found) != 1 {
					err = fmt.Errorf("%d objects are called %d", len(found), n)
				}
				return err
			})
		})
	}
}
