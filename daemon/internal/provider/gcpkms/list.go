package gcpkms

import (
	"context"
	"path"
	"strings"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

var keysList = permission{name: "cloudkms.cryptoKeys.list"}

const (
	// pageSize is how many keys one page of the listing has. Each costs up to two calls, of which some are under way
	// at once.
	pageSize    = 50
	looksAtOnce = 8
)

// List lists the enabled key versions of the key ring that can be used here.
func (p *Provider) List(ctx context.Context, page string) ([]provider.Found, string, error) {
	if err := p.ready(ctx, "list the keys"); err != nil {
		return nil, "", err
	}
	type answer struct {
		keys []*kmspb.CryptoKey
		next string
	}
	got, err := call(ctx, p, keysList, p.config.KeyRing, func(ctx context.Context, in *kmspb.ListCryptoKeysRequest, _ ...callOption) (*answer, error) {
		var made answer
		next, err := iterator.NewPager(p.client.ListCryptoKeys(ctx, in), pageSize, page).NextPage(&made.keys)
		made.next = next
		return &made, err
	}, &kmspb.ListCryptoKeysRequest{Parent: p.config.KeyRing})
	if err != nil {
		return nil, "", err
	}
	each := make([][]provider.Found, len(got.keys))
	errs := make([]error, len(got.keys))
	var wait sync.WaitGroup
	slots := make(chan struct{}, looksAtOnce)
	for i, k := range got.keys {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			each[i], errs[i] = p.look(ctx, k)
		})
	}
	wait.Wait()
	var found []provider.Found
	for i := range each {
		if errs[i] != nil {
			return nil, "", errs[i]
		}
		found = append(found, each[i]...)
	}
	return found, got.next, nil
}

// look returns what can be used of a key: each enabled version is a key of its own to PKCS#11.
func (p *Provider) look(ctx context.Context, k *kmspb.CryptoKey) (all []provider.Found, err error) {
	switch k.GetPurpose() {
	case kmspb.CryptoKey_ASYMMETRIC_SIGN, kmspb.CryptoKey_ASYMMETRIC_DECRYPT, kmspb.CryptoKey_MAC, kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT:
	default:
		return nil, nil
	}
	versions, err := p.versions(ctx, k.GetName())
	if err != nil {
		return nil, err
	}
	for _, v := range versions {
		a, known := algorithmOf(v.GetAlgorithm())
		switch state := v.GetState(); {
		case !known || state == kmspb.CryptoKeyVersion_DESTROYED:
			continue
		case state != kmspb.CryptoKeyVersion_ENABLED:
			all = append(all, provider.Found{Name: v.GetName(), Ref: []byte(v.GetName()), State: state.String(), Version: path.Base(v.GetName())})
			continue
		}
		found, err := p.found(ctx, k, v, a)
		if fault.Is(err, fault.FunctionFailed) || fault.Is(err, fault.KeyHandleInvalid) {
			p.log.WarnContext(ctx, "a key of the key ring is left out of the listing", "key", v.GetName(), "error", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found)
	}
	return all, nil
}

// Inspect tells whether a key is there and can be used.
func (p *Provider) Inspect(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "look at the key"); err != nil {
		return err
	}
	name, err := versionOf(ref.Ref)
	if err != nil {
		return err
	}
	v, err := p.version(ctx, name)
	if err != nil {
		return err
	}
	return stateFault(v)
}

// found makes the objects of a key version that is there.
func (p *Provider) found(ctx context.Context, k *kmspb.CryptoKey, v *kmspb.CryptoKeyVersion, a algorithm) (provider.Found, error) {
	public, err := p.public(ctx, v.GetName(), a)
	if err != nil {
		return provider.Found{}, err
	}
	class := cryptoki.CKO_SECRET_KEY
	if a.asymmetric() {
		class = cryptoki.CKO_PRIVATE_KEY
	}
	label := cryptoki.String(cryptoki.CKA_LABEL, labelOf(k.GetName(), k.GetLabels()))
	kind := cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, a.keyType)
	local := v.GetImportJob() == ""
	first := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, class), kind, label, cryptoki.Bool(cryptoki.CKA_PRIVATE, true), cryptoki.Bool(cryptoki.CKA_LOCAL, local),
	}
	for _, usage := range a.usage() {
		first = append(first, cryptoki.Bool(usage, true))
	}
	first = append(first, a.granted(nil, local)...)
	f := provider.Found{Name: v.GetName(), Ref: []byte(v.GetName()), Version: path.Base(v.GetName())}
	if !a.asymmetric() {
		length := a.size
		if a.keyType == cryptoki.CKK_GENERIC_SECRET {
			length /= 8
		}
		f.Objects = []cryptoki.Attributes{append(first, cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, length))}
		return f, nil
	}
	use := cryptoki.CKA_VERIFY
	if a.purpose == kmspb.CryptoKey_ASYMMETRIC_DECRYPT {
		use = cryptoki.CKA_ENCRYPT
	}
	second := append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), kind, label, cryptoki.Bool(cryptoki.CKA_PRIVATE, false), cryptoki.Bool(use, true),
	}, public...)
	f.Objects = []cryptoki.Attributes{append(first, provider.OnPrivate(public)...), second}
	return f, nil
}

// Find finds a key by its resource name, with or without a version, or by its name in the key ring. Without a version
// it is the newest one that is enabled.
func (p *Provider) Find(ctx context.Context, name string) (provider.Found, error) {
	var none provider.Found
	if err := p.ready(ctx, "find the key"); err != nil {
		return none, err
	}
	wanted := name
	if shortName.MatchString(name) {
		wanted = p.config.KeyRing + "/cryptoKeys/" + name
	}
	if !keyName.MatchString(keyOf(wanted)) || strings.Contains(wanted, "/cryptoKeyVersions/") && !versionName.MatchString(wanted) {
		return none, fault.New(fault.NotFound, "%q is no name of a key in Google Cloud KMS; give its resource name, or its name in the key ring %s", name, p.config.KeyRing)
	}
	k, err := call(ctx, p, keysGet, keyOf(wanted), p.client.GetCryptoKey, &kmspb.GetCryptoKeyRequest{Name: keyOf(wanted)})
	if fault.Is(err, fault.KeyHandleInvalid) {
		return none, fault.New(fault.NotFound, "Google Cloud KMS has no key %s; check the project, the location and the key ring", keyOf(wanted))
	}
	if err != nil {
		return none, err
	}
	versions, err := p.versions(ctx, k.GetName())
	if err != nil {
		return none, err
	}
	var newest *kmspb.CryptoKeyVersion
	for _, v := range versions {
		if v.GetName() != wanted && (versionName.MatchString(wanted) || v.GetState() != kmspb.CryptoKeyVersion_ENABLED) {
			continue
		}
		if newest == nil || v.GetCreateTime().AsTime().After(newest.GetCreateTime().AsTime()) {
			newest = v
		}
	}
	if newest == nil {
		return none, fault.New(fault.NotFound, "the key %s in Google Cloud KMS has no such version, or none that is enabled; see gcloud kms keys versions list", wanted)
	}
	if err := stateFault(newest); err != nil {
		return none, err
	}
	a, known := algorithmOf(newest.GetAlgorithm())
	if !known {
		return none, fault.New(fault.InvalidInput, "the key %s has the algorithm %s, which PKCS#11's mechanisms here do not use", newest.GetName(), newest.GetAlgorithm())
	}
	return p.found(ctx, k, newest, a)
}
