package awskms

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// The key's object stands in its tags, and its alias makes a key per object the only one: two keys cannot have one alias.
const (
	tagUID      = "anyhsm:uid"
	tagToken    = "anyhsm:token"
	aliasPrefix = "alias/anyhsm-"
)

func aliasOf(identity provider.Identity) string { return aliasPrefix + identity.UID }

// Generate makes a key or a key pair.
func (p *Provider) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	if err := p.ready(ctx, "make a key"); err != nil {
		return provider.Generated{}, err
	}
	if request.Identity.Session {
		return provider.Generated{}, errSession
	}
	if err := table.CheckGenerate(request); err != nil {
		return provider.Generated{}, err
	}
	kind, err := specAsked(request)
	if err != nil {
		return provider.Generated{}, err
	}
	use, err := kind.choose(request.Private)
	if err != nil {
		return provider.Generated{}, err
	}
	order := order{identity: request.Identity, spec: kind, use: use, label: label(request.Private), origin: types.OriginTypeAwsKms}
	generated, err := p.makings.join(ctx, request.Identity.UID, p.config.CallTimeout, func(ctx context.Context) (provider.Generated, error) {
		made, err := p.obtain(ctx, order)
		if err != nil {
			return provider.Generated{}, err
		}
		return p.delivered(ctx, made)
	})
	generated.Private = kind.granted(use, request.Private, true)
	return generated, err
}

var errSession = fault.New(fault.FunctionNotSupported, "AWS KMS keeps and bills each key: session keys are made in provider software")

// specAsked finds the kind of key that a request is for.
func specAsked(request provider.GenerateRequest) (spec, error) {
	switch request.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		if e := request.Public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT); len(e) > 0 && string(e) != "\x01\x00\x01" {
			return spec{}, fault.New(fault.AttributeValueInvalid, "AWS KMS makes RSA keys with the public exponent 65537 only; leave CKA_PUBLIC_EXPONENT out")
		}
		bits, _ := request.Public.Ulong(cryptoki.CKA_MODULUS_BITS)
		return specOf(cryptoki.CKK_RSA, bits, nil)
	case cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		on, err := curve.Of(request.Public)
		if err != nil {
			return spec{}, err
		}
		return specOf(on.KeyType, 0, on)
	case cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:
		set, err := parameterset.Of(request.Public)
		if err != nil {
			return spec{}, err
		}
		return specOf(cryptoki.CKK_ML_DSA, 8*uint64(set.Public), nil)
	}
	length, _ := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
	return specOf(cryptoki.CKK_GENERIC_SECRET, length*8, nil)
}

// label is what the key's description in AWS says.
func label(attributes cryptoki.Attributes) string {
	text := attributes.Bytes(cryptoki.CKA_LABEL)
	return string(text[:min(len(text), 8192)])
}

// order is a key to be made.
type order struct {
	identity provider.Identity
	spec     spec
	use      types.KeyUsageType
	label    string
	origin   types.OriginType
}

// attempts bounds how often making a key is tried anew after an attempt of which nobody knows what came of it.
const attempts = 4

// obtain returns the key of an order: the one that there is, or a new one.
func (p *Provider) obtain(ctx context.Context, o order) (*types.KeyMetadata, error) {
	var failure error
	for attempt := range attempts {
		if attempt > 0 {
			// What AWS has made shows in its lists a moment later.
			if err := pause(ctx, time.Duration(attempt)*p.config.settling()); err != nil {
				return nil, failure
			}
		}
		found, err := p.existing(ctx, o)
		if found != nil || err != nil {
			return found, err
		}
		made, err := invoke(ctx, p, "CreateKey", aliasOf(o.identity), true, p.client.CreateKey, &kms.CreateKeyInput{
			KeySpec: o.spec.name, KeyUsage: o.use, Origin: o.origin, Description: aws.String(o.label),
			Tags: []types.Tag{
				{TagKey: aws.String(tagUID), TagValue: aws.String(o.identity.UID)},
				{TagKey: aws.String(tagToken), TagValue: aws.String(o.identity.Token)},
			},
		})
		if err == nil {
			return p.name(ctx, o, made.KeyMetadata)
		}
		failure = err
		if !fault.Is(err, fault.DeviceError) && !fault.Is(err, fault.DeadlineExceeded) {
			return nil, err
		}
		// Nobody knows whether there is a key now: look before the next attempt.
		p.log.WarnContext(ctx, "an attempt to make a key had no answer; looking for the key", "uid", o.identity.UID, "error", err)
	}
	return nil, failure
}

