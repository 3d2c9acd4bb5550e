package awskms

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// pageSize is how many keys one page of the listing has. Each costs up to three calls.
const pageSize = 50

// List lists the customer's keys that can be used here.
func (p *Provider) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	in := &kms.ListKeysInput{Limit: aws.Int32(pageSize)}
	if page != "" {
		in.Marker = &page
	}
	keys, err := call(ctx, p, "ListKeys", "*", p.client.ListKeys, in)
	if err != nil {
		return nil, "", err
	}
	all, err := parallel(ctx, keys.Keys, func(ctx context.Context, k types.KeyListEntry) (*provider.Found, error) {
		return p.look(ctx, aws.ToString(k.KeyArn))
	})
	if err != nil {
		return nil, "", err
	}
	var found []provider.Found
	for _, f := range all {
		if f != nil {
			found = append(found, *f)
		}
	}
	if !keys.Truncated {
		return found, "", nil
	}
	return found, aws.ToString(keys.NextMarker), nil
}

// Find finds a key by its ARN, its key id, or an alias with or without "alias/".
func (p *Provider) Find(ctx context.Context, name string) (provider.Found, error) {
	tries := []string{name}
	if !strings.HasPrefix(name, "alias/") && !strings.HasPrefix(name, "arn:") {
		tries = append(tries, "alias/"+name)
	}
	for _, try := range tries {
		m, err := p.describe(ctx, try)
		if err != nil && codeFits(err) {
			continue
		}
		if err != nil {
			return provider.Found{}, err
		}
		if m == nil {
			continue
		}
		if why := unusable(m); why != "" {
			return provider.Found{}, fault.New(fault.InvalidInput, "the key %s cannot be used here: %s", name, why)
		}
		return p.found(ctx, m)
	}
	return provider.Found{}, fault.New(fault.NotFound, "AWS KMS in %s has no key %s; give its ARN, key id or alias, and check the region", p.region, name)
}

// codeFits tells that the service did not take a name for one of a key.
func codeFits(err error) bool { return strings.Contains(err.Error(), "ValidationException") }

// look describes one key of the listing; nil for one that is nothing for us, or whose policy shuts us out.
func (p *Provider) look(ctx context.Context, name string) (*provider.Found, error) {
	m, err := p.describe(ctx, name)
	if errors.Is(err, errDenied) {
		p.log.WarnContext(ctx, "a key of the account is left out of the listing", "key", name, "error", err)
		return nil, nil
	}
	if err != nil || m == nil {
		return nil, err
	}
	if unusable(m) != "" {
		return asleep(m), nil
	}
	found, err := p.found(ctx, m)
	if fault.Is(err, fault.FunctionFailed) {
		p.log.WarnContext(ctx, "a key of the account is left out of the listing", "key", name, "error", err)
		return nil, nil
	}
	if err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, err
	}
	return &found, nil
}

// asleep is a key whose state alone keeps it from being used; nil for one that is nothing for us at all.
func asleep(m *types.KeyMetadata) *provider.Found {
	enabled := *m
	enabled.KeyState = types.KeyStateEnabled
	if unusable(&enabled) != "" || m.Arn == nil {
		return nil
	}
	ref := reference{ARN: *m.Arn, Spec: m.KeySpec, Use: m.KeyUsage}
	return &provider.Found{Name: ref.ARN, Ref: ref.encode(), State: string(m.KeyState)}
}

// Inspect tells whether a key is there and can be used.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "look at the key"); err != nil {
		return err
	}
	r, _, err := p.parse(ref.Ref)
	if err != nil {
		return err
	}
	if err := p.inspect(ctx, r); err != nil {
		return err
	}
	m, err := p.describe(ctx, r.ARN)
	if err == nil && m != nil && m.KeyState != types.KeyStateEnabled {
		err = fault.New(fault.FunctionFailed, "the state of the key %s is %s; look at it with aws kms describe-key", r.ARN, m.KeyState)
	}
	return err
}

