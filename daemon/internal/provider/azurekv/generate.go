package azurekv

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// prefix stands before the uid in the names of the keys that AnyHSM makes.
const prefix = "anyhsm-"

var uid = regexp.MustCompile(`^[0-9a-f]{32}$`)

// tagBytes is the length of an AES key, which Azure does not tell.
const tagBytes = "anyhsm-bytes"

// maxTag is the longest value of a tag.
const maxTag = 256

// Generate makes a key named by the identity. A repeated request finds the key by that name and its tag.
func (p *Provider) Generate(ctx context.Context, r provider.GenerateRequest) (provider.Generated, error) {
	var none provider.Generated
	if err := p.ready(ctx, "make a key"); err != nil {
		return none, err
	}
	if err := p.capabilities.CheckGenerate(r); err != nil {
		return none, limited(r.Mechanism.Type, err)
	}
	keyType, open := cryptoki.CKK_AES, r.Private
	switch r.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		keyType, open = cryptoki.CKK_RSA, r.Public
		if e := bytes.TrimLeft(r.Public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT), "\x00"); len(e) > 0 && !bytes.Equal(e, []byte{1, 0, 1}) {
			return none, fault.New(fault.AttributeValueInvalid, "Azure Key Vault makes RSA keys with the public exponent 65537 only; leave CKA_PUBLIC_EXPONENT out")
		}
	case cryptoki.CKM_EC_KEY_PAIR_GEN:
		keyType, open = cryptoki.CKK_EC, r.Public
	}
	kind, err := specOf(keyType, open, p.config.HSM)
	if err != nil {
		return none, err
	}
	b := birth{provider: p, identity: r.Identity, kind: kind, template: r.Private, generated: true, operation: opCreate}
	return b.run(ctx, func(ctx context.Context, name string) (azkeys.KeyBundle, error) {
		kty := kind.kty(p.config)
		parameters := azkeys.CreateKeyParameters{Kty: &kty, KeyOps: pointers(b.operations), Tags: b.tags()}
		switch kind.keyType {
		case cryptoki.CKK_EC:
			parameters.Curve = &kind.signed.name
		default:
			size := int32(kind.bits)
			parameters.KeySize = &size
		}
		answer, err := p.client.CreateKey(ctx, name, parameters, nil)
		return answer.KeyBundle, err
	})
}

// birth is the making of a key: at most one for an identity, however often it is asked for, and by whom.
type birth struct {
	provider   *Provider
	identity   provider.Identity
	kind       spec
	template   cryptoki.Attributes
	generated  bool
	operation  operation
	operations []azkeys.KeyOperation
	// public are the public attributes of a key that is imported, wipe overwrites its secret ones.
	public cryptoki.Attributes
	wipe   func()
}

// maxBirths bounds how often the making is tried when it is not known what became of it.
const maxBirths = 4

// run makes the key, unless it is there.
func (b *birth) run(ctx context.Context, bear func(ctx context.Context, name string) (azkeys.KeyBundle, error)) (provider.Generated, error) {
	var none provider.Generated
	switch {
	case b.identity.Session:
		return none, fault.New(fault.FunctionNotSupported, "Azure Key Vault keeps no keys for a session alone; provider software makes those")
	case !uid.MatchString(b.identity.UID):
		return none, fault.New(fault.ArgumentsBad, "the object's uid is not 32 hexadecimal digits; this is a defect of the daemon")
	}
	var err error
	if b.operations, err = b.kind.operations(b.template); err != nil {
		return none, err
	}
	// The work may outlast this call, or be somebody else's: either it wipes the key at its end, or this call does.
	var taken atomic.Bool
	if b.wipe != nil {
		defer func() {
			if taken.CompareAndSwap(false, true) {
				b.wipe()
			}
		}()
	}
	return join(ctx, b.provider, &b.provider.makings, b.identity.UID, func(ctx context.Context) (provider.Generated, error) {
		if b.wipe != nil {
			if !taken.CompareAndSwap(false, true) {
				return none, fault.New(fault.FunctionCanceled, "the call to %s the key was given up; send the request again", b.operation.name)
			}
			defer b.wipe()
		}
		made, err := b.find(ctx, bear)
		if err != nil {
			return none, err
		}
		if err := b.fits(made); err != nil {
			return none, err
		}
		b.provider.keys.add(made.material)
		return provider.Generated{
			Ref: []byte(made.id.String()), Public: made.public.Clone(), Private: b.kind.granted(made.operations, b.template, b.generated),
		}, nil
	})
}

