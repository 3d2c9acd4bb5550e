package kmip

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Destroy revokes and destroys a key and its public half at the server.
func (p *Provider) Destroy(ctx context.Context, reference provider.Reference) error {
	const operation = "destroy the key"
	r, err := parseReference(reference.Ref)
	if err != nil {
		return p.explain(operation, err)
	}
	p.known.remove(reference.Ref)
	return p.explain(operation, p.destroy(ctx, r))
}

func (p *Provider) destroy(ctx context.Context, r reference) error {
	o, err := p.describe(ctx, r.ID)
	switch {
	case gone(err):
		return p.destroyHalves(ctx, r)
	case err != nil:
		return err
	case o.dead(), !o.is(r):
		// Destroyed already; the identifier may have become another key's.
		return p.destroyHalves(ctx, r)
	}
	if r.Class == cryptoki.CKO_PRIVATE_KEY && o.publicKey != "" {
		// The public half first: while the private one is there a repeated call still finds its way.
		if half, err := p.describe(ctx, o.publicKey); err == nil && !half.dead() && half.kind == ttlv.ObjectPublicKey {
			if err := p.remove(ctx, half); err != nil {
				return err
			}
		}
	}
	if err := p.destroyHalves(ctx, r); err != nil {
		return err
	}
	return p.remove(ctx, o)
}

// destroyHalves destroys the public keys that have the name of a key's public half.
func (p *Provider) destroyHalves(ctx context.Context, r reference) error {
	if r.Class != cryptoki.CKO_PRIVATE_KEY || r.Name == "" {
		return nil
	}
	halves, err := p.named(ctx, ttlv.ObjectPublicKey, r.Name+publicSuffix)
	if err != nil {
		return err
	}
	for _, half := range halves {
		if err := p.remove(ctx, half); err != nil {
			return err
		}
	}
	return nil
}

// remove revokes and destroys an object; one that is gone already is no error.
func (p *Provider) remove(ctx context.Context, o object) error {
	if o.state == ttlv.StateActive {
		_, err := p.call(ctx, ttlv.OpRevoke, uid(o.id), ttlv.Structure(ttlv.TagRevocationReason,
			ttlv.Enumeration(ttlv.TagRevocationReasonCode, ttlv.RevokeCessationOfOperation)))
		if gone(err) {
			return nil
		}
		if err != nil {
			// A repeated call finds it revoked.
			now, failed := p.describe(ctx, o.id)
			if gone(failed) {
				return nil
			}
			if failed != nil || now.state == ttlv.StateActive {
				return err
			}
		}
	}
	_, err := p.call(ctx, ttlv.OpDestroy, uid(o.id))
	if gone(err) {
		return nil
	}
	return err
}
