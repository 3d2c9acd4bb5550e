package hsm

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// link is one connection to the token: a login, and the session that holds it open. When either is lost a new link is
// made. Sessions and object handles belong to their link and are never used with another: after C_Initialize the
// library may give the same handle to another key.
type link struct {
	epoch  uint64
	slot   uint
	info   pkcs11.TokenInfo
	anchor pkcs11.SessionHandle
	dead   atomic.Bool // the session handles mean nothing any more

	mu      sync.Mutex
	handles map[string]*object
}

// linkError marks an error of making a link, where a re-open of the library may help.
type linkError struct{ cause error }

func (e *linkError) Error() string { return e.cause.Error() }
func (e *linkError) Unwrap() error { return e.cause }

// connect returns the link, and makes one if there is none or it is of another epoch. The caller is inside the
// library. Links are made one at a time: many logins at once with a wrong PIN would lock the token.
func (p *Provider) connect(ctx context.Context, epoch uint64) (*link, error) {
	if l := p.link.Load(); l != nil && l.epoch == epoch {
		return l, nil
	}
	select {
	case p.connecting <- struct{}{}:
		defer func() { <-p.connecting }()
	case <-ctx.Done():
		return nil, interrupted(ctx, "waiting for the connection to the HSM")
	}
	if l := p.link.Load(); l != nil && l.epoch == epoch {
		return l, nil
	}
	if p.refused != nil {
		return nil, p.refused
	}
	slot, info, err := p.findToken()
	if err != nil {
		return nil, err
	}
	anchor, err := p.openSession(slot, info)
	if err != nil {
		return nil, &linkError{err}
	}
	if err := p.login(anchor, info); err != nil {
		_ = p.library.client.CloseSession(anchor)
		return nil, err
	}
	l := &link{epoch: epoch, slot: slot, info: info, anchor: anchor, handles: map[string]*object{}}
	if p.former != nil {
		p.discard(p.former, p.former.anchor, epoch)
		p.log.Info("connected to the HSM again", "token", info.Label, "slot", slot)
	}
	p.former = l
	p.linked.Store(true)
	p.link.Store(l)
	return l, nil
}

// openSession opens a session, read-only on a write-protected token.
func (p *Provider) openSession(slot uint, info pkcs11.TokenInfo) (pkcs11.SessionHandle, error) {
	flags := uint(pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
	if info.Flags&pkcs11.CKF_WRITE_PROTECTED != 0 {
		flags = pkcs11.CKF_SERIAL_SESSION
	}
	return p.library.client.OpenSession(slot, flags)
}

// findToken finds the slot whose token the configuration names.
func (p *Provider) findToken() (uint, pkcs11.TokenInfo, error) {
	var none pkcs11.TokenInfo
	slots, err := p.library.client.GetSlotList(true)
	if err != nil {
		return 0, none, &linkError{err}
	}
	var present []string
	var slot uint
	var found []pkcs11.TokenInfo
	for _, s := range slots {
		info, err := p.library.client.GetTokenInfo(s)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		label := strings.TrimRight(info.Label, " \x00")
		serial := strings.TrimRight(info.SerialNumber, " \x00")
		present = append(present, fmt.Sprintf("%q (serial %s, slot %d)", label, serial, s))
		if p.config.TokenLabel != "" && p.config.TokenLabel == label ||
			p.config.Serial != "" && p.config.Serial == serial ||
			p.config.Slot != nil && *p.config.Slot == uint64(s) {
			slot, found = s, append(found, info)
		}
	}
	there := "there is no initialised token"
	if len(present) > 0 {
		there = "there are " + strings.Join(present, ", ")
	}
	switch len(found) {
	case 0:
		return 0, none, &linkError{fault.New(fault.DeviceError, "%s has no token with %s; %s", p.config.Library, p.config.which(), there)}
	case 1:
		return slot, found[0], nil
	default:
		return 0, none, fault.New(fault.DeviceError, "%s has %d tokens with %s; name the token by its serial number: %s", p.config.Library, len(found), p.config.which(), there)
	}
}

// loggedIn tells whether a session is in a user's state.
func loggedIn(c client, s pkcs11.SessionHandle) (bool, error) {
	info, err := c.GetSessionInfo(s)
	if err != nil {
		return false, err
	}
	state := cryptoki.State(info.State)
	return state == cryptoki.CKS_RO_USER_FUNCTIONS || state == cryptoki.CKS_RW_USER_FUNCTIONS, nil
}

// login logs in where that is needed. After a wrong PIN it never tries again.
func (p *Provider) login(anchor pkcs11.SessionHandle, info pkcs11.TokenInfo) error {
	label := strings.TrimRight(info.Label, " \x00")
	pad := info.Flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH != 0
	if p.config.PIN == "" && !pad {
		if info.Flags&pkcs11.CKF_LOGIN_REQUIRED != 0 {
			return p.refuse(fault.PINIncorrect, "token %q needs a login; give its `pin`", label)
		}
		return nil
	}
	// The login is the process's: another provider on this token, or a link before this one, may have done it.
	if already, err := loggedIn(p.library.client, anchor); err != nil {
		return &linkError{err}
	} else if already {
		return nil
	}
	switch {
	case info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return p.refuse(fault.PINLocked, "the user's PIN of token %q is locked; unlock it with the HSM's own tool, then restart", label)
	case info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		// A daemon that restarts for ever must not be what locks the token.
		return p.refuse(fault.PINIncorrect, "token %q allows one more try of the user's PIN before it locks; log in once with another tool to be sure of the PIN, then restart", label)
	}
	user := uint(p.config.UserType)
	if user == 0 {
		user = pkcs11.CKU_USER
	}
	err := p.library.client.Login(anchor, user, p.config.PIN)
	rv, _ := returned(err)
	switch rv {
	case cryptoki.CKR_USER_ALREADY_LOGGED_IN:
		return nil
	case cryptoki.CKR_PIN_INCORRECT, cryptoki.CKR_PIN_LEN_RANGE, cryptoki.CKR_PIN_INVALID:
		return p.refuse(fault.PINIncorrect, "token %q refused the configured PIN with %s; correct `pin` and restart: it is not tried again before, so that the token does not lock", label, rv)
	case cryptoki.CKR_PIN_LOCKED, cryptoki.CKR_PIN_EXPIRED, cryptoki.CKR_USER_PIN_NOT_INITIALIZED,
		cryptoki.CKR_USER_TYPE_INVALID, cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN:
		return p.refuse(kindOf(rv), "login to token %q failed with %s; look at the token with the HSM's own tool, then restart", label, rv)
	}
	if err != nil {
		return &linkError{err}
	}
	return nil
}

// refuse makes the error with which all calls fail from now on: a login is not tried twice.
func (p *Provider) refuse(kind fault.Kind, format string, args ...any) error {
	p.refused = fault.New(kind, format, args...)
	return p.refused
}
