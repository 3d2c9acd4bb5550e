package keyservice

import (
	"bytes"
	"context"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// A comparison of a provider with the store keeps nothing here between two calls: each returns a page, and the caller puts
// the pages together. So it costs the same memory for twenty keys and for twenty thousand, and can go on where it was.

// SyncState is what a comparison has found of a key.
type SyncState int

// The states of a key in a comparison.
const (
	SyncKnown SyncState = iota + 1
	SyncNew
	SyncAdopted
	SyncChanged
	SyncGone
)

// SyncOrder asks for a page of a provider's keys. New ones whose label or name matches one of Adopt, which may have * and ?,
// are taken into the call's token, unless it is a DryRun.
type SyncOrder struct {
	Provider, Page string
	Adopt          []string
	DryRun         bool
}

// SyncKey is one key of a comparison.
type SyncKey struct {
	State            SyncState
	Reference, Label string
	KeyType          cryptoki.KeyType
	Bits             uint32
	// Detail says what is remarkable.
	Detail  string
	Version string
	Expires time.Time
	// Token is the label of the token that has it, Object its object, KnownID what ListKnownKeys calls it.
	Token   string
	Object  uint64
	KnownID []byte
}

const (
	// soon is how long before its end a key is remarkable.
	soon = 30 * 24 * time.Hour
	// knownPage is how many keys ListKnownKeys returns, mostInspected how many InspectKeys takes.
	knownPage     = 1000
	mostInspected = 100
)

// SyncKeys returns a page of the keys that a provider holds, with what we know of each, and adopts those that match.
func (s *Service) SyncKeys(ctx context.Context, call Call, order SyncOrder) (keys []SyncKey, next string, err error) {
	var a access
	var b *backend
	switch {
	case len(order.Adopt) > 0:
		a, b, err = s.adopter(ctx, call, Adoption{Provider: order.Provider, All: true})
	default:
		if err = administrator(call); err == nil {
			b, err = s.lister(order.Provider)
		}
	}
	if err != nil {
		return nil, "", err
	}
	wanted, err := patterns(order.Adopt)
	if err != nil {
		return nil, "", err
	}
	found, next, err := b.Provider.(provider.Lister).List(ctx, order.Page)
	if err != nil {
		return nil, "", settle(err)
	}
	labels, err := s.tokenLabels(ctx)
	if err != nil {
		return nil, "", settle(err)
	}
	for _, f := range found {
		if len(f.Ref) == 0 {
			continue // A certificate is no key.
		}
		k := described(f)
		o, err := s.store.ObjectByRef(ctx, b.name, f.Ref)
		switch {
		case err == nil:
			k.State, k.Token, k.Object, k.KnownID = SyncKnown, labels[o.Token], o.ID, keystore.RefHash(f.Ref)
			if k.Detail = differs(o.Attributes, f); k.Detail != "" {
				k.State = SyncChanged
			}
		case !fault.Is(err, fault.ObjectHandleInvalid):
			return nil, "", settle(err)
		case f.State != "":
			k.Detail = f.State
		case matches(wanted, k.Label, f.Name):
			if err := s.take(ctx, a, b, f, order.DryRun, &k); err != nil {
				return nil, "", settle(err)
			}
		}
		keys = append(keys, k)
	}
	return keys, next, nil
}

// take adopts a key of a comparison. That one key makes no object, for its type perhaps, does not end the comparison.
func (s *Service) take(ctx context.Context, a access, b *backend, f provider.Found, dry bool, k *SyncKey) error {
	if dry {
		if _, err := adoptable(b, f); err != nil {
			k.Detail = "would not be adopted: " + err.Error()
		} else {
			k.Detail = "would be adopted"
		}
		return nil
	}
	adopted, err := s.adopt(ctx, a, b, f)
	switch {
	case ctx.Err() != nil:
		return err
	case err != nil:
		k.Detail = "not adopted: " + err.Error()
	default:
		k.State, k.Token, k.KnownID = SyncAdopted, a.token.Label, keystore.RefHash(f.Ref)
		if len(adopted) > 0 {
			k.Object = adopted[0].ID
		}
	}
	return nil
}

// described is a key that nobody knows yet.
func described(f provider.Found) SyncKey {
	k := SyncKey{State: SyncNew, Reference: f.Name, KeyType: cryptoki.KeyType(cryptoki.Unavailable), Version: f.Version, Expires: f.Expires}
	if len(f.Objects) > 0 {
		first := f.Objects[0]
		k.Label, k.Bits = string(first.Bytes(cryptoki.CKA_LABEL)), uint32(mechanism.Bits(first))
		k.KeyType, _ = first.KeyType()
	}
	return k
}

// differs tells what is remarkable about a key that we know.
func differs(ours cryptoki.Attributes, f provider.Found) string {
	if f.State != "" {
		return f.State
	}
	if len(f.Objects) > 0 {
		theirs := f.Objects[0]
		have, _ := ours.KeyType()
		if is, ok := theirs.KeyType(); ok && is != have {
			return "recorded as " + have.String() + ", but it is " + is.String()
		}
		for _, t := range material {
			value, ok := theirs.Get(t)
			if ok && ours.Has(t) && !bytes.Equal(value, ours.Bytes(t)) {
				return "its public key is another one than recorded (" + t.String() + ")"
			}
		}
	}
	switch left := time.Until(f.Expires); {
	case f.Expires.IsZero() || left > soon:
		return ""
	case left <= 0:
		return "expired at " + f.Expires.UTC().Format(time.RFC3339)
	}
	return "expires at " + f.Expires.UTC().Format(time.RFC3339)
}

// patterns makes expressions of patterns with * and ?.
func patterns(texts []string) (all []*regexp.Regexp, err error) {
	for _, text := range texts {
		if text == "" {
			return nil, fault.New(fault.InvalidInput, "a pattern is empty; write a label or a reference, as 'prod-*'")
		}
		quoted := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(text))
		one, err := regexp.Compile("(?s)^" + quoted + "$")
		if err != nil {
			return nil, fault.New(fault.InvalidInput, "the pattern %q cannot be used: %w; write it as 'prod-*'", text, err)
		}
		all = append(all, one)
	}
	return all, nil
}

