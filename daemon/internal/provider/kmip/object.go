package kmip

import (
	"cmp"
	"context"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// object is what a server tells of an object.
type object struct {
	id                         string
	kind                       uint32
	algorithm, usage, state    uint32
	length                     int
	made                       int64
	names                      []string
	label                      string
	publicKey                  string // the identifier that a link has
	sensitive                  bool
	extractable, hasExtraction bool
}

// describe asks for an object's attributes.
func (p *Provider) describe(ctx context.Context, id string) (object, error) {
	payload, err := p.call(ctx, ttlv.OpGetAttributes, uid(id))
	if err != nil {
		return object{}, err
	}
	return p.objectOf(id, payload), nil
}

func (p *Provider) objectOf(id string, payload ttlv.Item) object {
	has := p.version.read(payload)
	o := object{
		id: id, kind: has.Enum(ttlv.TagObjectType), algorithm: has.Enum(ttlv.TagCryptographicAlgorithm), state: has.Enum(ttlv.TagState),
	}
	length, _ := has.Value(ttlv.TagCryptographicLength, ttlv.IntegerType)
	usage, _ := has.Value(ttlv.TagCryptographicUsageMask, ttlv.IntegerType)
	o.length, o.usage = int(length), uint32(usage)
	if made, ok := has.Find(ttlv.TagInitialDate); ok {
		o.made = made.Number
	}
	for _, item := range has.All(ttlv.TagName) {
		o.names = append(o.names, item.Text(ttlv.TagNameValue))
	}
	for _, item := range has.All(ttlv.TagApplicationSpecificInformation) {
		if item.Text(ttlv.TagApplicationNamespace) == labelNamespace {
			o.label = item.Text(ttlv.TagApplicationData)
		}
	}
	for _, item := range has.All(ttlv.TagLink) {
		if item.Enum(ttlv.TagLinkType) == ttlv.PublicKeyLink {
			o.publicKey = item.Text(ttlv.TagLinkedObjectIdentifier)
		}
	}
	sensitive, _ := has.Value(ttlv.TagSensitive, ttlv.BooleanType)
	extractable, ok := has.Value(ttlv.TagExtractable, ttlv.BooleanType)
	o.sensitive, o.extractable, o.hasExtraction = sensitive == 1, extractable == 1, ok
	return o
}

// dead tells that an object is there only as a record of one that was.
func (o object) dead() bool {
	return o.state == ttlv.StateDestroyed || o.state == ttlv.StateDestroyedCompromised
}

// keyType is the type in PKCS#11's words; ok is false for what no token holds.
func (o object) keyType() (class cryptoki.ObjectClass, keyType cryptoki.KeyType, ok bool) {
	class = cryptoki.CKO_SECRET_KEY
	if o.kind == ttlv.ObjectPrivateKey {
		class = cryptoki.CKO_PRIVATE_KEY
	}
	switch {
	case o.kind == ttlv.ObjectSymmetricKey && o.algorithm == ttlv.AlgorithmAes:
		return class, cryptoki.CKK_AES, true
	case o.kind == ttlv.ObjectSymmetricKey && o.algorithm >= ttlv.AlgorithmHmacSha1 && o.algorithm <= ttlv.AlgorithmHmacSha512:
		return class, cryptoki.CKK_GENERIC_SECRET, true
	case o.kind == ttlv.ObjectPrivateKey && o.algorithm == ttlv.AlgorithmRsa:
		return class, cryptoki.CKK_RSA, true
	case o.kind == ttlv.ObjectPrivateKey && (o.algorithm == ttlv.AlgorithmEc || o.algorithm == ttlv.AlgorithmEcdsa):
		return class, cryptoki.CKK_EC, true
	}
	return 0, 0, false
}

// reference is what the store keeps of an object.
func (o object) reference() reference {
	class, keyType, _ := o.keyType()
	r := reference{ID: o.id, Class: class, KeyType: keyType, Made: o.made}
	if len(o.names) > 0 {
		r.Name = o.names[0]
	}
	return r
}

// is tells whether an object is the one that a reference was made of.
func (o object) is(r reference) bool {
	class, keyType, ok := o.keyType()
	return ok && class == r.Class && keyType == r.KeyType && o.made == r.Made && (r.Name == "" || slices.Contains(o.names, r.Name))
}

// keyName is the name of a key that is made for an object of ours, publicName that of its public half.
func keyName(identity provider.Identity) string { return "anyhsm-" + identity.UID }

const publicSuffix = "-public"

// locate looks for identifiers of objects with all of some attributes.
func (p *Provider) locate(ctx context.Context, offset, most int32, attributes ...ttlv.Item) ([]string, error) {
	var payload []ttlv.Item
	if most > 0 {
		payload = append(payload, ttlv.Integer(ttlv.TagMaximumItems, most), ttlv.Integer(ttlv.TagOffsetItems, offset))
	}
	found, err := p.call(ctx, ttlv.OpLocate, append(payload, p.version.filter(attributes)...)...)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, item := range found.All(ttlv.TagUniqueIdentifier) {
		if item.Type == ttlv.TextStringType && len(item.Bytes) > 0 {
			ids = append(ids, string(item.Bytes))
		}
	}
	return ids, nil
}

// named finds the objects of a type that have a name, the oldest first.
func (p *Provider) named(ctx context.Context, kind uint32, value string) ([]object, error) {
	ids, err := p.locate(ctx, 0, 0, ttlv.Enumeration(ttlv.TagObjectType, kind), name(value))
	if err != nil {
		return nil, err
	}
	var all []object
	for _, id := range ids {
		o, err := p.describe(ctx, id)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Some servers ignore attributes that they do not know.
		if !o.dead() && o.kind == kind && slices.Contains(o.names, value) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.made, b.made), cmp.Compare(len(a.id), len(b.id)), cmp.Compare(a.id, b.id))
	})
	return all, nil
}

// publicHalf reads the public key that belongs to a private one: by the server's link, or by the name that we gave it.
func (p *Provider) publicHalf(ctx context.Context, private object) (id string, public cryptoki.Attributes, err error) {
	id = private.publicKey
	if id == "" {
		var halves []object
		for _, n := range private.names {
			more, err := p.named(ctx, ttlv.ObjectPublicKey, n+publicSuffix)
			if err != nil {
				return "", nil, err
			}
			halves = append(halves, more...)
		}
		if len(halves) != 1 {
			return "", nil, fault.New(fault.FunctionFailed, "the KMIP server has %d public keys for the private key %s, and no link that tells which is its own; destroy the others", len(halves), private.id)
		}
		id = halves[0].id
	}
	payload, err := p.call(ctx, ttlv.OpGet, uid(id))
	if err != nil {
		return "", nil, err
	}
	public, err = publicValue(payload)
	return id, public, err
}
