package azurekv

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// version is a row of a listing.
type version struct {
	id            kid
	created       time.Time
	enabled, gone bool
	// uid is the object that AnyHSM has made the key for.
	uid  string
	tags map[string]*string
}

func (p *Provider) row(item *azkeys.KeyProperties) (version, bool) {
	var v version
	if item == nil || item.KID == nil {
		return v, false
	}
	var ok bool
	if v.id, ok = parseKID(string(*item.KID)); !ok || v.id.vault != p.vault {
		return v, false
	}
	v.enabled = true
	if a := item.Attributes; a != nil {
		v.enabled = a.Enabled == nil || *a.Enabled
		if a.Created != nil {
			v.created = *a.Created
		}
	}
	v.tags, v.gone = item.Tags, item.Tags[tagGone] != nil
	if value := item.Tags[tagUID]; value != nil {
		v.uid = *value
	}
	return v, true
}

// turn fetches the page that a link leads to, the first one if it is empty. A pager that has failed stays failed, so
// each attempt has its own.
func turn[T any](ctx context.Context, p *Provider, key, link string, begin func() *runtime.Pager[T]) (T, error) {
	var none T
	if link != "" && !p.own(link) {
		return none, strange(link)
	}
	return call(ctx, p, request{operation: opList, key: key}, func(ctx context.Context) (T, error) {
		pager := begin()
		if link != "" {
			state, err := json.Marshal(map[string]string{"nextLink": link})
			if err == nil {
				err = json.Unmarshal(state, pager)
			}
			if err != nil {
				return none, err
			}
			// It counts as the first page, which is already there.
			if _, err := pager.NextPage(ctx); err != nil {
				return none, err
			}
		}
		return pager.NextPage(ctx)
	})
}

// versions lists the versions of a key; none if there is no such key.
func (p *Provider) versions(ctx context.Context, name string) (all []version, err error) {
	for link := ""; ; {
		page, err := turn(ctx, p, p.vault+"/keys/"+name, link, func() *runtime.Pager[azkeys.ListKeyPropertiesVersionsResponse] {
			return p.client.NewListKeyPropertiesVersionsPager(name, nil)
		})
		if fault.Is(err, fault.KeyHandleInvalid) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, item := range page.Value {
			if v, ok := p.row(item); ok && v.id.version != "" {
				all = append(all, v)
			}
		}
		if page.NextLink == nil || *page.NextLink == "" {
			return all, nil
		}
		link = *page.NextLink
	}
}

// own tells whether a link is this vault's: what follows a link shows the daemon's token.
func (p *Provider) own(link string) bool {
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "https" && u.User == nil && "https://"+host(u) == p.vault
}

func strange(link string) error {
	return fault.New(fault.InvalidInput, "%.200q is no page of this vault; begin the listing anew", link)
}

// readers is how many keys of a page are read at once: the listing has no public keys.
const readers = 8

// List lists the current versions of the vault's keys. A page is Azure's link to it.
func (p *Provider) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	if err := p.ready(ctx, "list keys"); err != nil {
		return nil, "", err
	}
	answer, err := turn(ctx, p, p.vault, page, func() *runtime.Pager[azkeys.ListKeyPropertiesResponse] {
		return p.client.NewListKeyPropertiesPager(nil)
	})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if answer.NextLink != nil {
		next = *answer.NextLink
	}
	if next != "" && !p.own(next) {
		return nil, "", strange(next)
	}
	var names []string
	for _, item := range answer.Value {
		v, ok := p.row(item)
		if ok && !v.enabled && v.uid == "" {
			p.log.Info("a key of the vault is left out of the listing: it is disabled, and Azure does not show it", "key", v.id.name)
			continue
		}
		if ok {
			names = append(names, v.id.name)
		}
	}
	found, err := p.readAll(ctx, names)
	return found, next, err
}

// readAll reads keys, several at once. A key that is gone meanwhile, or that PKCS#11 cannot use, is left out.
func (p *Provider) readAll(ctx context.Context, names []string) ([]provider.Found, error) {
	results := make([]*provider.Found, len(names))
	errs := make([]error, len(names))
	var group sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i, name := range names {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found, err := p.found(ctx, name, "")
			switch {
			case err == nil:
				results[i] = &found
			case errors.Is(err, errDisabled), fault.Is(err, fault.KeyTypeInconsistent), fault.Is(err, fault.KeySizeRange), fault.Is(err, fault.CurveNotSupported):
				p.log.Info("a key of the vault is left out of the listing: it cannot be used", "key", name, "reason", err)
			case !fault.Is(err, fault.KeyHandleInvalid):
				errs[i] = err
			}
		})
	}
	group.Wait()
	var all []provider.Found
	for i := range names {
		if errs[i] != nil {
			return nil, errs[i]
		}
		if results[i] != nil {
			all = append(all, *results[i])
		}
	}
	return all, nil
}

