package gcpkms

import (
	"context"
	"encoding/pem"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// cache remembers what never changes about key versions that were seen to be there. It spares a call per signature; what
// became of a key since then, the signature's own call tells.
type cache struct {
	mu         sync.RWMutex
	algorithms map[string]algorithm
	publics    map[string]cryptoki.Attributes
}

// cacheSize bounds the number of keys that are remembered.
const cacheSize = 65536

func (c *cache) algorithm(version string) (algorithm, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	a, ok := c.algorithms[version]
	return a, ok
}

func (c *cache) public(version string) cryptoki.Attributes {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.publics[version]
}

// add remembers that a key is there, and its public half where there is one.
func (c *cache) add(version string, a algorithm, public cryptoki.Attributes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.algorithms == nil || len(c.algorithms) >= cacheSize {
		c.algorithms, c.publics = map[string]algorithm{}, map[string]cryptoki.Attributes{}
	}
	c.algorithms[version] = a
	if public != nil {
		c.publics[version] = public
	}
}

// drop forgets that a key is there. Its public half stays what it was.
func (c *cache) drop(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.algorithms, version)
}

var (
	versionsGet   = permission{name: "cloudkms.cryptoKeyVersions.get"}
	viewPublicKey = permission{name: "cloudkms.cryptoKeyVersions.viewPublicKey"}
)

// Key returns the key behind a reference. The first time it asks the service whether the key is there.
func (p *Provider) Key(ctx context.Context, ref provider.Reference) (provider.Key, error) {
	if err := p.ready(ctx, "find the key"); err != nil {
		return nil, err
	}
	name, err := versionOf(ref.Ref)
	if err != nil {
		return nil, err
	}
	a, known := p.keys.algorithm(name)
	if !known {
		version, err := p.version(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := stateFault(version); fault.Is(err, fault.KeyHandleInvalid) {
			return nil, err
		}
		// A key that is disabled is there: its use says so.
		if a, known = algorithmOf(version.GetAlgorithm()); !known {
			return nil, fault.New(fault.KeyHandleInvalid, "the key %s has the algorithm %s, which PKCS#11's mechanisms here cannot use; adopt another one", name, version.GetAlgorithm())
		}
		p.keys.add(name, a, nil)
	}
	if keyType, ok := ref.Attributes.KeyType(); ok && plain(keyType) != a.keyType {
		return nil, fault.New(fault.KeyHandleInvalid, "Google Cloud KMS has a key of type %s under %s, not the recorded %s; look at the key there, and adopt it anew", a.keyType, name, keyType)
	}
	return &key{provider: p, reference: ref, version: name, algorithm: a}, nil
}

// plain is the type that a key has in the table: an HMAC key may have been named by its hash.
func plain(t cryptoki.KeyType) cryptoki.KeyType {
	switch t {
	case cryptoki.CKK_RSA, cryptoki.CKK_EC, cryptoki.CKK_EC_EDWARDS, cryptoki.CKK_ML_DSA, cryptoki.CKK_AES:
		return t
	}
	return cryptoki.CKK_GENERIC_SECRET
}

// version asks for a key version's state and algorithm.
func (p *Provider) version(ctx context.Context, name string) (*kmspb.CryptoKeyVersion, error) {
	version, err := call(ctx, p, versionsGet, name, p.client.GetCryptoKeyVersion, &kmspb.GetCryptoKeyVersionRequest{Name: name})
	if err != nil {
		return nil, err
	}
	if version.GetName() != name {
		return nil, fault.New(fault.DeviceError, "Google Cloud KMS answered with the key %s when it was asked for %s; look at the endpoint", version.GetName(), name)
	}
	return version, nil
}

// public returns the public half of a key version. It is fetched once, whoever asks.
func (p *Provider) public(ctx context.Context, name string, a algorithm) (cryptoki.Attributes, error) {
	if !a.asymmetric() {
		p.keys.add(name, a, nil)
		return nil, nil
	}
	if known := p.keys.public(name); known != nil {
		p.keys.add(name, a, nil)
		return known, nil
	}
	answer := p.looks.DoChan(name, func() (any, error) {
		// Others may wait for the answer when this caller has gone.
		working, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.config.CallTimeout)
		defer cancel()
		request := &kmspb.GetPublicKeyRequest{Name: name}
		if a.set != nil {
			request.PublicKeyFormat = kmspb.PublicKey_NIST_PQC
		}
		got, err := exchange(working, p, viewPublicKey, name, p.client.GetPublicKey, request, func(k *kmspb.PublicKey) bool {
			if a.set != nil {
				return k.GetName() == name && intact(k.GetPublicKey().GetData(), k.GetPublicKey().GetCrc32CChecksum())
			}
			return k.GetName() == name && intact([]byte(k.GetPem()), k.GetPemCrc32C())
		})
		if err != nil {
			return nil, err
		}
		public, err := publicAttributes(got, a)
		if err != nil {
			return nil, err
		}
		p.keys.add(name, a, public)
		return public, nil
	})
	select {
	case got := <-answer:
		if got.Err != nil {
			return nil, got.Err
		}
		return got.Val.(cryptoki.Attributes), nil
	case <-ctx.Done():
		return nil, ended(ctx, "show the public key "+name)
	}
}

