package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/pin"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// CreateToken makes an initialised token.
func (s *Service) CreateToken(ctx context.Context, call Call, token NewToken) (made TokenSummary, err error) {
	r := begin(call, "token.create")
	defer s.end(ctx, r, &err)

	if err := administrator(call); err != nil {
		return TokenSummary{}, err
	}
	done, err := s.turns.take(ctx, owner(call.Caller), call.RequestID)
	if err != nil {
		return TokenSummary{}, err
	}
	defer done()
	var uid string
	if replayed, err := s.replay(ctx, call, r, &uid); err != nil {
		return TokenSummary{}, err
	} else if !replayed {
		t, err := s.newToken(token)
		if err != nil {
			return TokenSummary{}, err
		}
		if _, err := s.store.TokenByName(ctx, t.Label); err == nil || fault.Is(err, fault.Conflict) {
			return TokenSummary{}, fault.New(fault.AlreadyExists, "there is a token %q already; choose another label", t.Label)
		}
		r.event.Detail = t.Label
		if uid, err = s.createToken(ctx, call, r, t, func(keystore.Token) error { return nil }); err != nil {
			return TokenSummary{}, err
		}
	}
	if err := s.policy.Refresh(ctx); err != nil {
		return TokenSummary{}, err
	}
	t, err := s.store.Token(ctx, uid)
	if err != nil {
		return TokenSummary{}, err
	}
	return s.tokenSummary(ctx, t)
}

// newToken checks what an administrator asks for.
func (s *Service) newToken(token NewToken) (t keystore.Token, err error) {
	t = keystore.Token{Provider: token.Provider, NoLogin: token.NoLogin}
	if t.Label, err = checkLabel(token.Label); err != nil {
		return t, err
	}
	if t.Label == "" {
		return t, fault.New(fault.InvalidInput, "a token needs a label; choose one of up to %d bytes", maxLabel)
	}
	if t.Provider == "" {
		t.Provider = s.config.DefaultProvider
	}
	if _, ok := s.providers[t.Provider]; !ok {
		return t, fault.New(fault.NotFound, "there is no provider %q; see anyhsm provider list", t.Provider)
	}
	if len(token.SOPIN) > 0 {
		if t.SO.Hash, err = pin.Hash(token.SOPIN); err != nil {
			return t, err
		}
	}
	if len(token.UserPIN) > 0 {
		if t.User.Hash, err = pin.Hash(token.UserPIN); err != nil {
			return t, err
		}
	}
	t.SO.Epoch, t.User.Epoch = 1, 1
	return t, nil
}

// ListTokens returns all tokens.
func (s *Service) ListTokens(ctx context.Context, call Call) ([]TokenSummary, error) {
	if err := administrator(call); err != nil {
		return nil, err
	}
	tokens, err := s.store.Tokens(ctx)
	if err != nil {
		return nil, settle(err)
	}
	list := make([]TokenSummary, len(tokens))
	for i, t := range tokens {
		if list[i], err = s.tokenSummary(ctx, t); err != nil {
			return nil, settle(err)
		}
	}
	return list, nil
}

// GetToken returns the token that call.Token names by label or uid.
func (s *Service) GetToken(ctx context.Context, call Call) (TokenSummary, error) {
	a, err := s.admit(ctx, call, begin(call, "token.get"))
	if err != nil {
		return TokenSummary{}, settle(err)
	}
	return s.tokenSummary(ctx, a.token)
}

// DeleteToken deletes a token; with objects in it only if forced. With leave, keys may stay in
// providers that cannot destroy them now.
func (s *Service) DeleteToken(ctx context.Context, call Call, force, leave bool) (deleted Deleted, err error) {
	r := begin(call, "token.delete")
	defer s.end(ctx, r, &err)

	if err := administrator(call); err != nil {
		return Deleted{}, err
	}
	done, err := s.turns.take(ctx, owner(call.Caller), call.RequestID)
	if err != nil {
		return Deleted{}, err
	}
	defer done()
	// A repeated request finds no token any more.
	if replayed, err := s.replay(ctx, call, r, &deleted); err != nil || replayed {
		return deleted, err
	}
	a, err := s.admit(ctx, call, r)
	if err != nil {
		return Deleted{}, err
	}
	r.event.Detail = a.token.Label
	if count, err := s.store.CountObjects(ctx, a.token.UID); err != nil {
		return Deleted{}, err
	} else if count > 0 && !force {
		return Deleted{}, fault.New(fault.Conflict, "the token %q holds %d objects, which would be destroyed; force it if they may go", a.token.Label, count)
	}
	gone, left, err := s.emptyToken(ctx, a.token.UID, leave)
	if err != nil {
		return Deleted{}, err
	}
	s.noteLeft(ctx, r, left)
	var late []keystore.Object
	_, err = s.change(ctx, call, r, &deleted, func(tx *keystore.Tx) error {
		late = nil
		objects, err := tx.Objects(ctx, keystore.ObjectQuery{Token: a.token.UID})
		if err != nil {
			return err
		}
		for _, o := range objects {
			if !gone[o.ID] {
				late = append(late, o)
			}
		}
		if len(late) > 0 && !force {
			return fault.New(fault.Conflict, "an object was made in the token %q meanwhile; force it if it may go", a.token.Label)
		}
		n, err := tx.DeleteToken(a.token.UID)
		deleted = Deleted{Objects: uint64(n), Left: left}
		return err
	})
	if err != nil {
		return Deleted{}, err
	}
	s.destroyLate(ctx, late)
	s.keyring.Forget(a.token.UID)
	s.pins.forget(a.token.UID)
	return deleted, s.policy.Refresh(ctx)
}

// UnlockToken sets the tries of the PINs back and, if one is given, a new user PIN.
func (s *Service) UnlockToken(ctx context.Context, call Call, userPIN []byte) (unlocked TokenSummary, err error) {
	r := begin(call, "token.unlock")
	defer s.end(ctx, r, &err)

	a, err := s.admit(ctx, call, r)
	if err != nil {
		return TokenSummary{}, err
	}
	hash := ""
	if len(userPIN) > 0 {
		if hash, err = pin.Hash(userPIN); err != nil {
			return TokenSummary{}, err
		}
		r.event.Detail = "new user PIN"
	}
	uid := a.token.UID
	if _, err = s.change(ctx, call, r, &uid, func(tx *keystore.Tx) error {
		t, err := tx.Token(ctx, uid)
		if err != nil {
			return err
		}
		t.SO.Failed, t.User.Failed = 0, 0
		if hash != "" {
			t.User = keystore.PIN{Hash: hash, Epoch: t.User.Epoch + 1}
		}
		return tx.UpdateToken(t)
	}); err != nil {
		return TokenSummary{}, err
	}
	t, err := s.store.Token(ctx, uid)
	if err != nil {
		return TokenSummary{}, err
	}
	return s.tokenSummary(ctx, t)
}