func matches(patterns []*regexp.Regexp, names ...string) bool {
	for _, p := range patterns {
		for _, name := range names {
			if p.MatchString(name) {
				return true
			}
		}
	}
	return false
}

func (s *Service) tokenLabels(ctx context.Context) (map[string]string, error) {
	tokens, err := s.store.Tokens(ctx)
	labels := make(map[string]string, len(tokens))
	for _, t := range tokens {
		labels[t.UID] = t.Label
	}
	return labels, err
}

// ListKnownKeys returns a page of the keys in a provider that objects of ours are made of, each by what stays the same as
// long as the key is the same.
func (s *Service) ListKnownKeys(ctx context.Context, call Call, name, page string) (ids [][]byte, next string, err error) {
	if err := administrator(call); err != nil {
		return nil, "", err
	}
	after, err := hex.DecodeString(page)
	if err != nil {
		return nil, "", fault.New(fault.ArgumentsBad, "%q is no page of a listing; begin anew", page)
	}
	if ids, err = s.store.RefHashes(ctx, name, after, knownPage); err != nil {
		return nil, "", settle(err)
	}
	if len(ids) == knownPage {
		next = hex.EncodeToString(ids[len(ids)-1])
	}
	return ids, next, nil
}

// InspectKeys asks a provider what has become of known keys that its list did not show.
func (s *Service) InspectKeys(ctx context.Context, call Call, name string, ids [][]byte) (keys []SyncKey, err error) {
	if err := administrator(call); err != nil {
		return nil, err
	}
	if len(ids) > mostInspected {
		return nil, fault.New(fault.ArgumentsBad, "%d keys are more than the %d of one call; ask several times", len(ids), mostInspected)
	}
	b, err := s.lister(name)
	if err != nil {
		return nil, err
	}
	labels, err := s.tokenLabels(ctx)
	if err != nil {
		return nil, settle(err)
	}
	for _, id := range ids {
		o, err := s.store.ObjectByRefHash(ctx, b.name, id)
		if fault.Is(err, fault.ObjectHandleInvalid) {
			continue // It went meanwhile.
		}
		if err != nil {
			return nil, settle(err)
		}
		k := SyncKey{
			Reference: o.UID, Label: string(o.Attributes.Bytes(cryptoki.CKA_LABEL)), Bits: uint32(mechanism.Bits(o.Attributes)),
			Token: labels[o.Token], Object: o.ID, KnownID: id,
		}
		k.KeyType, _ = o.Attributes.KeyType()
		if err := s.inspect(ctx, b, o, id, &k); err != nil {
			return nil, settle(err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// inspect asks a provider about one key. An error is one of the provider's, not of the key's.
func (s *Service) inspect(ctx context.Context, b *backend, o keystore.Object, id []byte, k *SyncKey) error {
	reference := provider.Reference{Identity: provider.Identity{UID: o.UID, Token: o.Token}, Attributes: o.Attributes}
	for _, r := range o.References() {
		if r.Provider == b.name && bytes.Equal(keystore.RefHash(r.Ref), id) {
			reference.Ref = r.Ref
		}
	}
	var err error
	if inspector, ok := b.Provider.(provider.Inspector); ok {
		err = inspector.Inspect(ctx, reference)
	} else {
		_, err = b.Key(ctx, reference)
	}
	k.State = SyncChanged
	switch {
	case err == nil:
		k.Detail = "it is there, but not in the provider's list: there is a newer version, or the list may not show it"
	case fault.Is(err, fault.KeyHandleInvalid):
		k.State, k.Detail = SyncGone, err.Error()
	case fault.From(err).Kind.Row().Retry:
		return err
	default:
		k.Detail = err.Error()
	}
	return nil
}
