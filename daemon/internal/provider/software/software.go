// Package software is the embedded provider: Go's crypto on key values that the store keeps sealed. The provider keeps
// nothing but a small cache of parsed keys.
package software

import (
	"context"
	"crypto/rand"
	"errors"
	"runtime"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Provider is the software provider.
type Provider struct {
	sealer Sealer
	cache  *cache
	// makers limits how many key pairs are generated at once: an RSA key of 8192 bits takes seconds of a processor.
	makers chan struct{}
}

// New makes a software provider.
func New(config Config) (*Provider, error) {
	if config.Sealer == nil {
		return nil, fault.New(fault.ArgumentsBad, "provider software needs the keyring that seals its keys")
	}
	if config.CacheSize < 0 {
		return nil, fault.New(fault.ArgumentsBad, "provider software cannot keep %d keys in memory; the number must be positive", config.CacheSize)
	}
	size := config.CacheSize
	if size == 0 {
		size = DefaultCacheSize
	}
	return &Provider{
		sealer: config.Sealer, cache: newCache(size), makers: make(chan struct{}, max(runtime.GOMAXPROCS(0)-1, 1)),
	}, nil
}

// Capabilities tells what the provider can do.
func (p *Provider) Capabilities() provider.Capabilities { return capabilities() }

// Generate makes a key and seals it. Called again it makes another: nothing is kept that could be found again, and
// which one counts is decided by the store's transaction.
func (p *Provider) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	if err := p.ready(ctx); err != nil {
		return provider.Generated{}, err
	}
	if err := capabilities().CheckGenerate(request); err != nil {
		return provider.Generated{}, err
	}
	made, err := p.generate(ctx, request)
	if err != nil {
		return provider.Generated{}, err
	}
	defer wipe(made.secret)
	ref, err := p.seal(ctx, request.Identity, made.key())
	if err != nil {
		return provider.Generated{}, err
	}
	return provider.Generated{Ref: ref, Public: made.public}, nil
}

// made is a key that was just generated.
type made struct {
	class          cryptoki.ObjectClass
	keyType        cryptoki.KeyType
	public, secret cryptoki.Attributes
}

// key returns the attributes that are sealed.
func (m made) key() cryptoki.Attributes {
	key := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, m.class), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, m.keyType)}
	return append(append(key, pick(m.public, publicTypes...)...), m.secret...)
}

// generate generates beside the caller, who may give up before it is done.
func (p *Provider) generate(ctx context.Context, request provider.GenerateRequest) (made, error) {
	select {
	case p.makers <- struct{}{}:
	case <-ctx.Done():
		return made{}, interrupted(ctx)
	}
	type result struct {
		made
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-p.makers }()
		var r result
		r.made, r.err = generate(request)
		done <- r
	}()
	select {
	case r := <-done:
		return r.made, r.err
	case <-ctx.Done():
		go func() { wipe((<-done).secret) }()
		return made{}, interrupted(ctx)
	}
}

func generate(request provider.GenerateRequest) (m made, err error) {
	m.class = cryptoki.CKO_PRIVATE_KEY
	switch request.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		m.keyType = cryptoki.CKK_RSA
	case cryptoki.CKM_EC_KEY_PAIR_GEN:
		m.keyType = cryptoki.CKK_EC
	case cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		m.keyType = cryptoki.CKK_EC_EDWARDS
	case cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:
		m.keyType = cryptoki.CKK_ML_DSA
	default:
		m.class = cryptoki.CKO_SECRET_KEY
		m.keyType, _ = request.Private.KeyType()
		m.secret, err = softkey.GenerateSecret(request.Mechanism, request.Private)
		return m, err
	}
	m.public, m.secret, err = softkey.GenerateKeyPair(request.Mechanism, request.Public, request.Private)
	return m, err
}

// Import seals key material that comes from outside.
func (p *Provider) Import(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes) (provider.Generated, error) {
	if err := p.ready(ctx); err != nil {
		return provider.Generated{}, err
	}
	if class, _ := attributes.Class(); class != cryptoki.CKO_PRIVATE_KEY && class != cryptoki.CKO_SECRET_KEY {
		return provider.Generated{}, fault.New(fault.TemplateInconsistent, "only private and secret keys can be imported, not %s", class)
	}
	// Parsed now, so that what is stored is a key that works.
	key, err := softkey.FromAttributes(attributes)
	if err != nil {
		return provider.Generated{}, err
	}
	defer key.Wipe()
	public := key.PublicAttributes()
	sealed := pick(attributes, sealedTypes...)
	for _, a := range pick(public, publicTypes...) {
		sealed.Set(a)
	}
	ref, err := p.seal(ctx, identity, sealed)
	if err != nil {
		return provider.Generated{}, err
	}
	return provider.Generated{Ref: ref, Public: public}, nil
}

// Key opens a sealed key.
func (p *Provider) Key(ctx context.Context, reference provider.Reference) (provider.Key, error) {
	k := &key{provider: p, reference: reference}
	entry, err := k.acquire(ctx)
	if err != nil {
		return nil, err
	}
	k.keyType = entry.keyType
	p.cache.release(entry)
	return k, nil
}

// Destroy wipes a key from memory. The sealed value is the store's to delete.
func (p *Provider) Destroy(_ context.Context, reference provider.Reference) error {
	p.cache.destroy(reference)
	return nil
}

// Random returns random bytes of the operating system.
func (p *Provider) Random(ctx context.Context, length int) ([]byte, error) {
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	if length < 0 || length > maxRandom {
		return nil, fault.New(fault.ArgumentsBad, "%d random bytes cannot be had at once; ask for at most 1 MiB", length)
	}
	value := make([]byte, length)
	_, _ = rand.Read(value) // never fails
	return value, nil
}

const maxRandom = 1 << 20

// Health tells whether the provider would serve: it does until it is closed.
func (p *Provider) Health(ctx context.Context) error { return p.ready(ctx) }

// Forget wipes the cached keys; they are opened again when they are used.
func (p *Provider) Forget() { p.cache.forget() }

// Close wipes the cached keys.
func (p *Provider) Close() error {
	p.cache.close()
	return nil
}

func (p *Provider) ready(ctx context.Context) error {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	if p.cache.isClosed() {
		return errClosed
	}
	return nil
}

var errClosed = fault.New(fault.DeviceError, "provider software is closed because the daemon stops")

// interrupted is the error of a call whose context has ended.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "provider software took longer than the call may: %w", ctx.Err())
	}
	return fault.New(fault.FunctionCanceled, "the call was cancelled: %w", ctx.Err())
}

var (
	_ provider.Provider      = (*Provider)(nil)
	_ provider.Importer      = (*Provider)(nil)
	_ provider.Destroyer     = (*Provider)(nil)
	_ provider.RandomSource  = (*Provider)(nil)
	_ provider.HealthChecker = (*Provider)(nil)
	_ provider.Forgetter     = (*Provider)(nil)
)