// find returns the key that is there, or makes it. CreateKey and ImportKey of a name that is there make another version,
// so the name is looked for first; and again where it is not known what became of a call.
func (b *birth) find(ctx context.Context, bear func(context.Context, string) (azkeys.KeyBundle, error)) (seen, error) {
	p, name := b.provider, prefix+b.identity.UID
	for attempt := 1; ; attempt++ {
		if attempt > 1 {
			select {
			case <-time.After(time.Duration(attempt) * firstWait):
			case <-ctx.Done():
			}
		}
		there, ok, err := p.original(ctx, name)
		switch {
		case err != nil:
			return seen{}, err
		case ok && there.uid != b.identity.UID:
			return seen{}, fault.New(fault.Conflict, "%s has a key %s that AnyHSM has not made, without the tag %s; rename or delete it, and try again", p.service(), name, tagUID)
		case ok:
			return p.look(ctx, name, there.id.version)
		}
		r := request{operation: b.operation, key: p.vault + "/keys/" + name, once: true}
		bundle, err := call(ctx, p, r, func(ctx context.Context) (azkeys.KeyBundle, error) { return bear(ctx, name) })
		if err == nil {
			made, err := p.understand(bundle)
			if err != nil {
				return seen{}, err
			}
			return p.first(ctx, made)
		}
		if !fault.Is(err, fault.DeviceError) || attempt == maxBirths {
			return seen{}, err
		}
	}
}

// first returns the version that counts after one was made: somebody else may have made one at the same moment, and the
// oldest counts. One's own is disabled then, so that nobody takes the current version for the key in use.
func (p *Provider) first(ctx context.Context, made seen) (seen, error) {
	counts, ok, err := p.original(ctx, made.id.name)
	if err != nil || !ok || counts.id.version == made.id.version {
		return made, err
	}
	no := false
	_, err = call(ctx, p, request{operation: opUpdate, key: made.id.String()}, func(ctx context.Context) (azkeys.UpdateKeyResponse, error) {
		return p.client.UpdateKey(ctx, made.id.name, made.id.version, azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &no}}, nil)
	})
	if err != nil {
		p.log.Warn("two daemons have made one key at once, and the version that does not count could not be disabled", "key", made.id.String(), "error", err)
	}
	return p.look(ctx, counts.id.name, counts.id.version)
}

// original returns the oldest version of a key: the one that counts where AnyHSM has made the key.
func (p *Provider) original(ctx context.Context, name string) (oldest version, ok bool, err error) {
	all, err := p.versions(ctx, name)
	if err != nil || len(all) == 0 {
		return version{}, false, err
	}
	return slices.MinFunc(all, func(a, b version) int {
		if order := a.created.Compare(b.created); order != 0 {
			return order
		}
		return strings.Compare(a.id.version, b.id.version)
	}), true, nil
}

// fits tells whether a key that was found is what is asked for now.
func (b *birth) fits(made seen) error {
	kind := b.kind
	if !kind.private() {
		if length := strconv.FormatUint(kind.bits/8, 10); made.spec.keyType == kind.keyType && made.tag(tagBytes) == length {
			return nil
		}
	} else if made.spec == kind && (b.public == nil || made.fits(b.public) == nil) {
		return nil
	}
	return fault.New(fault.Conflict, "%s has made another key for this request before: %s; use a new request", b.provider.service(), made.id)
}

// tags name the object that the key is made for.
func (b *birth) tags() map[string]*string {
	tags := map[string]*string{}
	put := func(name, value string) {
		value = strings.ToValidUTF8(value, "")
		if len(value) > maxTag {
			value = strings.ToValidUTF8(value[:maxTag], "")
		}
		if value != "" {
			tags[name] = &value
		}
	}
	put(tagUID, b.identity.UID)
	put(tagToken, b.identity.Token)
	put(tagLabel, string(b.template.Bytes(cryptoki.CKA_LABEL)))
	if !b.kind.private() {
		put(tagBytes, strconv.FormatUint(b.kind.bits/8, 10))
	}
	return tags
}

func pointers[T any](values []T) []*T {
	list := make([]*T, len(values))
	for i := range values {
		list[i] = &values[i]
	}
	return list
}
