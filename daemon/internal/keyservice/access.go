package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// access is a call that policy has let in: the token, who is logged in, and what the answer will bring along.
type access struct {
	call  Call
	owner string
	token keystore.Token
	// role is who is logged in; 0 for nobody.
	role ticket.Role
	// administrator tells that the call came through the administration: no PIN stands between it and an object.
	administrator bool
	// using tells that the call uses a key and changes nothing: it reads through the store's cache.
	using bool
	reply Reply
}

// enter lets a call of an application in: policy first, which needs no I/O, then the token, then the ticket. The
// caller may need several operations, such as to create a key and to use the one it is derived from. Without any it
// must see the token; what it needs then depends on who is logged in.
func (s *Service) enter(ctx context.Context, call Call, r *record, operations ...policy.Operation) (access, error) {
	return s.enterBy(ctx, call, r, s.store.Token, operations...)
}

// enterToUse is enter for a call that uses a key and changes nothing. What it needs of the token and the object comes
// from memory, as long as the store knows that nobody has changed them.
func (s *Service) enterToUse(ctx context.Context, call Call, r *record) (access, error) {
	a, err := s.enterBy(ctx, call, r, func(ctx context.Context, uid string) (keystore.Token, error) {
		return s.store.CurrentToken(ctx, uid, call.Revision)
	}, policy.Use)
	a.using = true
	return a, err
}

// enterBy is enter with a way to read the token.
func (s *Service) enterBy(ctx context.Context, call Call, r *record, read func(ctx context.Context, uid string) (keystore.Token, error),
	operations ...policy.Operation,
) (access, error) {
	for _, operation := range operations {
		if err := s.allow(call, operation); err != nil {
			return access{}, err
		}
	}
	if len(operations) == 0 && !s.policy.Visible(call.Caller, call.Token) {
		return access{}, s.allow(call, policy.Use)
	}
	token, err := read(ctx, call.Token)
	if fault.Is(err, fault.NotFound) {
		return access{}, fault.New(fault.TokenNotPresent, "there is no token %s any more; it was deleted", call.Token)
	}
	if err != nil {
		return access{}, err
	}
	r.event.Token = token.UID
	a := access{call: call, owner: owner(call.Caller), token: token, reply: Reply{Revision: token.Revision}}
	if len(call.Ticket) == 0 {
		return a, nil
	}
	return a, s.readTicket(&a)
}

// allow asks policy, and gives a refusal the kind that applications know: a token that the caller does not see is not
// there, one that it may only use is write-protected.
func (s *Service) allow(call Call, operation policy.Operation) error {
	err := s.policy.Allow(call.Caller, call.Token, operation)
	switch {
	case err == nil:
		return nil
	case !s.policy.Visible(call.Caller, call.Token):
		return fault.New(fault.TokenNotPresent, "%w", err)
	case operation == policy.Create || operation == policy.Modify || operation == policy.Destroy:
		return fault.New(fault.TokenWriteProtected, "%w", err)
	}
	return err
}

// readTicket finds out who is logged in. A ticket that is no longer good is an error even where none is needed, so that
// the module learns that its login is gone.
func (s *Service) readTicket(a *access) error {
	t, err := s.tickets.Open(a.call.Ticket, a.token.UID, a.owner)
	if err != nil {
		return err
	}
	epoch := a.token.User.Epoch
	switch t.Role {
	case ticket.SO:
		epoch = a.token.SO.Epoch
	case ticket.User:
	default:
		return fault.New(fault.UserNotLoggedIn, "a ticket for one operation does not log in; call C_Login as the user")
	}
	if t.Epoch != epoch {
		return fault.New(fault.UserNotLoggedIn, "the PIN was changed after the login; log in again")
	}
	a.role = t.Role
	a.reply.Ticket, err = s.tickets.Renew(t)
	return err
}

// seesPrivate tells whether the call may see and use objects that are CKA_PRIVATE.
func (a access) seesPrivate() bool {
	return a.administrator || a.token.NoLogin || a.role == ticket.User
}

// mayTouch refuses a private object to whom is not logged in.
func (a access) mayTouch(attributes cryptoki.Attributes) error {
	if attributes.Bool(cryptoki.CKA_PRIVATE) && !a.seesPrivate() {
		return fault.New(fault.UserNotLoggedIn, "the object is private and the user is not logged in; call C_Login first")
	}
	return nil
}

// owner is whom request ids, tickets and session objects belong to: the application, or the identity of an
// administrator who is none.
func owner(caller authn.Caller) string {
	if caller.Application != "" {
		return caller.Application
	}
	return caller.Identity
}

// creating returns the operations that policy must allow for a new object.
func creating(template cryptoki.Attributes) policy.Operation {
	if template.Bool(cryptoki.CKA_TOKEN) {
		return policy.Create
	}
	return policy.Use
}
