package session

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// parking is how long a login outlives the last session that had it, and how young a login must be for that.
const parking = 2 * time.Second

// parked is a login that ended because its last session was closed, not by C_Logout. p11tool opens a session and logs
// in anew for each object it lists: the same PIN then takes the ticket up again, and the listing that belongs to it,
// without a call to the daemon. The daemon still judges the ticket at each use.
type parked struct {
	login login
	index index
	// revision and confirmed are the cache's.
	revision  uint64
	confirmed time.Time
	until     time.Time
	stopTimer func() bool
}

// pinSeal recognises a PIN without holding it: an HMAC under a key that is made for one login and goes with it.
type pinSeal struct {
	key, mac [sha256.Size]byte
}

func sealPIN(pin []byte) *pinSeal {
	s := new(pinSeal)
	rand.Read(s.key[:]) // never fails: it ends the process instead
	s.mac = s.of(pin)
	return s
}

// wipeSeal takes the means to recognise a login's PIN out of memory when the login is too old to be parked: a short
// PIN could be guessed from it. The token's mutex is held.
func (t *Token) wipeSeal(generation uint64) {
	t.client.After(parking, func(context.Context) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.login.generation == generation && t.login.seal != nil {
			*t.login.seal = pinSeal{}
			t.login.seal = nil
		}
	})
}

func (s *pinSeal) of(pin []byte) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, s.key[:])
	h.Write(pin)
	h.Sum(mac[:0])
	return mac
}

func (s *pinSeal) fits(pin []byte) bool {
	mac := s.of(pin)
	return hmac.Equal(mac[:], s.mac[:])
}

// park keeps the user's login for a moment. The token's mutex is held, and forgetLogin comes next.
func (t *Token) park() {
	if !t.login.is(cryptoki.CKU_USER) || t.login.seal == nil {
		return
	}
	t.unpark()
	p := &parked{login: t.login, until: time.Now().Add(parking)}
	p.login.stopTimer = nil
	p.index, p.revision, p.confirmed = t.cache.listing()
	p.stopTimer = t.client.After(parking, func(context.Context) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.parked == p {
			t.unpark()
		}
	})
	t.parked = p
}

// unpark gives the parked login up. The token's mutex is held.
func (t *Token) unpark() {
	if t.parked != nil {
		t.parked.stopTimer()
		*t.parked.login.seal = pinSeal{}
		t.parked = nil
	}
}

// resume takes the parked login up again if it was this user's with this PIN.
func (t *Token) resume(user cryptoki.UserType, pin []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parked
	if p == nil || p.login.user != user || time.Now().After(p.until) || len(t.sessions) == 0 || t.login.in || !p.login.seal.fits(pin) {
		return false
	}
	t.unpark()
	generation := t.login.generation + 1
	t.login = p.login
	t.login.generation, t.login.seal = generation, sealPIN(pin)
	t.scheduleRenewal()
	t.wipeSeal(generation)
	t.cache.restore(p.index, p.revision, p.confirmed)
	return true
}

// ForgetPINs ends what rests on a PIN that may be another now: C_InitToken, C_InitPIN, C_SetPIN, a wrong PIN.
func (t *Token) ForgetPINs() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unpark()
}
