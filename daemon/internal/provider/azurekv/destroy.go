package azurekv

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Destroy deletes a key. Azure keeps it for 7 to 90 days, for the administrator to recover; with purge = true it goes
// at once. Azure deletes only all versions of a key together: while others of them are enabled, this one is disabled
// and tagged instead.
func (p *Provider) Destroy(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "destroy the key"); err != nil {
		return err
	}
	id, err := p.parse(ref.Ref)
	if err != nil {
		return err
	}
	defer p.keys.drop(id.String())
	all, err := p.versions(ctx, id.name)
	if err == nil && len(all) == 0 {
		// It was deleted before: perhaps not purged yet.
		return p.purge(ctx, id, longestWait)
	}
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(v version) bool { return v.id.version == id.version })
	if at < 0 || all[at].gone {
		return nil
	}
	if slices.ContainsFunc(all, func(v version) bool { return v.id.version != id.version && v.enabled && !v.gone }) {
		return p.retire(ctx, id, all[at].tags)
	}
	_, err = call(ctx, p, request{operation: opDelete, key: id.String()}, func(ctx context.Context) (azkeys.DeleteKeyResponse, error) {
		return p.client.DeleteKey(ctx, id.name, nil)
	})
	if err != nil && !fault.Is(err, fault.KeyHandleInvalid) {
		return err
	}
	return p.purge(ctx, id, firstWait)
}

// retire disables one version and marks it.
func (p *Provider) retire(ctx context.Context, id kid, kept map[string]*string) error {
	no, when := false, time.Now().UTC().Format(time.RFC3339)
	tags := maps.Clone(kept)
	if tags == nil {
		tags = map[string]*string{}
	}
	tags[tagGone] = &when
	_, err := call(ctx, p, request{operation: opUpdate, key: id.String()}, func(ctx context.Context) (azkeys.UpdateKeyResponse, error) {
		parameters := azkeys.UpdateKeyParameters{KeyAttributes: &azkeys.KeyAttributes{Enabled: &no}, Tags: tags}
		return p.client.UpdateKey(ctx, id.name, id.version, parameters, nil)
	})
	if err == nil {
		p.log.Info("other versions of the key live on, so this one was disabled instead of deleted", "key", id.String())
	}
	return err
}

// purge makes a deletion final, if the configuration says so. A deletion takes a vault some seconds, which are waited
// for, first `wait` and then longer; what keeps it from being purged is logged: the key is gone as far as its users are concerned.
func (p *Provider) purge(ctx context.Context, id kid, wait time.Duration) error {
	if !p.config.Purge {
		return nil
	}
	for {
		deleted, err := call(ctx, p, request{operation: opGet, key: id.String()}, func(ctx context.Context) (azkeys.GetDeletedKeyResponse, error) {
			return p.client.GetDeletedKey(ctx, id.name, nil)
		})
		switch {
		case err == nil:
			_, err = call(ctx, p, request{operation: opPurge, key: id.String()}, func(ctx context.Context) (azkeys.PurgeDeletedKeyResponse, error) {
				return p.client.PurgeDeletedKey(ctx, id.name, nil)
			})
			if err == nil || fault.Is(err, fault.KeyHandleInvalid) {
				return nil
			}
			if !fault.Is(err, fault.Conflict) {
				recovery := ""
				if deleted.Attributes != nil && deleted.Attributes.RecoveryLevel != nil {
					recovery = *deleted.Attributes.RecoveryLevel
				}
				p.log.Warn("the key was deleted and could not be purged; Azure keeps it until the vault's retention ends", "key", id.String(), "recovery", recovery, "error", err)
				return nil
			}
		case !fault.Is(err, fault.KeyHandleInvalid) || wait >= longestWait:
			if !fault.Is(err, fault.KeyHandleInvalid) {
				p.log.Warn("the key was deleted and could not be purged", "key", id.String(), "error", err)
			}
			return nil
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			p.log.Warn("the key was deleted, and the time did not suffice to purge it; purge it with az keyvault key purge", "key", id.String())
			return nil
		}
	}
}
