package rootkey

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Rotated tells what a rotation has done.
type Rotated struct {
	// Retired is the fingerprint of the key before, New that of the key now.
	Retired, New string
	// Tokens counts the token keys that were sealed anew.
	Tokens int
}

// Rotate seals the store under the next root key. A daemon that is alone on its store makes the key if there is none.
func (s *Service) Rotate(ctx context.Context, owner, requestID string, event audit.Event) (Rotated, error) {
	var done Rotated
	if response, found, err := s.config.Store.Request(ctx, requestID, owner); err != nil {
		return done, err
	} else if found {
		return done, json.Unmarshal(response, &done)
	}
	if err := s.look(ctx); err != nil {
		return done, err
	}
	if s.config.Root.Staged() == nil {
		if err := s.single(ctx); err != nil {
			return done, err
		}
		if _, err := s.Stage(ctx); err != nil {
			return done, err
		}
	}
	next, err := s.config.Root.Next()
	if err != nil {
		return done, err
	}
	retired := s.config.Root.Check()
	event.Detail = "from " + seal.Fingerprint(retired) + " to " + seal.Fingerprint(next.Check())
	change := keystore.Change{RequestID: requestID, Application: owner, Event: event}
	response, _, err := s.config.Store.Change(ctx, change, func(tx *keystore.Tx) ([]byte, error) {
		done = Rotated{Retired: seal.Fingerprint(retired), New: seal.Fingerprint(next.Check())}
		current, err := tx.Meta(ctx, seal.MetaCheck)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(current, retired) {
			return nil, fault.New(fault.Conflict, "another daemon has rotated the root key at this moment; look with: anyhsm root-key show")
		}
		if err := s.ready(ctx, tx, next.Check()); err != nil {
			return nil, err
		}
		if done.Tokens, err = s.reseal(ctx, tx, next); err != nil {
			return nil, err
		}
		return json.Marshal(done)
	})
	if err != nil {
		return Rotated{}, err
	}
	if err := json.Unmarshal(response, &done); err != nil {
		return Rotated{}, err
	}
	s.config.Root.Adopt(next)
	return done, s.report(ctx)
}

// single refuses where another replica would not get the key that is made here.
func (s *Service) single(ctx context.Context) error {
	replicas, err := s.config.Store.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, r := range replicas {
		if r.Name != s.config.Name {
			return fault.New(fault.Conflict, "no next root key is staged, and %s is a replica that needs it too; run: anyhsm root-key stage, and copy the file that it names to each replica", r.Name)
		}
	}
	return nil
}

// ready refuses as long as a replica lacks the next key.
func (s *Service) ready(ctx context.Context, tx *keystore.Tx, next []byte) error {
	replicas, err := tx.Replicas(ctx)
	if err != nil {
		return err
	}
	var without []string
	for _, r := range replicas {
		if r.Name == s.config.Name || bytes.Equal(r.Next, next) {
			continue
		}
		has := "none"
		if len(r.Next) > 0 {
			has = "another one"
		}
		without = append(without, r.Name+" (has "+has+", seen "+time.Since(r.Seen).Round(time.Second).String()+" ago)")
	}
	if len(without) > 0 {
		return fault.New(fault.Conflict, "not all replicas have the next root key %s, so nothing was changed: %s; copy the key's file there, or wait %s after a replica has ended without saying so",
			seal.Fingerprint(next), strings.Join(without, ", "), keystore.ReplicaGone)
	}
	return nil
}

// reseal does the work, within the transaction.
func (s *Service) reseal(ctx context.Context, tx *keystore.Tx, next seal.Next) (tokens int, err error) {
	if err := tx.Reauthenticate(next); err != nil {
		return 0, err
	}
	tokens, err = tx.ResealTokens(next.ResealToken)
	if err != nil {
		return 0, err
	}
	values := map[string][]byte{seal.MetaCheck: next.Check(), seal.MetaSalt: next.Salt(), seal.MetaNextSalt: nil}
	for name, reseal := range map[string]func([]byte) ([]byte, error){
		authn.AuthorityMeta: func(value []byte) ([]byte, error) { return authn.Reseal(value, next) },
		seal.MetaLogin:      func(value []byte) ([]byte, error) { return s.config.Login.Renew(value, next) },
	} {
		value, err := tx.Meta(ctx, name)
		if err != nil {
			return 0, err
		}
		if value == nil {
			continue
		}
		if values[name], err = reseal(value); err != nil {
			return 0, err
		}
	}
	for name, value := range values {
		if err := tx.PutMeta(name, value); err != nil {
			return 0, err
		}
	}
	return tokens, nil
}
