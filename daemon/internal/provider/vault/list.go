package vault

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// pageSize is how many keys a page has, readers is how many of them are read at once: the engine's listing has names only.
const (
	pageSize = 100
	readers  = 8
)

// listing is the names of the engine's keys while somebody turns pages: the engine has no pages, and asking for all names
// with each of ours would make the work grow with the square of the keys.
type listing struct {
	mu    sync.Mutex
	names []string
	at    time.Time
}

// listingAge is how long names are kept for the next page.
const listingAge = 5 * time.Minute

func (l *listing) get() ([]string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names, time.Since(l.at) < listingAge
}

func (l *listing) set(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names, l.at = names, time.Now()
}

// allNames asks the engine for all names, in order.
func (p *Provider) allNames(ctx context.Context) ([]string, error) {
	var out struct {
		Keys []string `json:"keys"`
	}
	err := p.call(ctx, request{action: actionList, method: http.MethodGet, path: p.path("keys?list=true")}, &out)
	if fault.Is(err, fault.KeyHandleInvalid) {
		return nil, nil // So Vault says that there is none.
	}
	if err != nil {
		return nil, err
	}
	// A name that ends in a slash is a folder of another kind of thing.
	out.Keys = slices.DeleteFunc(out.Keys, func(name string) bool { return !keyName.MatchString(name) })
	slices.Sort(out.Keys)
	return out.Keys, nil
}

// List lists the newest versions of the engine's keys. A page is named by the last key of the one before.
func (p *Provider) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	if err := p.ready(ctx, "list keys"); err != nil {
		return nil, "", err
	}
	names, fresh := p.names.get()
	if page == "" || !fresh {
		var err error
		if names, err = p.allNames(ctx); err != nil {
			return nil, "", err
		}
		p.names.set(names)
	}
	begin := 0
	if page != "" {
		at, there := slices.BinarySearch(names, page)
		if there {
			at++
		}
		begin = at
	}
	end := min(begin+pageSize, len(names))
	next := ""
	if end < len(names) {
		next = names[end-1]
	}
	found, err := p.readAll(ctx, names[begin:end])
	return found, next, err
}

// readAll reads keys, several at once. A key that is gone meanwhile, or that PKCS#11 cannot use, is left out.
func (p *Provider) readAll(ctx context.Context, names []string) ([]provider.Found, error) {
	results := make([]*provider.Found, len(names))
	errs := make([]error, len(names))
	var group sync.WaitGroup
	slots := make(chan struct{}, readers)
	for i, name := range names {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			found, err := p.found(ctx, reference{name: name})
			switch {
			case err == nil:
				results[i] = &found
			case fault.Is(err, fault.KeyTypeInconsistent):
				p.log.Info("a key of Vault is left out of the listing: it cannot be used", "key", name, "reason", err)
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

// Inspect tells whether a key is there, by asking and not from memory.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "look at the key"); err != nil {
		return err
	}
	r, err := parse(ref.Ref)
	if err == nil {
		_, err = p.inspect(ctx, r)
	}
	return err
}

// Find finds a key by its name, NAME/VERSION, or MOUNT/keys/NAME.
func (p *Provider) Find(ctx context.Context, name string) (provider.Found, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return provider.Found{}, err
	}
	r, ok := parseReference(strings.TrimPrefix(name, p.path("keys/")))
	if !ok {
		return provider.Found{}, fault.New(fault.NotFound, "%.200q is no key of %s; give a key's name, NAME/VERSION, or %s/keys/NAME", name, p.service(), p.config.Mount)
	}
	found, err := p.found(ctx, r)
	if fault.Is(err, fault.KeyHandleInvalid) {
		err = fault.New(fault.NotFound, "%w", err)
	}
	return found, err
}

// found reads a key as what adoption makes of it; its newest version where the reference has none.
func (p *Provider) found(ctx context.Context, r reference) (provider.Found, error) {
	var none provider.Found
	there, err := p.look(ctx, r.name)
	if err != nil {
		return none, err
	}
	if r.version == 0 {
		r.version = there.Latest
	}
	m, err := understand(r.name, r.version, there)
	if err != nil {
		return none, err
	}
	shared := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, m.spec.keyType), cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.String(cryptoki.CKA_LABEL, labelOf(r.name)),
	}
	class := cryptoki.CKO_PRIVATE_KEY
	if !m.spec.private() {
		class = cryptoki.CKO_SECRET_KEY
	}
	first := append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Bool(cryptoki.CKA_PRIVATE, true)}, shared...)
	for _, usage := range m.spec.can() {
		first = append(first, cryptoki.Bool(usage, true))
	}
	// Whoever made the key exportable did so for others; an object that is adopted keeps its value to itself.
	first = append(append(first, m.spec.granted(nil, false, false)...), m.public...)
	found := provider.Found{Name: r.String(), Ref: []byte(r.String()), Version: strconv.Itoa(r.version)}
	if !m.spec.private() {
		found.Objects = []cryptoki.Attributes{append(first, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, m.spec.bytes))}
		return found, nil
	}
	public := append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)}, shared...)
	public = append(public, cryptoki.Bool(cryptoki.CKA_VERIFY, true))
	if m.spec.keyType == cryptoki.CKK_RSA {
		public = append(public, cryptoki.Bool(cryptoki.CKA_ENCRYPT, true), cryptoki.Bool(cryptoki.CKA_WRAP, true))
	}
	found.Objects = []cryptoki.Attributes{first, append(public, m.public...)}
	return found, nil
}
