package azurekv

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// The tags of keys that AnyHSM makes. tagGone marks a version that was destroyed while others of its key live: Azure
// deletes a key with all its versions or not at all.
const (
	tagUID   = "anyhsm-uid"
	tagToken = "anyhsm-token"
	tagLabel = "anyhsm-label"
	tagGone  = "anyhsm-destroyed"
)

// material is what never changes about a version of a key.
type material struct {
	id   kid
	spec spec
	// public are the public attributes of a key pair, verifier is the same for use.
	public   cryptoki.Attributes
	verifier *softkey.Key
}

// seen is a version of a key as Azure has it now.
type seen struct {
	*material
	operations []azkeys.KeyOperation
	tags       map[string]*string
	// expires is zero for a key that does not.
	expires time.Time
}

func (s seen) tag(name string) string {
	if value := s.tags[name]; value != nil {
		return *value
	}
	return ""
}

// understand reads Azure's answer about a key.
func (p *Provider) understand(bundle azkeys.KeyBundle) (seen, error) {
	var s seen
	if bundle.Key == nil || bundle.Key.KID == nil {
		return s, fault.New(fault.FunctionFailed, "Azure's answer holds no key; look at vault_url")
	}
	id, ok := parseKID(string(*bundle.Key.KID))
	if !ok || id.version == "" || id.vault != p.vault {
		return s, fault.New(fault.FunctionFailed, "Azure's answer is about %.200q, which is no key of %s; look at vault_url", *bundle.Key.KID, p.vault)
	}
	kind, public, err := read(bundle.Key)
	if err != nil {
		return s, err
	}
	s = seen{material: &material{id: id, spec: kind, public: public}, tags: bundle.Tags}
	if a := bundle.Attributes; a != nil && a.Expires != nil {
		s.expires = *a.Expires
	}
	for _, o := range bundle.Key.KeyOps {
		if o != nil {
			s.operations = append(s.operations, *o)
		}
	}
	if kind.private() {
		attributes := append(cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, kind.keyType),
		}, public...)
		if s.verifier, err = softkey.FromAttributes(attributes); err != nil {
			return s, err
		}
	}
	return s, nil
}

// look asks for a version of a key; the current one if version is empty.
func (p *Provider) look(ctx context.Context, name, version string) (seen, error) {
	id := kid{vault: p.vault, name: name, version: version}
	answer, err := call(ctx, p, request{operation: opGet, key: id.String()}, func(ctx context.Context) (azkeys.GetKeyResponse, error) {
		return p.client.GetKey(ctx, name, version, nil)
	})
	if err != nil {
		return seen{}, err
	}
	s, err := p.understand(answer.KeyBundle)
	if err == nil && (s.id.name != name && !sameName(s.id.name, name) || version != "" && s.id.version != version) {
		err = fault.New(fault.FunctionFailed, "asked for the key %s, Azure answered about %s; look at vault_url", id, s.id)
	}
	return s, err
}

// sameName compares as Azure does.
func sameName(a, b string) bool { return bytes.EqualFold([]byte(a), []byte(b)) }

// cache remembers keys that were seen to be there. It spares a call per signature; what became of a key since then, the
// signature's own call tells.
type cache struct {
	mu   sync.RWMutex
	seen map[string]*material
}

// cacheSize bounds the number of keys that are remembered.
const cacheSize = 65536

func (c *cache) get(id string) *material {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seen[id]
}

func (c *cache) add(m *material) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= cacheSize {
		c.seen = map[string]*material{}
	}
	c.seen[m.id.String()] = m
}

func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, id)
}

// Key returns the key behind a reference. The first time it asks the service whether the key is there.
func (p *Provider) Key(ctx context.Context, ref provider.Reference) (provider.Key, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return nil, err
	}
	id, err := p.parse(ref.Ref)
	if err != nil {
		return nil, err
	}
	m := p.keys.get(id.String())
	if m == nil {
		if m, err = p.inspect(ctx, id); err != nil {
			return nil, err
		}
	}
	if err := m.fits(ref.Attributes); err != nil {
		return nil, err
	}
	return &key{provider: p, reference: ref, material: m}, nil
}

// inspect asks whether a key is there, once for all who want to know. Azure does not show a key that is disabled.
func (p *Provider) inspect(ctx context.Context, id kid) (*material, error) {
	return join(ctx, p, &p.looks, id.String(), func(ctx context.Context) (*material, error) {
		s, err := p.look(ctx, id.name, id.version)
		gone := err == nil && s.tag(tagGone) != ""
		if errors.Is(err, errDisabled) {
			all, failed := p.versions(ctx, id.name)
			gone = failed == nil && slices.ContainsFunc(all, func(v version) bool { return v.id.version == id.version && v.gone })
		}
		if gone {
			return nil, fault.New(fault.KeyHandleInvalid, "the key %s was destroyed: this version is disabled and tagged, and other versions of it live on", id)
		}
		if err != nil {
			return nil, err
		}
		p.keys.add(s.material)
		return s.material, nil
	})
}

// fits tells whether the key is the one that the store knows.
func (m *material) fits(attributes cryptoki.Attributes) error {
	keyType, ok := attributes.KeyType()
	same := !ok || keyType == m.spec.keyType
	for _, t := range publicTypes {
		mine, theirs := m.public.Bytes(t), attributes.Bytes(t)
		same = same && (len(mine) == 0 || len(theirs) == 0 || bytes.Equal(mine, theirs))
	}
	if same {
		return nil
	}
	return fault.New(fault.KeyHandleInvalid, "Azure has another key under %s than the one recorded; look at the key there, and adopt it anew", m.id)
}

// key is a key of Azure in use.
type key struct {
	provider  *Provider
	reference provider.Reference
	*material
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// check refuses what Azure would refuse as well.
func (k *key) check(ctx context.Context, m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := k.provider.ready(ctx, "use the key"); err != nil {
		return err
	}
	return limited(m.Type, k.provider.capabilities.CheckUse(m, use, k.spec.keyType))
}

// settle forgets a key that is gone.
func (k *key) settle(err error) error {
	if fault.Is(err, fault.KeyHandleInvalid) {
		k.provider.keys.drop(k.id.String())
	}
	return err
}

// answered checks that it was this key that the service used.
func (k *key) answered(by *azkeys.ID) error {
	if by == nil {
		return nil
	}
	if id, ok := parseKID(string(*by)); !ok || id.vault != k.id.vault || !sameName(id.name, k.id.name) || id.version != k.id.version {
		return fault.New(fault.FunctionFailed, "Azure used %.200q instead of %s; look at vault_url", *by, k.id)
	}
	return nil
}
