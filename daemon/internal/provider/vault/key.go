package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strconv"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// policy is what the engine tells of a key with all its versions.
type policy struct {
	Type       string                     `json:"type"`
	Size       uint64                     `json:"key_size"`
	Keys       map[string]json.RawMessage `json:"keys"`
	Latest     int                        `json:"latest_version"`
	Oldest     int                        `json:"min_available_version"`
	Decrypts   int                        `json:"min_decryption_version"`
	Encrypts   int                        `json:"min_encryption_version"`
	Derived    bool                       `json:"derived"`
	Exportable bool                       `json:"exportable"`
	Deletable  bool                       `json:"deletion_allowed"`
}

// first is the oldest version that is still there.
func (p policy) first() int { return max(p.Oldest, p.Decrypts, 1) }

// material is what never changes about a version of a key.
type material struct {
	ref        reference
	spec       spec
	exportable bool
	// public are the public attributes of a key pair, verifier is the same for use.
	public   cryptoki.Attributes
	verifier *softkey.Key
}

// understand reads what the engine tells of a version of a key.
func understand(name string, version int, p policy) (*material, error) {
	m := &material{ref: reference{name: name, version: version}, exportable: p.Exportable}
	var err error
	if m.spec, err = specNamed(p.Type, p.Size); err != nil {
		return nil, err
	}
	switch {
	case p.Derived:
		return nil, fault.New(fault.KeyTypeInconsistent, "the key %s is derived anew for each context, which PKCS#11 has no word for; make one with derived=false", name)
	case version < 1 || version < p.first() || version > p.Latest:
		return nil, fault.New(fault.KeyHandleInvalid, "Vault has no version %d of the key %s: those from %d to %d are there; it was trimmed or archived, or the key was made anew", version, name, p.first(), p.Latest)
	case !m.spec.private():
		return m, nil
	}
	if m.public, err = readPublic(m.spec, p.Keys[strconv.Itoa(version)]); err != nil {
		return nil, err
	}
	m.verifier, err = softkey.FromAttributes(append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, m.spec.keyType),
	}, m.public...))
	return m, err
}

// readPublic reads the public key of a version: PEM, or the 32 bytes of an Ed25519 key in base64.
func readPublic(kind spec, text json.RawMessage) (cryptoki.Attributes, error) {
	var row struct {
		Public string `json:"public_key"`
	}
	_ = json.Unmarshal(text, &row)
	var public any
	if raw, err := base64.StdEncoding.DecodeString(row.Public); kind.keyType == cryptoki.CKK_EC_EDWARDS && err == nil && len(raw) == ed25519.PublicKeySize {
		public = ed25519.PublicKey(raw)
	} else if block, _ := pem.Decode([]byte(row.Public)); block != nil {
		public, _ = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if public != nil {
		if all, err := softkey.PublicAttributes(public); err == nil {
			if got, err := specOf(keyTypeOf(all), all); err == nil && got == kind {
				return values(all), nil
			}
		}
	}
	return nil, fault.New(fault.FunctionFailed, "the public key that Vault sent is none of type %s; look at address and mount", kind.name)
}

func keyTypeOf(attributes cryptoki.Attributes) cryptoki.KeyType {
	if t, ok := attributes.KeyType(); ok {
		return t
	}
	on, err := curve.Of(attributes)
	if err != nil {
		return cryptoki.CKK_RSA
	}
	return on.KeyType
}

// publicTypes are the attributes that make up a public key.
var publicTypes = []cryptoki.AttributeType{cryptoki.CKA_MODULUS, cryptoki.CKA_PUBLIC_EXPONENT, cryptoki.CKA_EC_PARAMS, cryptoki.CKA_EC_POINT}

// values takes out what makes up a public key.
func values(attributes cryptoki.Attributes) (public cryptoki.Attributes) {
	for _, t := range publicTypes {
		if value := attributes.Bytes(t); len(value) > 0 {
			public = append(public, cryptoki.Bytes(t, value))
		}
	}
	return public
}

// Actions, as people call them.
const (
	actionRead    = "read the key"
	actionList    = "list keys"
	actionCreate  = "make the key"
	actionImport  = "import the key"
	actionSign    = "sign with"
	actionMAC     = "compute a MAC with"
	actionDecrypt = "decrypt with"
	actionExport  = "export the key"
	actionAllow   = "allow the deletion of the key"
	actionDelete  = "delete the key"
	actionTrim    = "trim the key"
	actionRandom  = "make random numbers"
)

// path is a path of the engine.
func (p *Provider) path(parts ...string) string {
	path := p.config.Mount
	for _, part := range parts {
		path += "/" + part
	}
	return path
}

// look asks the engine about a key.
func (p *Provider) look(ctx context.Context, name string) (policy, error) {
	var found policy
	err := p.call(ctx, request{action: actionRead, key: name, method: http.MethodGet, path: p.path("keys", name)}, &found)
	return found, err
}

// cache remembers keys that were seen to be there. It spares a call per signature; what became of a key since then, the
// signature's own call tells.
type cache struct {
	mu   sync.RWMutex
	seen map[reference]*material
}

// cacheSize bounds the number of keys that are remembered.
const cacheSize = 65536

func (c *cache) get(r reference) *material {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seen[r]
}

func (c *cache) add(m *material) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil || len(c.seen) >= cacheSize {
		c.seen = map[reference]*material{}
	}
	c.seen[m.ref] = m
}

