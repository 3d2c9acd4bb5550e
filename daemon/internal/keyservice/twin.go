package keyservice

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// Where a service's RSA keys have one padding each, a TLS server needs two: PKCS#1 v1.5 for TLS 1.2 and certificates, PSS
// for TLS 1.3. Twins are two keys of the provider with the same material, behind one object. No service makes the same
// key twice, so the material is made in the daemon's memory and imported twice: the object says so, with CKA_LOCAL and
// CKA_NEVER_EXTRACTABLE false.

// paddings are what the twins are for, the first and the second.
var paddings = [2][]cryptoki.MechanismType{
	{
		cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA1_RSA_PKCS, cryptoki.CKM_SHA224_RSA_PKCS, cryptoki.CKM_SHA256_RSA_PKCS,
		cryptoki.CKM_SHA384_RSA_PKCS, cryptoki.CKM_SHA512_RSA_PKCS,
	},
	{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256_RSA_PKCS_PSS},
}

// createTwin makes an RSA key for both paddings in a provider whose keys have one.
func (s *Service) createTwin(ctx context.Context, a *access, r *record, order keyOrder, key NewKey) (Object, error) {
	if order.mechanism != cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN {
		return Object{}, fault.New(fault.InvalidInput, "only RSA keys have twins, one for each padding; leave --twin out for %s", key.Spec)
	}
	open, values, err := softkey.GenerateKeyPair(cryptoki.Mechanism{Type: order.mechanism}, order.parameters, nil)
	if err != nil {
		return Object{}, err
	}
	defer wipe(values)
	parsed, err := softkey.FromAttributes(append(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA),
	}, append(open, values...)...))
	if err != nil {
		return Object{}, err
	}
	defer parsed.Wipe()
	imported := KeyImport{Label: key.Label, ID: key.ID, Usage: slices.Clone(key.Usage), Extractable: key.Extractable}
	if len(imported.Usage) == 0 {
		imported.Usage = []string{"sign"}
	}
	if imported.PKCS8, err = parsed.PKCS8(); err != nil {
		return Object{}, err
	}
	defer clear(imported.PKCS8)
	return s.importKey(ctx, a, r, imported, "twin", s.importingTwin)
}

// importingTwin makes a maker that brings key material into a provider twice, for one padding each.
func (s *Service) importingTwin(attributes, secret cryptoki.Attributes) maker {
	return func(ctx context.Context, b *backend, identity provider.Identity) (made, error) {
		if !b.capabilities.OneAlgorithm {
			return made{}, fault.New(fault.InvalidInput, "the RSA keys of provider %s do both paddings; make the key without --twin", b.name)
		}
		var references [2]keystore.KeyReference
		var first made
		for i, mechanisms := range paddings {
			own := attributes.Clone()
			own.Set(allowing(mechanisms))
			if i > 0 {
				identity.UID = twinUID(identity.UID)
			}
			one, err := s.importing(own, secret)(ctx, b, identity)
			if err != nil {
				if i > 0 {
					s.abandon(ctx, identity, attributes, place{b, references[0]}, err)
				}
				return made{}, err
			}
			if i == 0 {
				first = one
			}
			references[i] = keystore.KeyReference{Provider: b.name, Ref: one.Ref, Mechanisms: allowed(one.Private)}
		}
		first.mechanisms, first.replicas = references[0].Mechanisms, []keystore.KeyReference{references[1]}
		first.Private = append(first.Private.Clone(), allowing(append(slices.Clone(references[0].Mechanisms), references[1].Mechanisms...)))
		return first, nil
	}
}

// abandon destroys the first twin where the second could not be made.
func (s *Service) abandon(ctx context.Context, identity provider.Identity, attributes cryptoki.Attributes, p place, cause error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	t := target{Object: keystore.Object{UID: identity.UID, Token: identity.Token, Attributes: attributes}}
	if err := destroyAt(ctx, t, p); err != nil {
		s.log.Error("a key was left behind in the provider; destroy it there, or adopt it", "provider", p.name,
			"ref", string(p.reference.Ref), "cause", cause, "error", err)
	}
}

// twinUID names the second twin to the provider. It follows from the first's, so that a repeated request finds it.
func twinUID(uid string) string {
	sum := sha256.Sum256([]byte("twin " + uid))
	return hex.EncodeToString(sum[:16])
}
