package keyservice_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func dataObject(value string, private bool, more ...cryptoki.Attribute) cryptoki.Attributes {
	return append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_DATA), tokenOn, cryptoki.Bool(cryptoki.CKA_PRIVATE, private),
		cryptoki.String(cryptoki.CKA_LABEL, "note"), cryptoki.String(cryptoki.CKA_VALUE, value),
	}, more...)
}

func TestOperationsNeedTheirGrant(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	all := f.user(f.application("all", token, everything...), token)
	kept, _, err := f.CreateObject(f.ctx, again(all), dataObject("kept", false))
	ok(t, err)
	none := cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, "new")}
	for _, c := range []struct {
		name string
		have []policy.Operation
		do   func(call keyservice.Call) error
		want cryptoki.RV
	}{
		{"create with use", []policy.Operation{policy.Use}, func(call keyservice.Call) error {
			_, _, err := f.CreateObject(f.ctx, call, dataObject("x", false))
			return err
		}, cryptoki.CKR_TOKEN_WRITE_PROTECTED},
		{"create with create", []policy.Operation{policy.Use, policy.Create}, func(call keyservice.Call) error {
			_, _, err := f.CreateObject(f.ctx, call, dataObject("x", false))
			return err
		}, cryptoki.CKR_OK},
		{"generate a pair with use", []policy.Operation{policy.Use}, func(call keyservice.Call) error {
			_, _, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(true), onToken())
			return err
		}, cryptoki.CKR_TOKEN_WRITE_PROTECTED},
		{"generate a session pair with use", []policy.Operation{policy.Use}, func(call keyservice.Call) error {
			_, _, _, err := f.GenerateKeyPair(f.ctx, call, ecGen, p256(false), nil)
			return err
		}, cryptoki.CKR_OK},
		{"change with create", []policy.Operation{policy.Use, policy.Create}, func(call keyservice.Call) error {
			_, _, err := f.SetAttributes(f.ctx, call, ref(kept), none)
			return err
		}, cryptoki.CKR_TOKEN_WRITE_PROTECTED},
		{"change with modify", []policy.Operation{policy.Use, policy.Modify}, func(call keyservice.Call) error {
			_, _, err := f.SetAttributes(f.ctx, call, ref(kept), none)
			return err
		}, cryptoki.CKR_OK},
		{"copy with modify", []policy.Operation{policy.Use, policy.Modify}, func(call keyservice.Call) error {
			_, _, err := f.CopyObject(f.ctx, call, ref(kept), nil)
			return err
		}, cryptoki.CKR_TOKEN_WRITE_PROTECTED},
		{"destroy with modify", []policy.Operation{policy.Use, policy.Modify}, func(call keyservice.Call) error {
			_, err := f.DestroyObject(f.ctx, call, kept.ID)
			return err
		}, cryptoki.CKR_TOKEN_WRITE_PROTECTED},
		{"destroy with destroy", []policy.Operation{policy.Use, policy.Destroy}, func(call keyservice.Call) error {
			_, err := f.DestroyObject(f.ctx, call, kept.ID)
			return err
		}, cryptoki.CKR_OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do(f.user(f.application("app", token, c.have...), token))
			refused(t, err, c.want)
			events := f.events()
			if e := events[len(events)-1]; c.want != cryptoki.CKR_OK && (e.Outcome != c.want.String() || e.Application != "app") {
				t.Errorf("audit: %+v", e)
			}
		})
	}
}

func TestObjectsForbidThemselves(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	frozen, _, err := f.CreateObject(f.ctx, call, dataObject("x", false, cryptoki.Bool(cryptoki.CKA_MODIFIABLE, false),
		cryptoki.Bool(cryptoki.CKA_COPYABLE, false), cryptoki.Bool(cryptoki.CKA_DESTROYABLE, false)))
	ok(t, err)
	label := cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, "new")}
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(frozen), label)
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	_, _, err = f.CopyObject(f.ctx, again(call), ref(frozen), label)
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)
	_, err = f.DestroyObject(f.ctx, again(call), frozen.ID)
	refused(t, err, cryptoki.CKR_ACTION_PROHIBITED)

	_, private := f.pair(call)
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true)})
	refused(t, err, cryptoki.CKR_ATTRIBUTE_READ_ONLY)
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, false)})
	refused(t, err, cryptoki.CKR_ATTRIBUTE_READ_ONLY)
	_, _, err = f.GetSecretValue(f.ctx, call, ref(private))
	refused(t, err, cryptoki.CKR_ATTRIBUTE_SENSITIVE)
	_, _, err = f.CreateObject(f.ctx, again(call), cryptoki.Attributes{tokenOn})
	refused(t, err, cryptoki.CKR_TEMPLATE_INCOMPLETE)
}

