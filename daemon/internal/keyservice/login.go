package keyservice

import (
	"context"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/pin"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Login checks a PIN and returns a ticket that any replica accepts (C_Login).
func (s *Service) Login(ctx context.Context, call Call, user cryptoki.UserType, given []byte) (login Login, reply Reply, err error) {
	r := begin(call, "login")
	defer s.end(ctx, r, &err)

	operation, role, lifetime := policy.Use, ticket.User, s.config.TicketLifetime
	switch user {
	case cryptoki.CKU_USER:
		r.event.Detail = "user"
	case cryptoki.CKU_SO:
		r.event.Detail = "SO"
		operation, role = policy.SO, ticket.SO
	case cryptoki.CKU_CONTEXT_SPECIFIC:
		r.event.Detail = "user, for one operation"
		role, lifetime = ticket.Context, ticket.ContextLifetime
	default:
		return Login{}, Reply{}, fault.New(fault.UserTypeInvalid, "there is no user type %d; use CKU_SO, CKU_USER or CKU_CONTEXT_SPECIFIC", uint64(user))
	}
	a, err := s.enter(ctx, withoutTicket(call), r, operation)
	if err != nil {
		return Login{}, Reply{}, err
	}
	token, err := s.tryPIN(ctx, a.token.UID, role, given)
	if err != nil {
		return Login{}, Reply{}, err
	}
	login, err = s.issue(a, token, role, lifetime)
	return login, Reply{Revision: token.Revision}, err
}

// withoutTicket lets a login through whose old ticket has expired.
func withoutTicket(call Call) Call {
	call.Ticket = nil
	return call
}

func (s *Service) issue(a access, token keystore.Token, role ticket.Role, lifetime time.Duration) (Login, error) {
	epoch := token.User.Epoch
	if role == ticket.SO {
		epoch = token.SO.Epoch
	}
	issued, err := s.tickets.Issue(token.UID, a.owner, role, epoch)
	return Login{Ticket: issued, Lifetime: lifetime, Token: s.token(token)}, err
}

// tryPIN checks the PIN of a role. The try is counted before it is checked, unless the PIN is remembered and there is no
// count to set back.
func (s *Service) tryPIN(ctx context.Context, token string, role ticket.Role, given []byte) (keystore.Token, error) {
	if role != ticket.SO {
		t, err := s.store.Token(ctx, token)
		if err == nil && t.User.Failed == 0 && s.pins.knows(t, given) {
			return t, nil
		}
	}
	var damaged error
	t, err := s.store.TryPIN(ctx, token, role != ticket.SO, s.config.MaxFailed, func(hash string) bool {
		right, err := pin.Verify(hash, given)
		damaged = err
		return right
	})
	if damaged != nil {
		return keystore.Token{}, damaged
	}
	if err == nil && role != ticket.SO {
		s.pins.learn(t, given)
	}
	return t, err
}

// RenewTicket exchanges a ticket that is still valid for a fresh one. It is no use of a key and not recorded.
func (s *Service) RenewTicket(ctx context.Context, call Call) (Login, Reply, error) {
	a, err := s.enter(ctx, call, begin(call, "renew"))
	switch {
	case err != nil:
	case a.role == 0:
		err = fault.New(fault.UserNotLoggedIn, "there is no ticket to renew; call C_Login")
	case a.role == ticket.SO:
		err = s.allow(call, policy.SO)
	default:
		err = s.allow(call, policy.Use)
	}
	if err != nil {
		return Login{}, Reply{}, settle(err)
	}
	login, err := s.issue(a, a.token, a.role, s.config.TicketLifetime)
	a.reply.Ticket = login.Ticket
	return login, a.reply, err
}

// InitPIN sets the user PIN; the ticket must be the SO's (C_InitPIN).
func (s *Service) InitPIN(ctx context.Context, call Call, given []byte) (token Token, reply Reply, err error) {
	r := begin(call, "pin.init")
	defer s.end(ctx, r, &err)

	a, err := s.enter(ctx, call, r, policy.SO)
	if err != nil {
		return Token{}, Reply{}, err
	}
	if a.role != ticket.SO {
		return Token{}, Reply{}, fault.New(fault.UserNotLoggedIn, "only the SO sets the user's PIN; call C_Login as CKU_SO first")
	}
	changed, err := s.newPIN(ctx, call, r, a.token.UID, ticket.User, given)
	a.reply.Revision = changed.Revision
	return s.token(changed), a.reply, err
}

// SetPIN changes the PIN of the role that is logged in, or the user's in a public session (C_SetPIN). Tickets of the
// old PIN end; the caller's own is replaced.
func (s *Service) SetPIN(ctx context.Context, call Call, old, given []byte) (token Token, reply Reply, err error) {
	r := begin(call, "pin.set")
	defer s.end(ctx, r, &err)

	// A repeated request comes with a ticket and a PIN that the first one has voided.
	done, err := s.turns.take(ctx, owner(call.Caller), call.RequestID)
	if err != nil {
		return Token{}, Reply{}, err
	}
	defer done()
	var role ticket.Role
	replayed, err := s.replay(ctx, call, r, &role)
	if err != nil {
		return Token{}, Reply{}, err
	}
	if replayed {
		return s.setAlready(ctx, call, r, role)
	}
	a, err := s.enter(ctx, call, r)
	if err != nil {
		return Token{}, Reply{}, err
	}
	if role = a.role; role == 0 {
		role = ticket.User
	}
	operation := policy.Modify
	if role == ticket.SO {
		operation = policy.SO
	}
	if err := s.allow(call, operation); err != nil {
		return Token{}, Reply{}, err
	}
	if _, err := s.tryPIN(ctx, a.token.UID, role, old); err != nil {
		return Token{}, Reply{}, err
	}
	changed, err := s.newPIN(ctx, call, r, a.token.UID, role, given)
	if err != nil {
		return Token{}, Reply{}, err
	}
	return s.reissue(a, changed, role, a.role != 0)
}

// setAlready answers a repeated C_SetPIN: the ticket that comes with it was good until the first attempt voided it.
func (s *Service) setAlready(ctx context.Context, call Call, r *record, role ticket.Role) (Token, Reply, error) {
	a, err := s.enter(ctx, withoutTicket(call), r)
	if err != nil {
		return Token{}, Reply{}, err
	}
	epoch := a.token.User.Epoch
	if role == ticket.SO {
		epoch = a.token.SO.Epoch
	}
	before, err := s.tickets.Open(call.Ticket, a.token.UID, a.owner)
	return s.reissue(a, a.token, role, err == nil && before.Role == role && before.Epoch+1 == epoch)
}

// reissue answers with the token as it is now and, for who is logged in, a ticket of the new PIN.
func (s *Service) reissue(a access, changed keystore.Token, role ticket.Role, loggedIn bool) (Token, Reply, error) {
	reply := Reply{Revision: changed.Revision}
	if !loggedIn {
		return s.token(changed), reply, nil
	}
	login, err := s.issue(a, changed, role, s.config.TicketLifetime)
	reply.Ticket = login.Ticket
	return s.token(changed), reply, err
}

// newPIN gives a role a new PIN: the tries count anew and tickets of the old PIN end.
func (s *Service) newPIN(ctx context.Context, call Call, r *record, token string, role ticket.Role, given []byte) (keystore.Token, error) {
	hash, err := pin.Hash(given)
	if err != nil {
		return keystore.Token{}, err
	}
	if role == ticket.SO {
		r.event.Detail = "SO"
	} else {
		r.event.Detail = "user"
	}
	_, err = s.change(ctx, call, r, &role, func(tx *keystore.Tx) error {
		t, err := tx.Token(ctx, token)
		if err != nil {
			return err
		}
		p := &t.User
		if role == ticket.SO {
			p = &t.SO
		}
		*p = keystore.PIN{Hash: hash, Epoch: p.Epoch + 1}
		return tx.UpdateToken(t)
	})
	if err != nil {
		return keystore.Token{}, err
	}
	return s.store.Token(ctx, token)
}
