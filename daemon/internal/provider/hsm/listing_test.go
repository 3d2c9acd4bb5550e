package hsm

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// crowded is SoftHSM with 10,000 RSA pairs more than it has, which it counts the calls for. One C_FindObjects after the
// other would take minutes to make them.
type crowded struct {
	client
	class                cryptoki.ObjectClass
	cursor               int
	finds, reads, begins atomic.Int64
	// gone are pairs that were destroyed.
	gone atomic.Int64
}

const (
	pairs = 10_000
	// privates and publics are the first handles of those that SoftHSM has not.
	privates pkcs11.ObjectHandle = 1 << 24
	publics  pkcs11.ObjectHandle = 1 << 25
)

func (c *crowded) FindObjectsInit(s pkcs11.SessionHandle, template []*pkcs11.Attribute) error {
	c.begins.Add(1)
	c.class, c.cursor = ^cryptoki.ObjectClass(0), 0
	for _, a := range template {
		if cryptoki.AttributeType(a.Type) == cryptoki.CKA_CLASS && len(template) == 2 {
			c.class = cryptoki.ObjectClass(binary.NativeEndian.Uint64(a.Value))
		}
	}
	return c.client.FindObjectsInit(s, template)
}

func (c *crowded) FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error) {
	c.finds.Add(1)
	first := map[cryptoki.ObjectClass]pkcs11.ObjectHandle{cryptoki.CKO_PRIVATE_KEY: privates, cryptoki.CKO_PUBLIC_KEY: publics}[c.class]
	if first == 0 || c.cursor == pairs {
		return c.client.FindObjects(s, most)
	}
	var handles []pkcs11.ObjectHandle
	for ; len(handles) < most && c.cursor < pairs; c.cursor++ {
		handles = append(handles, first+pkcs11.ObjectHandle(c.cursor))
	}
	return handles, false, nil
}

func (c *crowded) GetAttributeValue(s pkcs11.SessionHandle, o pkcs11.ObjectHandle, wanted []*pkcs11.Attribute) ([]*pkcs11.Attribute, error) {
	if o < privates {
		return c.client.GetAttributeValue(s, o, wanted)
	}
	c.reads.Add(1)
	number := uint32(o - privates)
	if o >= publics {
		number = uint32(o - publics)
	}
	if number < uint32(c.gone.Load()) {
		return nil, pkcs11.Error(cryptoki.CKR_OBJECT_HANDLE_INVALID)
	}
	modulus := make([]byte, 256)
	modulus[0], modulus[255] = 0xC0, 1
	binary.BigEndian.PutUint32(modulus[100:], number)
	has := make([]*pkcs11.Attribute, len(wanted))
	for i, a := range wanted {
		var value []byte
		switch t := cryptoki.AttributeType(a.Type); t {
		case cryptoki.CKA_KEY_TYPE:
			value = ulong(uint64(cryptoki.CKK_RSA))
		case cryptoki.CKA_ID:
			value = binary.BigEndian.AppendUint32(nil, number)
		case cryptoki.CKA_LABEL:
			value = []byte("a crowd")
		case cryptoki.CKA_MODULUS:
			value = modulus
		case cryptoki.CKA_PUBLIC_EXPONENT:
			value = []byte{1, 0, 1}
		case cryptoki.CKA_SUBJECT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT, cryptoki.CKA_ALLOWED_MECHANISMS:
		default:
			if flags[t] {
				value = []byte{1}
			}
		}
		has[i] = pkcs11.NewAttribute(a.Type, nil)
		has[i].Value = value
	}
	return has, nil
}

// A listing goes through the token once, however many pages it has.
func TestListOnce(t *testing.T) {
	c := &crowded{}
	p := private(t, config("list"), func(real client) client { c.client = real; return c })
	c.finds.Store(0)
	c.reads.Store(0)
	c.begins.Store(0)
	all := listed(t, p)
	crowd := 0
	for _, f := range all {
		if strings.HasPrefix(f.Name, "private-key/a crowd/") && len(f.Objects) == 2 {
			crowd++
		}
	}
	if crowd != pairs {
		t.Errorf("%d pairs were listed", crowd)
	}
	// Four searches: private keys, secret keys, certificates, public keys; each key read twice, before and for its page,
	// and with its public half.
	if begins, finds := c.begins.Load(), c.finds.Load(); begins != 4 || finds > 4*3+2*(pairs/256+1) {
		t.Errorf("%d searches with %d C_FindObjects for %d pages", begins, finds, len(all)/pageSize)
	}
	if reads := c.reads.Load(); reads > 5*pairs {
		t.Errorf("%d C_GetAttributeValue for %d pairs", reads, pairs)
	}
	if len(p.listings.all) != 0 {
		t.Error("a listing that ended is still in memory")
	}
}

// Listings that nobody ends are bounded; one that was forgotten goes on where it was, and what was destroyed meanwhile is
// not listed.
func TestListingForgotten(t *testing.T) {
	c := &crowded{}
	p := private(t, config("list"), func(real client) client { c.client = real; return c })
	first, page, err := p.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range mostListings + 1 {
		if _, _, err := p.List(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.listings.all) != mostListings {
		t.Errorf("%d listings are remembered", len(p.listings.all))
	}
	before := c.begins.Load()
	second, next, err := p.List(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	if c.begins.Load() == before {
		t.Error("the listing was not forgotten")
	}
	if len(second) != pageSize || second[0].Name <= first[pageSize-1].Name {
		t.Errorf("the second page begins with %s, the first ended with %s", second[0].Name, first[pageSize-1].Name)
	}
	c.gone.Store(pairs)
	if third, _, err := p.List(t.Context(), next); err != nil || len(third) != 0 {
		t.Errorf("%d keys that are gone were listed: %v", len(third), err)
	}
	p.listings.clear()
	if len(p.listings.all) != 0 {
		t.Error("listings remain")
	}
}