func TestSecretValues(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	value := []byte("Kn0wn-K3y-Value!")
	key := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES), tokenOn,
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, false), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true), cryptoki.Bytes(cryptoki.CKA_VALUE, value),
	}
	made, _, err := f.CreateObject(f.ctx, call, key)
	ok(t, err)
	if made.Attributes.Has(cryptoki.CKA_VALUE) {
		t.Error("the value is among the open attributes")
	}
	secret, _, err := f.GetSecretValue(f.ctx, call, ref(made))
	ok(t, err)
	if !bytes.Equal(secret.Bytes(cryptoki.CKA_VALUE), value) {
		t.Error("another value came back")
	}
	if e := f.lastEvent("key.reveal"); e.Outcome != "OK" {
		t.Errorf("audit: %+v", e)
	}
	_, _, err = f.GetSecretValue(f.ctx, f.public(app, token), ref(made))
	refused(t, err, cryptoki.CKR_USER_NOT_LOGGED_IN)

	// Once sensitive, always so: no copy gives the value away.
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(made), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)})
	ok(t, err)
	_, _, err = f.GetSecretValue(f.ctx, call, ref(made))
	refused(t, err, cryptoki.CKR_ATTRIBUTE_SENSITIVE)
	copied, _, err := f.CopyObject(f.ctx, again(call), ref(made), cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, false)})
	ok(t, err)
	if len(copied.Secret) != 0 || len(copied.Sealed) == 0 {
		t.Error("the copy of a sensitive key is not sealed or shows its value")
	}

	// What a private data object holds is sealed too.
	note, _, err := f.CreateObject(f.ctx, again(call), dataObject("Kn0wn-N0te-Value", true))
	ok(t, err)
	if string(note.Attributes.Bytes(cryptoki.CKA_VALUE)) != "Kn0wn-N0te-Value" {
		t.Error("the data object lost its value")
	}
	changed, _, err := f.SetAttributes(f.ctx, again(call), ref(note), cryptoki.Attributes{cryptoki.String(cryptoki.CKA_VALUE, "Kn0wn-N0te-Other")})
	ok(t, err)
	if string(changed.Attributes.Bytes(cryptoki.CKA_VALUE)) != "Kn0wn-N0te-Other" {
		t.Error("the data object did not change")
	}
	_, err = f.DestroyObject(f.ctx, again(call), note.ID)
	ok(t, err)
	for _, file := range f.files() {
		content, err := os.ReadFile(file)
		ok(t, err)
		if bytes.Contains(content, value) || bytes.Contains(content, []byte("Kn0wn-N0te")) {
			t.Errorf("a secret is in the store's file %s", file)
		}
	}
	if bytes.Contains([]byte(f.log.String()), value) {
		t.Error("a secret is in the log")
	}
}

func TestListObjects(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	app := f.application("web", token, everything...)
	call := f.user(app, token)
	public, private := f.pair(call)

	listing, reply, err := f.ListObjects(f.ctx, f.public(app, token), 0, "")
	ok(t, err)
	if len(listing.Objects) != 1 || listing.Objects[0].ID != public.ID || !listing.Complete {
		t.Fatalf("a public session sees %d objects", len(listing.Objects))
	}
	listing, reply, err = f.ListObjects(f.ctx, call, 0, "")
	ok(t, err)
	if len(listing.Objects) != 2 || !listing.Complete {
		t.Fatalf("the user sees %d objects", len(listing.Objects))
	}
	revision := reply.Revision
	listing, reply, err = f.ListObjects(f.ctx, call, revision, "")
	ok(t, err)
	if len(listing.Objects) != 0 || listing.Complete || reply.Revision != revision {
		t.Fatalf("nothing changed, but the listing is %+v", listing)
	}
	_, _, err = f.SetAttributes(f.ctx, again(call), ref(private), cryptoki.Attributes{cryptoki.String(cryptoki.CKA_LABEL, "new")})
	ok(t, err)
	_, err = f.DestroyObject(f.ctx, again(call), public.ID)
	ok(t, err)
	listing, reply, err = f.ListObjects(f.ctx, call, revision, "")
	ok(t, err)
	if len(listing.Objects) != 1 || listing.Objects[0].ID != private.ID || listing.Complete ||
		len(listing.Removed) != 1 || listing.Removed[0] != public.ID || reply.Revision <= revision {
		t.Fatalf("the delta is %+v of revision %d", listing, reply.Revision)
	}
	// A revision that the token has not reached belongs to another store.
	listing, _, err = f.ListObjects(f.ctx, call, reply.Revision+1000, "")
	ok(t, err)
	if !listing.Complete || len(listing.Objects) != 1 {
		t.Fatalf("a revision from the future: %+v", listing)
	}
	for _, page := range []string{"x", "1.2", "1.2.3.4", "-1.2.3", " 1.2.3"} {
		_, _, err = f.ListObjects(f.ctx, call, 0, page)
		refused(t, err, cryptoki.CKR_ARGUMENTS_BAD)
	}
}

func TestListObjectsInPages(t *testing.T) {
	f := newFixture(t)
	token := f.token("t", "")
	call := f.user(f.application("web", token, everything...), token)
	value := string(bytes.Repeat([]byte("x"), 700<<10))
	for range 5 {
		_, _, err := f.CreateObject(f.ctx, again(call), dataObject(value, false))
		ok(t, err)
	}
	page, pages, total, revision := "", 0, 0, uint64(0)
	for {
		listing, reply, err := f.ListObjects(f.ctx, call, 0, page)
		ok(t, err)
		pages++
		total += len(listing.Objects)
		if revision == 0 {
			revision = reply.Revision
		}
		if !listing.Complete || reply.Revision != revision {
			t.Errorf("page %d: complete %v, revision %d instead of %d", pages, listing.Complete, reply.Revision, revision)
		}
		if page = listing.Next; page == "" {
			break
		}
		// A change meanwhile does not disturb the listing, and the next delta brings it.
		_, _, err = f.CreateObject(f.ctx, again(call), dataObject(fmt.Sprint(pages), false))
		ok(t, err)
	}
	if pages < 3 || total < 5 {
		t.Errorf("%d objects on %d pages", total, pages)
	}
	listing, _, err := f.ListObjects(f.ctx, call, revision, "")
	ok(t, err)
	if listing.Complete || len(listing.Objects) != pages-1 {
		t.Errorf("the delta has %d objects, want %d", len(listing.Objects), pages-1)
	}
}