// publicAttributes reads a public key: of ML-DSA as FIPS 204 writes it, else in PEM.
func publicAttributes(got *kmspb.PublicKey, a algorithm) (cryptoki.Attributes, error) {
	var der []byte
	if a.set != nil {
		der = a.set.PublicKeyInfo(got.GetPublicKey().GetData())
	} else if block, _ := pem.Decode([]byte(got.GetPem())); block != nil {
		der = block.Bytes
	} else {
		return nil, fault.New(fault.DeviceError, "the public key that Google Cloud KMS sent is no PEM; look at the endpoint")
	}
	keyType, public, err := provider.ReadPublicKey(der)
	if err != nil {
		return nil, fault.New(fault.DeviceError, "the public key that Google Cloud KMS sent cannot be read; look at the endpoint: %w", err)
	}
	if keyType != a.keyType {
		return nil, fault.New(fault.DeviceError, "Google Cloud KMS sent a public key of type %s for the algorithm %s; look at the endpoint", keyType, a.id)
	}
	return public, nil
}

// key is a key version in use.
type key struct {
	provider  *Provider
	reference provider.Reference
	version   string
	algorithm algorithm
}

// Reference returns what the key was found by.
func (k *key) Reference() provider.Reference { return k.reference }

// check refuses what Google Cloud KMS would refuse as well, for money.
func (k *key) check(m cryptoki.Mechanism, use cryptoki.Flags) error {
	a := k.algorithm
	if err := k.provider.capabilities.CheckUse(m, use, a.keyType); err != nil {
		return err
	}
	row, _ := k.provider.capabilities.Mechanism(m.Type)
	switch base := raw(m.Type); {
	case base == a.mechanism:
	case a.keyType == cryptoki.CKK_GENERIC_SECRET:
		return fault.New(fault.KeySizeRange, "%s takes a key of %d bits in Google Cloud KMS, and this one has %d: an HMAC key is for one hash", m.Type, row.MinSize, a.size)
	case a.purpose == kmspb.CryptoKey_ASYMMETRIC_DECRYPT || base == cryptoki.CKM_RSA_PKCS_OAEP:
		return fault.New(fault.KeyFunctionNotPermitted, "Google Cloud KMS made this key for %s alone; make another key for %s", a.id, m.Type)
	default:
		return fault.New(fault.MechanismInvalid, "Google Cloud KMS made this key for %s alone; make another key for %s, and name that in CKA_ALLOWED_MECHANISMS", a.id, m.Type)
	}
	if digest, ok := digestOf(m); ok && a.digest != 0 && digest != a.digest {
		return fault.New(fault.MechanismParamInvalid, "Google Cloud KMS made this key for %s alone, so not for %s; make another key for that", a.id, digest)
	}
	return nil
}

// raw is the mechanism of the service behind one of PKCS#11's.
func raw(t cryptoki.MechanismType) cryptoki.MechanismType {
	if t == cryptoki.CKM_AES_CBC_PAD {
		return cryptoki.CKM_AES_CBC
	}
	for _, m := range macs {
		if m.general == t {
			return m.mechanism
		}
	}
	return t
}

// digestOf is the hash in a mechanism's parameter.
func digestOf(m cryptoki.Mechanism) (cryptoki.MechanismType, bool) {
	switch params := m.Params.(type) {
	case cryptoki.PSSParams:
		return params.Hash, true
	case cryptoki.OAEPParams:
		return params.Hash, true
	}
	return 0, false
}

// settle forgets a key that is gone.
func (k *key) settle(err error) error {
	if fault.Is(err, fault.KeyHandleInvalid) {
		k.provider.keys.drop(k.version)
	}
	return err
}

// Derive refuses: the service has no key agreement.
func (k *key) Derive(ctx context.Context, m cryptoki.Mechanism, _ int) ([]byte, error) {
	if err := k.provider.ready(ctx, "derive"); err != nil {
		return nil, err
	}
	return nil, k.check(m, cryptoki.CKF_DERIVE)
}
