package hsm

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// pageSize is how many keys and certificates a page has. Tests make it smaller.
var pageSize = 256

// entry is an object of the token in a listing, before its attributes are read.
type entry struct {
	handle pkcs11.ObjectHandle
	r      reference
	class  cryptoki.ObjectClass
	label  string
	name   string
}

// List returns the keys and certificates of the token in the order of their names. The token is gone through once for a
// listing (listing.go); a page names the listing and the last name before it.
func (p *Provider) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	type answer struct {
		found []provider.Found
		next  string
	}
	id, last, _ := strings.Cut(page, " ")
	a, err := do(ctx, p, "list the keys", func(_ context.Context, s *session) (answer, error) {
		l := p.listings.get(id, s.link)
		if l == nil {
			var err error
			if l, err = s.inventory(); err != nil {
				return answer{}, err
			}
			l.id = rand.Text()
		}
		entries := l.entries
		if page != "" {
			first, _ := slices.BinarySearchFunc(entries, last+"\x00", func(e entry, name string) int { return strings.Compare(e.name, name) })
			entries = entries[first:]
		}
		var a answer
		if len(entries) > pageSize {
			entries = entries[:pageSize]
			a.next = l.id + " " + entries[pageSize-1].name
		}
		for _, e := range entries {
			found, err := s.found(e, l)
			if errors.Is(err, errChanged) || is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
				// Destroyed while we looked.
				continue
			}
			if err != nil {
				return answer{}, err
			}
			a.found = append(a.found, found)
		}
		if a.next == "" {
			p.listings.drop(l)
		} else {
			p.listings.keep(l)
		}
		return a, nil
	})
	return a.found, a.next, err
}

// Inspect tells whether a key is there, by looking for it anew.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	_, err := do(ctx, p, "look at the key", func(_ context.Context, s *session) (struct{}, error) {
		s.forget(ref.Ref)
		_, err := s.resolve(ref.Ref)
		return struct{}{}, err
	})
	return err
}

// entries lists the private keys, secret keys and certificates of the token, sorted by names that are unique.
func (s *session) entries() ([]entry, error) {
	var all []entry
	for _, class := range []cryptoki.ObjectClass{cryptoki.CKO_PRIVATE_KEY, cryptoki.CKO_SECRET_KEY, cryptoki.CKO_CERTIFICATE} {
		handles, err := s.find(cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Ulong(cryptoki.CKA_CLASS, class))
		if err != nil {
			return nil, err
		}
		for _, handle := range handles {
			types := []cryptoki.AttributeType{cryptoki.CKA_ID, cryptoki.CKA_LABEL, cryptoki.CKA_KEY_TYPE}
			if class == cryptoki.CKO_CERTIFICATE {
				types = types[:2]
			}
			has, err := s.read(handle, types...)
			if is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
				continue
			}
			if err != nil {
				return nil, err
			}
			e := entry{handle: handle, class: class, label: label(has)}
			e.r.Class = class
			e.r.KeyType, _ = has.KeyType()
			e.r.ID = has.Bytes(cryptoki.CKA_ID)
			if class != cryptoki.CKO_CERTIFICATE && len(e.r.ID) == 0 && e.label == "" {
				// A key without a name cannot be referred to.
				continue
			}
			e.name = fmt.Sprintf("%s/%s/%x", kinds[class], e.label, []byte(e.r.ID))
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	distinguish(all)
	return all, nil
}

func label(has cryptoki.Attributes) string {
	return string(bytes.TrimRight(has.Bytes(cryptoki.CKA_LABEL), "\x00"))
}

var kinds = map[cryptoki.ObjectClass]string{
	cryptoki.CKO_PRIVATE_KEY: "private-key", cryptoki.CKO_SECRET_KEY: "secret-key", cryptoki.CKO_CERTIFICATE: "certificate",
}

// distinguish gives entries of one name numbers, and puts the label into the references that need it.
func distinguish(sorted []entry) {
	same := map[string]int{}
	for _, e := range sorted {
		same[e.identity()]++
	}
	for i := range sorted {
		e := &sorted[i]
		if len(e.r.ID) == 0 || same[e.identity()] > 1 {
			e.r.Label = hexadecimal(e.label)
		}
	}
	count := map[string]int{}
	for i := range sorted {
		name := sorted[i].name
		count[name]++
		if count[name] > 1 {
			sorted[i].name = fmt.Sprintf("%s#%d", name, count[name])
		}
	}
}

// identity is what a reference without a label tells of a key.
func (e entry) identity() string {
	return fmt.Sprintf("%d/%d/%x", e.class, e.r.KeyType, []byte(e.r.ID))
}

// adopted are the attributes that an adopted object takes from the token.
var adopted = map[cryptoki.ObjectClass][]cryptoki.AttributeType{
	cryptoki.CKO_PRIVATE_KEY: {
		cryptoki.CKA_LABEL, cryptoki.CKA_ID, cryptoki.CKA_SUBJECT, cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE,
		cryptoki.CKA_ALWAYS_SENSITIVE, cryptoki.CKA_NEVER_EXTRACTABLE, cryptoki.CKA_LOCAL, cryptoki.CKA_SIGN,
		cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP, cryptoki.CKA_DERIVE, cryptoki.CKA_ALLOWED_MECHANISMS,
	},
	cryptoki.CKO_PUBLIC_KEY: {
		cryptoki.CKA_LABEL, cryptoki.CKA_ID, cryptoki.CKA_SUBJECT, cryptoki.CKA_LOCAL, cryptoki.CKA_VERIFY,
		cryptoki.CKA_ENCRYPT, cryptoki.CKA_WRAP,
	},
	cryptoki.CKO_SECRET_KEY: {
		cryptoki.CKA_LABEL, cryptoki.CKA_ID, cryptoki.CKA_VALUE_LEN, cryptoki.CKA_SENSITIVE, cryptoki.CKA_EXTRACTABLE,
		cryptoki.CKA_ALWAYS_SENSITIVE, cryptoki.CKA_NEVER_EXTRACTABLE, cryptoki.CKA_LOCAL, cryptoki.CKA_SIGN,
		cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP,
		cryptoki.CKA_DERIVE, cryptoki.CKA_ALLOWED_MECHANISMS,
	},
	cryptoki.CKO_CERTIFICATE: {
		cryptoki.CKA_CERTIFICATE_TYPE, cryptoki.CKA_LABEL, cryptoki.CKA_ID, cryptoki.CKA_SUBJECT, cryptoki.CKA_ISSUER,
		cryptoki.CKA_SERIAL_NUMBER, cryptoki.CKA_VALUE,
	},
}

// take reads what an adopted object takes from the token.
func (s *session) take(handle pkcs11.ObjectHandle, class cryptoki.ObjectClass) (cryptoki.Attributes, error) {
	has, err := s.read(handle, adopted[class]...)
	return append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Bool(cryptoki.CKA_TOKEN, true)}, has...), err
}

