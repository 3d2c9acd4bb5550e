package keystore

import (
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestApplications(t *testing.T) { onEach(t, testApplications) }

func testApplications(t *testing.T, on database) {
	s := on.fresh(t)
	ctx := t.Context()
	token := newToken(t, s, "a")
	try := func(do func(tx *Tx) error) error {
		_, _, err := s.Change(ctx, Change{}, func(tx *Tx) ([]byte, error) { return nil, do(tx) })
		return err
	}
	put := func(a Application) error { return try(func(tx *Tx) error { return tx.PutApplication(a) }) }
	web := Application{
		Name: "web", Identities: []string{"cert:ab", "uid:33"}, CreateTokens: true,
		Grants: []Grant{{Token: token.UID, Operations: []string{"use", "create"}}, {Token: "other"}},
	}
	mail := Application{Name: "mail", Identities: []string{"uid:8"}}
	for _, a := range []Application{web, mail} {
		if err := put(a); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Application(ctx, "web")
	created := got.Created
	if time.Since(created) > time.Minute {
		t.Errorf("created %v", created)
	}
	web.Created = created
	if byToken := func(gs []Grant) bool { return gs[0].Token < gs[1].Token }; !byToken(web.Grants) {
		web.Grants[0], web.Grants[1] = web.Grants[1], web.Grants[0]
	}
	if err != nil || !reflect.DeepEqual(got, web) {
		t.Errorf("got %+v, %v, want %+v", got, err, web)
	}
	all, err := s.Applications(ctx)
	if err != nil || len(all) != 2 || all[0].Name != "mail" || !reflect.DeepEqual(all[1], web) || !reflect.DeepEqual(all[0].Identities, mail.Identities) {
		t.Errorf("all: %+v, %v", all, err)
	}

	wantKind(t, "an identity of another application", put(Application{Name: "ftp", Identities: []string{"uid:33"}}), fault.AlreadyExists)
	wantKind(t, "an identity twice", put(Application{Name: "ftp", Identities: []string{"uid:9", "uid:9"}}), fault.AlreadyExists)
	wantKind(t, "no name", put(Application{}), fault.InvalidInput)
	wantKind(t, "an operation with a space", put(Application{Name: "ftp", Grants: []Grant{{Operations: []string{"use so"}}}}), fault.InvalidInput)
	_, err = s.Application(ctx, "ftp")
	wantKind(t, "an application that failed", err, fault.NotFound)

	// Replacing takes away what is not named any more; a new day of creation does not come in.
	if err := put(Application{Name: "web", Identities: []string{"uid:34"}, Created: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Application(ctx, "web"); err != nil || !reflect.DeepEqual(got, Application{Name: "web", Identities: []string{"uid:34"}, Created: created}) {
		t.Errorf("replaced: %+v, %v", got, err)
	}
	if err := put(Application{Name: "ftp", Identities: []string{"uid:33"}, Grants: []Grant{{Token: token.UID, Operations: []string{"use"}}}}); err != nil {
		t.Errorf("an identity that is free again: %v", err)
	}

	// A deleted token takes the grants on it along.
	change(t, s, func(tx *Tx) error { _, err := tx.DeleteToken(token.UID); return err })
	if got, err := s.Application(ctx, "ftp"); err != nil || len(got.Grants) != 0 {
		t.Errorf("grants on a deleted token: %+v, %v", got, err)
	}
	change(t, s, func(tx *Tx) error { return tx.DeleteApplication("web") })
	_, err = s.Application(ctx, "web")
	wantKind(t, "a deleted application", err, fault.NotFound)
	wantKind(t, "deleting it again", try(func(tx *Tx) error { return tx.DeleteApplication("web") }), fault.NotFound)
}

// An identity never meets grants of another moment.
func TestApplicationsAreOfOneState(t *testing.T) { onEach(t, testApplicationsAreOfOneState) }

func testApplicationsAreOfOneState(t *testing.T, on database) {
	s := on.fresh(t)
	states := []Application{{Name: "web", Identities: []string{"uid:33"}}, {Name: "web", Grants: []Grant{{Token: "t", Operations: []string{"use"}}}}}
	put := func(a Application) { change(t, s, func(tx *Tx) error { return tx.PutApplication(a) }) }
	put(states[0])
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			all, err := s.Applications(t.Context())
			if err != nil || len(all) != 1 || len(all[0].Identities)+len(all[0].Grants) != 1 {
				t.Errorf("%+v, %v", all, err)
				return
			}
		}
	})
	for n := range 200 {
		put(states[n%2])
	}
	close(stop)
	reader.Wait()
}

func TestEnrollmentCodes(t *testing.T) { onEach(t, testEnrollmentCodes) }

func testEnrollmentCodes(t *testing.T, on database) {
	s := on.fresh(t)
	now := time.Now()
	s.now = func() time.Time { return now }
	take := func(hash string) (application string, err error) {
		_, _, err = s.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) {
			application, err = tx.TakeEnrollmentCode([]byte(hash))
			return nil, err
		})
		return application, err
	}
	change(t, s, func(tx *Tx) error {
		if err := tx.PutApplication(Application{Name: "web"}); err != nil {
			return err
		}
		for _, hash := range []string{"one", "two", "three"} {
			if err := tx.PutEnrollmentCode([]byte(hash), "web", now.Add(time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	if application, err := take("one"); err != nil || application != "web" {
		t.Errorf("got %q, %v", application, err)
	}
	for _, hash := range []string{"one", "none", ""} {
		_, err := take(hash)
		wantKind(t, "the code "+hash, err, fault.Unauthenticated)
	}
	now = now.Add(time.Hour)
	_, err := take("two")
	wantKind(t, "an expired code", err, fault.Unauthenticated)
	now = now.Add(-time.Hour)
	change(t, s, func(tx *Tx) error { return tx.DeleteApplication("web") })
	_, err = take("three")
	wantKind(t, "a code of a deleted application", err, fault.Unauthenticated)
	_, _, err = s.Change(t.Context(), Change{}, func(tx *Tx) ([]byte, error) { return nil, tx.PutEnrollmentCode([]byte("x"), "none", now) })
	wantKind(t, "a code of no application", err, fault.NotFound)
}
