package kmip

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// pageSize is how many keys a page has: each costs a call of its own.
const pageSize = 50

// kinds are the types of objects that are listed, in this order.
var kinds = []uint32{ttlv.ObjectPrivateKey, ttlv.ObjectSymmetricKey}

// List lists the active keys that our user may see, page by page. A page is "kind:offset".
func (p *Provider) List(ctx context.Context, page string) (found []provider.Found, next string, err error) {
	const operation = "list keys"
	kind, offset := 0, 0
	if page != "" {
		first, second, ok := strings.Cut(page, ":")
		var err1, err2 error
		kind, err1 = strconv.Atoi(first)
		offset, err2 = strconv.Atoi(second)
		if !ok || err1 != nil || err2 != nil || kind < 0 || kind >= len(kinds) || offset < 0 || offset > 1<<30 {
			return nil, "", p.explain(operation, fault.New(fault.ArgumentsBad, "%q is no page of a listing; begin anew", page))
		}
	}
	ids, err := p.locate(ctx, int32(offset), pageSize, ttlv.Enumeration(ttlv.TagObjectType, kinds[kind]))
	if err != nil {
		return nil, "", p.explain(operation, err)
	}
	for _, id := range ids {
		f, ok, err := p.found(ctx, id)
		if err != nil {
			return nil, "", p.explain(operation, err)
		}
		if ok {
			found = append(found, f)
		}
	}
	switch {
	case len(ids) >= pageSize:
		next = fmt.Sprintf("%d:%d", kind, offset+len(ids))
	case kind+1 < len(kinds):
		next = fmt.Sprintf("%d:0", kind+1)
	}
	return found, next, nil
}

// Find finds one key by its unique identifier or its name.
func (p *Provider) Find(ctx context.Context, wanted string) (provider.Found, error) {
	const operation = "find a key"
	f, ok, err := p.found(ctx, wanted)
	if err != nil || ok {
		return f, p.explain(operation, err)
	}
	for _, kind := range kinds {
		objects, err := p.named(ctx, kind, wanted)
		if err != nil {
			return provider.Found{}, p.explain(operation, err)
		}
		if len(objects) > 1 {
			return provider.Found{}, p.explain(operation, fault.New(fault.Conflict, "%d keys have the name %q; give the unique identifier of one", len(objects), wanted))
		}
		if len(objects) == 1 {
			f, ok, err = p.found(ctx, objects[0].id)
			if err != nil || ok {
				return f, p.explain(operation, err)
			}
		}
	}
	return provider.Found{}, p.explain(operation, fault.New(fault.NotFound, "the KMIP server has no active key with the identifier or name %q that our user may see", wanted))
}

// Inspect tells whether a key is there and can be used.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	const operation = "look at the key"
	if err := p.ready(ctx, operation); err != nil {
		return p.explain(operation, err)
	}
	r, err := parseReference(ref.Ref)
	if err != nil {
		return p.explain(operation, err)
	}
	p.known.remove(ref.Ref)
	_, err = p.find(ctx, ref.Ref, r)
	if gone(err) {
		err = fault.New(fault.KeyHandleInvalid, "%w", err)
	}
	return p.explain(operation, err)
}

// stateName is the name of a state in KMIP's words.
func stateName(state uint32) string {
	switch state {
	case ttlv.StatePreActive:
		return "Pre-Active"
	case ttlv.StateDeactivated:
		return "Deactivated"
	case ttlv.StateCompromised:
		return "Compromised"
	}
	return fmt.Sprintf("state %d", state)
}

// found reads a key as it would be adopted; ok is false for what is gone, not active, or no key of PKCS#11.
func (p *Provider) found(ctx context.Context, id string) (f provider.Found, ok bool, err error) {
	o, err := p.describe(ctx, id)
	if gone(err) || refused(err, ttlv.ReasonInvalidField, ttlv.ReasonPermissionDenied, ttlv.ReasonNotAuthorised, ttlv.ReasonGeneralFailure) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	class, keyType, ok := o.keyType()
	if !ok || o.dead() {
		return f, false, nil
	}
	if o.state != ttlv.StateActive {
		return provider.Found{Name: o.id, Ref: o.reference().encode(), State: stateName(o.state)}, true, nil
	}
	text := o.label
	if text == "" && len(o.names) > 0 {
		text = o.names[0]
	}
	shared := func(class cryptoki.ObjectClass, private bool) cryptoki.Attributes {
		return cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType), cryptoki.Bool(cryptoki.CKA_TOKEN, true),
			cryptoki.Bool(cryptoki.CKA_PRIVATE, private), cryptoki.String(cryptoki.CKA_LABEL, text),
		}
	}
	first := shared(class, true)
	// What the server does not say is taken as the stricter of both.
	extractable := o.hasExtraction && o.extractable && !o.sensitive
	first = append(first, cryptoki.Bool(cryptoki.CKA_SENSITIVE, !extractable), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, extractable))
	has := func(bits uint32) bool { return o.usage&bits != 0 }
	first = append(first, cryptoki.Bool(cryptoki.CKA_SIGN, has(ttlv.UsageSign|ttlv.UsageMAC)), cryptoki.Bool(cryptoki.CKA_DECRYPT, has(ttlv.UsageDecrypt)))
	f = provider.Found{Name: o.id, Ref: o.reference().encode()}
	if class == cryptoki.CKO_SECRET_KEY {
		f.Objects = []cryptoki.Attributes{append(first, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(o.length/8)),
			cryptoki.Bool(cryptoki.CKA_ENCRYPT, has(ttlv.UsageEncrypt)), cryptoki.Bool(cryptoki.CKA_VERIFY, has(ttlv.UsageMAC|ttlv.UsageMACVerify)))}
		return f, true, nil
	}
	_, public, err := p.publicHalf(ctx, o)
	if err != nil {
		// A private key whose public half is not known cannot be used by anybody.
		p.log.Info("a private key at the KMIP server is not listed", "id", o.id, "reason", err)
		return f, false, nil
	}
	half := shared(cryptoki.CKO_PUBLIC_KEY, false)
	half = append(half, cryptoki.Bool(cryptoki.CKA_VERIFY, has(ttlv.UsageSign)), cryptoki.Bool(cryptoki.CKA_ENCRYPT, has(ttlv.UsageDecrypt)))
	f.Objects = []cryptoki.Attributes{append(first, public...), append(half, public...)}
	return f, true, nil
}
