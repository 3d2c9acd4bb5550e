package awskms

import (
	"bytes"
	"context"
	"math/big"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// material is what never changes about a key.
type material struct {
	ref  reference
	spec spec
	// public are the public attributes of a key pair.
	public cryptoki.Attributes
}

// cache remembers keys that were seen to be there. It spares a call per signature; what became of a key since then, the
// signature's own call tells.
type cache struct {
	mu    sync.RWMutex
	known map[string]bool
	seen  map[string]*material
}

// cacheSize bounds the number of keys that are remembered.
const cacheSize = 65536

func (c *cache) has(arn string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.known[arn]
}

func (c *cache) material(arn string) *material {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seen[arn]
}

// add remembers that a key is there, and its public half where m is not nil.
func (c *cache) add(arn string, m *material) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil || len(c.known) >= cacheSize {
		c.known = map[string]bool{}
	}
	if c.seen == nil || len(c.seen) >= cacheSize {
		c.seen = map[string]*material{}
	}
	c.known[arn] = true
	if m != nil {
		c.seen[arn] = m
	}
}

// drop forgets that a key is there. Its public half stays what it was.
func (c *cache) drop(arn string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, arn)
}

// Key returns the key behind a reference. The first time it asks the service whether the key is there.
func (p *Provider) Key(ctx context.Context, ref provider.Reference) (provider.Key, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return nil, err
	}
	r, kind, err := p.parse(ref.Ref)
	if err != nil {
		return nil, err
	}
	if !p.keys.has(r.ARN) {
		if err := p.inspect(ctx, r); err != nil {
			return nil, err
		}
		p.keys.add(r.ARN, nil)
	}
	return &key{provider: p, reference: ref, ref: r, spec: kind}, nil
}

// inspect asks whether a key is there, and still what the reference says.
func (p *Provider) inspect(ctx context.Context, r reference) error {
	found, err := call(ctx, p, "DescribeKey", r.ARN, p.client.DescribeKey, &kms.DescribeKeyInput{KeyId: &r.ARN})
	if err != nil {
		return err
	}
	m := found.KeyMetadata
	if m == nil || aws.ToString(m.Arn) != r.ARN || m.KeySpec != r.Spec || m.KeyUsage != r.Use {
		return fault.New(fault.KeyHandleInvalid, "AWS KMS has another key under %s than the one recorded (%s, %s); look at the key there, and adopt it anew", r.ARN, r.Spec, r.Use)
	}
	if m.KeyState == types.KeyStatePendingDeletion || m.KeyState == types.KeyStatePendingReplicaDeletion {
		return p.explainState(r.ARN, "pending deletion")
	}
	// A key that is disabled, or waits for its material, is there: its use says so.
	return nil
}

// public returns a key pair's public half. It is fetched once, whoever asks.
func (p *Provider) public(ctx context.Context, m *types.KeyMetadata) (*material, error) {
	name := aws.ToString(m.Arn)
	kind, ok := specNamed(m.KeySpec)
	if !ok {
		return nil, fault.New(fault.KeyTypeInconsistent, "the key %s is a %s, which PKCS#11's mechanisms here cannot use", name, m.KeySpec)
	}
	made := &material{ref: reference{ARN: name, Spec: m.KeySpec, Use: m.KeyUsage}, spec: kind}
	if !kind.private() {
		return made, nil
	}
	if known := p.keys.material(name); known != nil && known.ref == made.ref {
		return known, nil
	}
	return p.looks.join(ctx, name, p.config.CallTimeout, func(ctx context.Context) (*material, error) {
		found, err := call(ctx, p, "GetPublicKey", name, p.client.GetPublicKey, &kms.GetPublicKeyInput{KeyId: &name})
		if err != nil {
			return nil, err
		}
		if made.public, err = publicAttributes(found.PublicKey, kind); err != nil {
			return nil, err
		}
		p.keys.add(name, made)
		return made, nil
	})
}

// publicAttributes reads a SubjectPublicKeyInfo.
func publicAttributes(der []byte, kind spec) (cryptoki.Attributes, error) {
	keyType, public, err := provider.ReadPublicKey(der)
	if err != nil {
		return nil, fault.New(fault.FunctionFailed, "the public key that AWS KMS sent cannot be read: %w; look at the endpoint", err)
	}
	fits := keyType == kind.keyType
	switch {
	case kind.on != nil:
		fits = fits && bytes.Equal(public.Bytes(cryptoki.CKA_EC_PARAMS), kind.on.Params)
	case kind.set != nil:
		fits = fits && len(public.Bytes(cryptoki.CKA_VALUE)) == kind.set.Public
	default:
		fits = fits && uint64(new(big.Int).SetBytes(public.Bytes(cryptoki.CKA_MODULUS)).BitLen()) == kind.bits
	}
	if !fits {
		return nil, fault.New(fault.FunctionFailed, "the public key that AWS KMS sent is none of a key %s; look at the endpoint", kind.name)
	}
	return public, nil
}

// key is a key of AWS KMS in use.
type key struct {
	provider  *Provider
	reference provider.Reference
	ref       reference
	spec      spec
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// check refuses what AWS KMS would refuse as well, for money.
func (k *key) check(m cryptoki.Mechanism, use cryptoki.Flags) error {
	if err := table.CheckUse(m, use, k.spec.keyType); err != nil {
		return err
	}
	row, _ := table.Mechanism(m.Type)
	if size := k.spec.size(); size < row.MinSize || size > row.MaxSize {
		return fault.New(fault.KeySizeRange, "AWS KMS does %s with keys of %d to %d bits, and this one has %d: an HMAC key is for one hash", m.Type, row.MinSize, row.MaxSize, size)
	}
	wanted := types.KeyUsageTypeSignVerify
	switch {
	case use == cryptoki.CKF_DECRYPT:
		wanted = types.KeyUsageTypeEncryptDecrypt
	case use == cryptoki.CKF_DERIVE:
		wanted = types.KeyUsageTypeKeyAgreement
	case !k.spec.private():
		wanted = types.KeyUsageTypeGenerateVerifyMac
	}
	if k.ref.Use != wanted {
		return fault.New(fault.KeyFunctionNotPermitted, "AWS KMS made this key for %s alone, and %s needs %s; make another key for that", k.ref.Use, m.Type, wanted)
	}
	return nil
}

// settle forgets a key that is gone.
func (k *key) settle(err error) error {
	if fault.Is(err, fault.KeyHandleInvalid) {
		k.provider.keys.drop(k.ref.ARN)
	}
	return err
}
