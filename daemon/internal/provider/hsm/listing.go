package hsm

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// A listing is what a token holds, found once for all its pages: a PKCS#11 token cannot be asked for the objects after
// another one, so each page would go through all of them. What a listing has forgotten, or another daemon began, is found
// anew from the name in the page.
type listing struct {
	id string
	// link is the connection whose handles these are.
	link         *link
	entries      []entry
	halves       map[string][]half
	certificates map[string][]pkcs11.ObjectHandle
	// idle drops the listing when nobody asks for its next page.
	idle *time.Timer
}

const (
	// mostListings are remembered at a time: an entry takes some hundred bytes, a token of 20,000 pairs 20 MB.
	mostListings = 2
	// listingIdle is how long one is remembered after a page.
	listingIdle = 2 * time.Minute
)

// listings are those of which not all pages were read, the one used last at the end.
type listings struct {
	mu  sync.Mutex
	all []*listing
}

// get returns a listing whose handles are good on a link, nil if there is none.
func (l *listings) get(id string, on *link) *listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		if one.id == id && one.link == on {
			return one
		}
	}
	return nil
}

// keep remembers a listing for its next page.
func (l *listings) keep(one *listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(one)
	l.all = append(l.all, one)
	one.idle = time.AfterFunc(listingIdle, func() { l.drop(one) })
	if len(l.all) > mostListings {
		l.remove(l.all[0])
	}
}

// drop forgets a listing.
func (l *listings) drop(one *listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(one)
}

func (l *listings) remove(one *listing) {
	if i := slices.Index(l.all, one); i >= 0 {
		one.idle.Stop()
		l.all = slices.Delete(l.all, i, i+1)
	}
}

// clear forgets all.
func (l *listings) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.all) > 0 {
		l.remove(l.all[0])
	}
}

// inventory goes through the token.
func (s *session) inventory() (*listing, error) {
	l := &listing{link: s.link, certificates: map[string][]pkcs11.ObjectHandle{}}
	var err error
	if l.entries, err = s.entries(); err != nil {
		return nil, err
	}
	if l.halves, err = s.publicHalves(); err != nil {
		return nil, err
	}
	for _, e := range l.entries {
		if e.class == cryptoki.CKO_CERTIFICATE {
			l.certificates[string(e.r.ID)] = append(l.certificates[string(e.r.ID)], e.handle)
		}
	}
	return l, nil
}

// half is a public key of the token in a listing.
type half struct {
	handle pkcs11.ObjectHandle
	label  string
	public cryptoki.Attributes
}

// publicHalves reads the public keys of the token, by type and id, and by label where there is no id.
func (s *session) publicHalves() (map[string][]half, error) {
	handles, err := s.find(cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY))
	if err != nil {
		return nil, err
	}
	halves := map[string][]half{}
	for _, handle := range handles {
		has, err := s.read(handle, append([]cryptoki.AttributeType{cryptoki.CKA_KEY_TYPE, cryptoki.CKA_ID, cryptoki.CKA_LABEL}, publicTypes...)...)
		if is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
			continue
		}
		if err != nil {
			return nil, err
		}
		keyType, _ := has.KeyType()
		if public, ok := normalize(keyType, has); ok {
			name := halfName(keyType, has.Bytes(cryptoki.CKA_ID), label(has))
			halves[name] = append(halves[name], half{handle, label(has), public})
		}
	}
	return halves, nil
}

func halfName(keyType cryptoki.KeyType, id []byte, label string) string {
	if len(id) == 0 {
		return fmt.Sprintf("%d//%s", keyType, label)
	}
	return fmt.Sprintf("%d/%x", keyType, id)
}
