package gcpkms

import (
	"context"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

var (
	keysCreate = permission{name: "cloudkms.cryptoKeys.create"}
	keysGet    = permission{name: "cloudkms.cryptoKeys.get"}
)

// Generate makes a key in the key ring. Its name there follows from the identity, so a repeated request finds it.
func (p *Provider) Generate(ctx context.Context, request provider.GenerateRequest) (provider.Generated, error) {
	var none provider.Generated
	if err := p.ready(ctx, "make a key"); err != nil {
		return none, err
	}
	if err := p.capabilities.CheckGenerate(request); err != nil {
		return none, err
	}
	a, err := p.choose(request)
	if err != nil {
		return none, err
	}
	name, _, err := p.create(ctx, request.Identity, a, request.Private, false)
	if err != nil {
		return none, err
	}
	version := name + "/cryptoKeyVersions/1"
	if err := p.await(ctx, version, a); err != nil {
		return none, err
	}
	public, err := p.public(ctx, version, a)
	if err != nil {
		return none, err
	}
	return provider.Generated{Ref: []byte(version), Public: public, Private: a.granted(request.Private, true)}, nil
}

// choose returns the algorithm for a request that CheckGenerate has passed.
func (p *Provider) choose(request provider.GenerateRequest) (algorithm, error) {
	fits := func(algorithm) bool { return false }
	switch request.Mechanism.Type {
	case cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN:
		exponent := request.Public.Bytes(cryptoki.CKA_PUBLIC_EXPONENT)
		if len(exponent) > 0 && strings.TrimLeft(string(exponent), "\x00") != "\x01\x00\x01" {
			return algorithm{}, fault.New(fault.AttributeValueInvalid, "Google Cloud KMS makes RSA keys only with the public exponent 65537, not %x", exponent)
		}
		bits, _ := request.Public.Ulong(cryptoki.CKA_MODULUS_BITS)
		fits = func(a algorithm) bool { return a.keyType == cryptoki.CKK_RSA && a.size == bits }
	case cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN:
		on, err := curve.Of(request.Public)
		if err != nil {
			return algorithm{}, err
		}
		fits = func(a algorithm) bool { return a.curve == on }
	case cryptoki.CKM_ML_DSA_KEY_PAIR_GEN:
		set, err := parameterset.Of(request.Public)
		if err != nil {
			return algorithm{}, err
		}
		fits = func(a algorithm) bool { return a.set == set }
	case cryptoki.CKM_AES_KEY_GEN:
		length, _ := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
		fits = func(a algorithm) bool { return a.keyType == cryptoki.CKK_AES && a.size == length }
	case cryptoki.CKM_GENERIC_SECRET_KEY_GEN:
		length, _ := request.Private.Ulong(cryptoki.CKA_VALUE_LEN)
		fits = func(a algorithm) bool { return a.keyType == cryptoki.CKK_GENERIC_SECRET && a.size == 8*length }
	}
	return choose(fits, request.Private, p.config.RSASigning == SignPSS)
}

// create makes the key, with its first version or for an import, and says whether it is new. If it is there already it
// must be the one that an earlier attempt made.
func (p *Provider) create(ctx context.Context, identity provider.Identity, a algorithm, template cryptoki.Attributes, imported bool) (name string, fresh bool, err error) {
	switch {
	case !uidPattern.MatchString(identity.UID):
		return "", false, fault.New(fault.ArgumentsBad, "the uid of a key must be 32 hexadecimal digits")
	case identity.Session:
		return "", false, fault.New(fault.FunctionNotSupported, "provider gcpkms keeps no session keys; those are provider software's")
	}
	made := &kmspb.CryptoKey{
		Purpose:         a.purpose,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: a.id, ProtectionLevel: p.level},
		Labels:          labels(identity.UID, identity.Token, string(template.Bytes(cryptoki.CKA_LABEL))),
		ImportOnly:      imported,
	}
	if p.config.DestroyAfter > 0 {
		made.DestroyScheduledDuration = durationpb.New(p.config.DestroyAfter)
	}
	name = p.config.KeyRing + "/cryptoKeys/" + keyID(identity.UID)
	_, err = call(ctx, p, keysCreate, p.config.KeyRing, p.client.CreateCryptoKey, &kmspb.CreateCryptoKeyRequest{
		Parent: p.config.KeyRing, CryptoKeyId: keyID(identity.UID), CryptoKey: made, SkipInitialVersionCreation: imported,
	})
	if err == nil {
		return name, true, nil
	}
	if !fault.Is(err, fault.Conflict) {
		return "", false, err
	}
	there, err := call(ctx, p, keysGet, name, p.client.GetCryptoKey, &kmspb.GetCryptoKeyRequest{Name: name})
	if err != nil {
		return "", false, err
	}
	if there.GetLabels()[labelUID] != identity.UID || there.GetLabels()[labelToken] != made.GetLabels()[labelToken] ||
		there.GetPurpose() != a.purpose || there.GetVersionTemplate().GetAlgorithm() != a.id || there.GetImportOnly() != imported {
		return "", false, fault.New(fault.Conflict, "Google Cloud KMS has another key under the name %s (%s, %s); see who made it, and make the object anew, which gives it another name",
			name, there.GetPurpose(), there.GetVersionTemplate().GetAlgorithm())
	}
	return name, false, nil
}

// await waits until the service has made or taken a key version.
func (p *Provider) await(ctx context.Context, name string, a algorithm) error {
	working, release := p.bounded(ctx)
	defer release()
	for pause := firstPause; ; pause = min(2*pause, time.Second) {
		version, err := p.version(working, name)
		if err != nil {
			return err
		}
		if version.GetAlgorithm() != a.id {
			return fault.New(fault.Conflict, "the key %s has the algorithm %s, not %s; adopt it if it is the one that is wanted", name, version.GetAlgorithm(), a.id)
		}
		switch version.GetState() {
		case kmspb.CryptoKeyVersion_PENDING_GENERATION, kmspb.CryptoKeyVersion_PENDING_IMPORT:
		default:
			return stateFault(version)
		}
		if !p.pause(working, pause) {
			return p.ready(working, "finish the key "+name)
		}
	}
}