func (c *cache) drop(r reference) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, r)
}

// Key returns the key behind a reference. The first time it asks the service whether the key is there.
func (p *Provider) Key(ctx context.Context, ref provider.Reference) (provider.Key, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return nil, err
	}
	r, err := parse(ref.Ref)
	if err != nil {
		return nil, err
	}
	m := p.keys.get(r)
	if m == nil {
		if m, err = p.inspect(ctx, r); err != nil {
			return nil, err
		}
	}
	if err := m.fits(ref.Attributes); err != nil {
		return nil, err
	}
	return &key{provider: p, reference: ref, material: m}, nil
}

// inspect asks whether a key is there, once for all who want to know.
func (p *Provider) inspect(ctx context.Context, r reference) (*material, error) {
	return join(ctx, p, &p.looks, "look at the key "+r.String(), func(ctx context.Context) (*material, error) {
		found, err := p.look(ctx, r.name)
		if err != nil {
			return nil, err
		}
		m, err := understand(r.name, r.version, found)
		if err != nil {
			return nil, err
		}
		p.keys.add(m)
		return m, nil
	})
}

// fits tells whether the key is the one that the store knows.
func (m *material) fits(attributes cryptoki.Attributes) error {
	keyType, ok := attributes.KeyType()
	same := !ok || keyType == m.spec.keyType
	for _, t := range publicTypes {
		mine, theirs := m.public.Bytes(t), attributes.Bytes(t)
		same = same && (len(mine) == 0 || len(theirs) == 0 || bytes.Equal(mine, theirs) || t == cryptoki.CKA_EC_PARAMS && sameCurve(mine, theirs))
	}
	if same {
		return nil
	}
	return fault.New(fault.KeyHandleInvalid, "Vault has another key under %s than the one recorded: one of type %s; look at the key there, and adopt it anew", m.ref, m.spec.name)
}

// sameCurve compares values of CKA_EC_PARAMS: pkcs11-tool gives Edwards curves by name, and the object keeps what it gave.
func sameCurve(mine, theirs []byte) bool {
	one, err1 := curve.Parse(mine)
	other, err2 := curve.Parse(theirs)
	return err1 == nil && err2 == nil && one == other
}

// key is a key of the engine in use.
type key struct {
	provider  *Provider
	reference provider.Reference
	*material
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// check refuses what the engine would refuse as well.
func (k *key) check(ctx context.Context, m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := k.provider.ready(ctx, "use the key"); err != nil {
		return err
	}
	return limited(m.Type, k.provider.capabilities.CheckUse(m, use, k.spec.keyType))
}

// settle forgets a key that is gone, or that is another one now.
func (k *key) settle(err error) error {
	if fault.Is(err, fault.KeyHandleInvalid) || fault.Is(err, fault.KeyTypeInconsistent) {
		k.provider.keys.drop(k.ref)
	}
	return err
}