// errChanged tells that behind a handle is not what was there when the listing began.
var errChanged = errors.New("the object is another one now")

// found reads a key or certificate.
func (s *session) found(e entry, l *listing) (provider.Found, error) {
	found := provider.Found{Name: e.name}
	first, err := s.take(e.handle, e.class)
	if err != nil {
		return found, err
	}
	if label(first) != e.label || !bytes.Equal(first.Bytes(cryptoki.CKA_ID), e.r.ID) {
		return found, errChanged
	}
	first.Set(cryptoki.Bool(cryptoki.CKA_PRIVATE, e.class != cryptoki.CKO_CERTIFICATE))
	if e.class != cryptoki.CKO_CERTIFICATE {
		first.Set(cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, e.r.KeyType))
	}
	found.Objects = []cryptoki.Attributes{first}
	switch e.class {
	case cryptoki.CKO_SECRET_KEY:
		found.Ref = e.r.encode()
	case cryptoki.CKO_PRIVATE_KEY:
		public, err := s.publicHalf(e, l)
		if err != nil {
			return found, err
		}
		if public != nil {
			values, _ := normalize(e.r.KeyType, public)
			found.Objects[0] = append(found.Objects[0], values...)
			found.Objects = append(found.Objects, public)
			e.r.Public = fingerprint(values)
			if len(e.r.ID) > 0 {
				// The public key tells it apart, and unlike a label it never changes.
				e.r.Label = nil
			}
		}
		found.Ref = e.r.encode()
	}
	return found, nil
}

// publicHalf returns the public key object that belongs to a private key: the token's own, or one made from what the
// private key or a certificate of the same id shows. Nil if there is no way to know it.
func (s *session) publicHalf(e entry, l *listing) (cryptoki.Attributes, error) {
	own, err := s.read(e.handle, publicTypes...)
	if err != nil {
		return nil, err
	}
	known, ok := normalize(e.r.KeyType, own)
	candidates := l.halves[halfName(e.r.KeyType, e.r.ID, e.label)]
	if ok {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(h half) bool {
			return !bytes.Equal(fingerprint(h.public), fingerprint(known))
		})
	}
	if len(candidates) > 1 {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(h half) bool { return h.label != e.label })
	}
	var object cryptoki.Attributes
	switch {
	case len(candidates) == 1:
		known = candidates[0].public
		if object, err = s.take(candidates[0].handle, cryptoki.CKO_PUBLIC_KEY); err != nil {
			return nil, err
		}
	case !ok:
		if known, err = s.certified(e, l); err != nil || known == nil {
			return nil, err
		}
		fallthrough
	default:
		object = cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Bool(cryptoki.CKA_TOKEN, true),
			cryptoki.String(cryptoki.CKA_LABEL, e.label), cryptoki.Bytes(cryptoki.CKA_ID, e.r.ID),
		}
	}
	object.Set(cryptoki.Bool(cryptoki.CKA_PRIVATE, false))
	object.Set(cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, e.r.KeyType))
	return append(object, known...), nil
}

// certified returns the public key of the certificate that has the key's id.
func (s *session) certified(e entry, l *listing) (cryptoki.Attributes, error) {
	if len(e.r.ID) == 0 {
		return nil, nil
	}
	for _, handle := range l.certificates[string(e.r.ID)] {
		has, err := s.read(handle, cryptoki.CKA_VALUE)
		if is(err, cryptoki.CKR_OBJECT_HANDLE_INVALID) {
			continue
		}
		if err != nil {
			return nil, err
		}
		certificate, err := x509.ParseCertificate(has.Bytes(cryptoki.CKA_VALUE))
		if err != nil {
			continue
		}
		public, err := softkey.PublicAttributes(certificate.PublicKey)
		if err != nil {
			continue
		}
		if known, ok := normalize(e.r.KeyType, public); ok {
			return known, nil
		}
	}
	return nil, nil
}