// existing finds the key that an earlier attempt has made, by its alias or, where that attempt did not get so far, by
// its tags; nil if there is none.
func (p *Provider) existing(ctx context.Context, o order) (*types.KeyMetadata, error) {
	found, err := p.byAlias(ctx, o.identity)
	if err != nil || found != nil {
		if found != nil {
			err = o.fits(found)
		}
		return found, err
	}
	ids, err := p.orphans.find(ctx, p, o.identity.UID)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		m, err := p.describe(ctx, id)
		if err != nil {
			return nil, err
		}
		if m == nil || !living(m) || o.fits(m) != nil {
			continue
		}
		return p.name(ctx, o, m)
	}
	return nil, nil
}

// byAlias returns the living key that has an object's alias; nil if there is none.
func (p *Provider) byAlias(ctx context.Context, identity provider.Identity) (*types.KeyMetadata, error) {
	alias := aliasOf(identity)
	m, err := p.describe(ctx, alias)
	if err != nil || m == nil || living(m) {
		return m, err
	}
	// The key was destroyed, by us or not; its name is free for the next one.
	if _, err := call(ctx, p, "DeleteAlias", alias, p.client.DeleteAlias, &kms.DeleteAliasInput{AliasName: &alias}); err != nil && !gone(err) {
		return nil, err
	}
	return nil, nil
}

// describe returns a key's metadata; nil if there is no such key.
func (p *Provider) describe(ctx context.Context, name string) (*types.KeyMetadata, error) {
	found, err := call(ctx, p, "DescribeKey", name, p.client.DescribeKey, &kms.DescribeKeyInput{KeyId: &name})
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return found.KeyMetadata, nil
}

// gone tells that the service does not know a key.
func gone(err error) bool { return err != nil && fault.Is(err, fault.KeyHandleInvalid) }

func living(m *types.KeyMetadata) bool {
	return m.KeyState != types.KeyStatePendingDeletion && m.KeyState != types.KeyStatePendingReplicaDeletion
}

// fits tells whether a key is one for the order.
func (o order) fits(m *types.KeyMetadata) error {
	if m.KeySpec != o.spec.name || m.KeyUsage != o.use || m.Origin != o.origin {
		return fault.New(fault.Conflict, "AWS KMS has another key under %s (%s, %s, %s) than the one asked for (%s, %s, %s); repeat the request as it was, or make a new one",
			aliasOf(o.identity), m.KeySpec, m.KeyUsage, m.Origin, o.spec.name, o.use, o.origin)
	}
	return nil
}

// name gives a new key its alias. If another attempt's key has it, that one is the key, and this one goes.
func (p *Provider) name(ctx context.Context, o order, m *types.KeyMetadata) (*types.KeyMetadata, error) {
	alias, id := aliasOf(o.identity), aws.ToString(m.KeyId)
	err := p.settled(ctx, func() error {
		_, err := p.client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: &id}, p.bounded(ctx, false))
		return err
	})
	switch codeOf(err) {
	case "AlreadyExistsException":
		first, err := p.byAlias(ctx, o.identity)
		if err != nil {
			return nil, err
		}
		if first == nil {
			return nil, fault.New(fault.Conflict, "the alias %s is taken and points to no key; try again", alias)
		}
		if aws.ToString(first.KeyId) != id {
			p.log.WarnContext(ctx, "two attempts made a key each; the second one is scheduled for deletion", "alias", alias, "key", id)
			if err := p.schedule(ctx, id); err != nil {
				p.log.ErrorContext(ctx, "the second key stays; delete it", "key", id, "error", err)
			}
		}
		return first, o.fits(first)
	case "":
		if err == nil {
			p.orphans.named(id)
			return m, nil
		}
	}
	if ended := ended(ctx, "CreateAlias "+alias); ended != nil {
		return nil, ended
	}
	return nil, p.explain("CreateAlias", alias, err)
}

// settled repeats what needs a new key, which some of AWS's machines know only a moment later.
func (p *Provider) settled(ctx context.Context, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if code := codeOf(err); code != "NotFoundException" || attempt == attempts {
			return err
		}
		if pause(ctx, time.Duration(attempt)*p.config.settling()) != nil {
			return err
		}
	}
}

// settling is how long AWS may take to show a new key everywhere.
func (c Config) settling() time.Duration { return c.CallTimeout / 60 }

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delivered returns what keyservice stores of a key.
func (p *Provider) delivered(ctx context.Context, m *types.KeyMetadata) (provider.Generated, error) {
	var made *material
	var err error
	for attempt := 1; ; attempt++ {
		made, err = p.public(ctx, m)
		if !gone(err) || attempt == attempts || pause(ctx, time.Duration(attempt)*p.config.settling()) != nil {
			break
		}
	}
	if err != nil {
		return provider.Generated{}, err
	}
	p.keys.add(made.ref.ARN, nil)
	return provider.Generated{Ref: made.ref.encode(), Public: made.public.Clone()}, nil
}