// unusable tells why a key cannot be used here; empty if it can.
func unusable(m *types.KeyMetadata) string {
	_, known := specNamed(m.KeySpec)
	switch {
	case m.KeyManager == types.KeyManagerTypeAws:
		return "it belongs to an AWS service"
	case !known || flags[m.KeyUsage] == nil:
		return "PKCS#11's mechanisms here do not use a " + string(m.KeySpec) + " for " + string(m.KeyUsage)
	case m.KeyState != types.KeyStateEnabled:
		return "its state is " + string(m.KeyState)
	}
	return ""
}

// found makes the objects of a key that is there.
func (p *Provider) found(ctx context.Context, m *types.KeyMetadata) (provider.Found, error) {
	made, err := p.public(ctx, m)
	if err != nil {
		return provider.Found{}, err
	}
	label, err := p.labelOf(ctx, m)
	if err != nil {
		return provider.Found{}, err
	}
	class := cryptoki.CKO_SECRET_KEY
	if made.spec.private() {
		class = cryptoki.CKO_PRIVATE_KEY
	}
	name := cryptoki.String(cryptoki.CKA_LABEL, label)
	kind := cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, made.spec.keyType)
	first := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, class), kind, name, cryptoki.Bool(cryptoki.CKA_PRIVATE, true),
		cryptoki.Bool(cryptoki.CKA_LOCAL, m.Origin == types.OriginTypeAwsKms),
	}
	for _, usage := range usages {
		if !made.spec.has(usage) {
			continue
		}
		granted := false
		for _, flag := range flags[m.KeyUsage] {
			granted = granted || flag == usage
		}
		first = append(first, cryptoki.Bool(usage, granted))
	}
	for _, granted := range made.spec.granted(m.KeyUsage, nil, m.Origin == types.OriginTypeAwsKms) {
		first.Set(granted)
	}
	f := provider.Found{Name: made.ref.ARN, Ref: made.ref.encode()}
	if !made.spec.private() {
		f.Objects = []cryptoki.Attributes{append(first, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, made.spec.bits/8))}
		return f, nil
	}
	second := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), kind, name,
		cryptoki.Bool(cryptoki.CKA_VERIFY, m.KeyUsage == types.KeyUsageTypeSignVerify),
	}
	if made.spec.keyType == cryptoki.CKK_RSA {
		second = append(second, cryptoki.Bool(cryptoki.CKA_ENCRYPT, m.KeyUsage == types.KeyUsageTypeEncryptDecrypt), cryptoki.Bool(cryptoki.CKA_WRAP, false))
	}
	f.Objects = []cryptoki.Attributes{append(first, provider.OnPrivate(made.public)...), append(second, made.public.Clone()...)}
	return f, nil
}

// has tells whether keys of a kind have a usage attribute that can be true.
func (s spec) has(usage cryptoki.AttributeType) bool {
	switch s.keyType {
	case cryptoki.CKK_RSA:
		return usage == cryptoki.CKA_SIGN || usage == cryptoki.CKA_DECRYPT || usage == cryptoki.CKA_UNWRAP
	case cryptoki.CKK_EC:
		return usage == cryptoki.CKA_SIGN || usage == cryptoki.CKA_DERIVE
	case cryptoki.CKK_EC_EDWARDS, cryptoki.CKK_ML_DSA:
		return usage == cryptoki.CKA_SIGN
	}
	return usage == cryptoki.CKA_SIGN || usage == cryptoki.CKA_VERIFY || usage == cryptoki.CKA_DERIVE
}

// labelOf names a key: a foreign one by its alias, else by its description; our own has its label as the description.
func (p *Provider) labelOf(ctx context.Context, m *types.KeyMetadata) (string, error) {
	id := aws.ToString(m.KeyId)
	aliases, err := call(ctx, p, "ListAliases", id, p.client.ListAliases, &kms.ListAliasesInput{KeyId: &id, Limit: aws.Int32(50)})
	if err != nil {
		return "", err
	}
	own, foreign := false, ""
	for _, a := range aliases.Aliases {
		name := aws.ToString(a.AliasName)
		switch {
		case strings.HasPrefix(name, aliasPrefix):
			own = true
		case foreign == "" || name < foreign:
			foreign = name
		}
	}
	description := aws.ToString(m.Description)
	switch {
	case own && description != "":
		return description, nil
	case foreign != "":
		return strings.TrimPrefix(foreign, "alias/"), nil
	case description != "":
		return description, nil
	}
	return id, nil
}