// Find finds a key by its id, with or without version, or by its name, or NAME/VERSION.
func (p *Provider) Find(ctx context.Context, name string) (provider.Found, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return provider.Found{}, err
	}
	text := name
	if !strings.Contains(text, "://") {
		text = p.vault + "/keys/" + text
	}
	id, ok := parseKID(text)
	if !ok || id.vault != p.vault {
		return provider.Found{}, fault.New(fault.NotFound, "%.200q is no key of %s; give a key's name, NAME/VERSION, or its id https://VAULT/keys/NAME/VERSION", name, p.vault)
	}
	found, err := p.found(ctx, id.name, id.version)
	if fault.Is(err, fault.KeyHandleInvalid) {
		err = fault.New(fault.NotFound, "%w", err)
	}
	return found, err
}

// Inspect tells whether a key is there and can be used. Azure shows disabled ones to nobody.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "look at the key"); err != nil {
		return err
	}
	id, ok := parseKID(string(ref.Ref))
	if !ok {
		return fault.New(fault.KeyHandleInvalid, "the key's reference is no id of a key in Azure; the store is damaged, or the key belongs to another provider")
	}
	s, err := p.look(ctx, id.name, id.version)
	if err == nil && !s.expires.IsZero() && s.expires.Before(time.Now()) {
		err = fault.New(fault.FunctionFailed, "the key %s has expired at %s; set another date with az keyvault key set-attributes --expires", s.id, s.expires.Format(time.RFC3339))
	}
	return err
}

// belonging are the usage attributes that the private or secret keys of a type have.
var belonging = map[cryptoki.KeyType][]cryptoki.AttributeType{
	cryptoki.CKK_RSA: {cryptoki.CKA_SIGN, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP},
	cryptoki.CKK_EC:  {cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE},
	cryptoki.CKK_AES: {
		cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP, cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY,
		cryptoki.CKA_DERIVE,
	},
}

// found reads a key as what adoption makes of it.
func (p *Provider) found(ctx context.Context, name, version string) (provider.Found, error) {
	var none provider.Found
	s, err := p.look(ctx, name, version)
	if version == "" && errors.Is(err, errDisabled) {
		// The current version may be one that lost a race.
		if counts, ok, failed := p.original(ctx, name); failed == nil && ok && counts.uid != "" && counts.enabled {
			s, err = p.look(ctx, name, counts.id.version)
		}
	}
	if err != nil {
		return none, err
	}
	if s.tag(tagGone) != "" {
		return none, fault.New(fault.KeyHandleInvalid, "the key %s was destroyed: this version is disabled and tagged", s.id)
	}
	label := s.tag(tagLabel)
	if label == "" {
		label = s.id.name
	}
	shared := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, s.spec.keyType), cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, label),
	}
	class := cryptoki.CKO_PRIVATE_KEY
	if !s.spec.private() {
		class = cryptoki.CKO_SECRET_KEY
	}
	first := append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Bool(cryptoki.CKA_PRIVATE, true)}, shared...)
	wanted := cryptoki.Attributes{}
	for _, usage := range belonging[s.spec.keyType] {
		wanted = append(wanted, cryptoki.Bool(usage, true))
	}
	for _, a := range s.spec.granted(s.operations, wanted, false) {
		wanted.Set(a)
	}
	first = append(append(first, wanted...), s.public...)
	if !s.spec.private() {
		length, ok := map[string]uint64{"16": 16, "24": 24, "32": 32}[s.tag(tagBytes)]
		if !ok {
			return none, fault.New(fault.KeySizeRange, "Azure does not tell the size of the key %s; tag it %s = 16, 24 or 32", s.id, tagBytes)
		}
		first = append(first, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, length))
	}
	found := provider.Found{Name: s.id.String(), Ref: []byte(s.id.String()), Version: s.id.version, Expires: s.expires, Objects: []cryptoki.Attributes{first}}
	if s.spec.private() {
		public := append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)}, shared...)
		public = append(public, cryptoki.Bool(cryptoki.CKA_VERIFY, wanted.Bool(cryptoki.CKA_SIGN)))
		if s.spec.keyType == cryptoki.CKK_RSA {
			decrypts := wanted.Bool(cryptoki.CKA_DECRYPT)
			public = append(public, cryptoki.Bool(cryptoki.CKA_ENCRYPT, decrypts), cryptoki.Bool(cryptoki.CKA_WRAP, decrypts))
		}
		found.Objects = append(found.Objects, append(public, s.public...))
	}
	return found, nil
}
