package awskms

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
)

// Destroy schedules a key for deletion. AWS KMS destroys no key at once: until the window has passed, an administrator
// can rescue it there, but nobody can use it.
func (p *Provider) Destroy(ctx context.Context, ref provider.Reference) error {
	if err := p.ready(ctx, "destroy the key"); err != nil {
		return err
	}
	r, _, err := p.parse(ref.Ref)
	if err != nil {
		return err
	}
	p.keys.drop(r.ARN)
	if err := p.schedule(ctx, r.ARN); err != nil {
		return err
	}
	alias := aliasOf(ref.Identity)
	if _, err := call(ctx, p, "DeleteAlias", alias, p.client.DeleteAlias, &kms.DeleteAliasInput{AliasName: &alias}); err != nil && !gone(err) {
		// The key is on its way out; an alias that stays costs nothing and is taken away when the name is needed again.
		p.log.WarnContext(ctx, "the alias of a destroyed key stays", "alias", alias, "error", err)
	}
	return nil
}

// schedule lets a key be deleted after the window. What is scheduled already, or gone, is done.
func (p *Provider) schedule(ctx context.Context, name string) error {
	_, err := call(ctx, p, "ScheduleKeyDeletion", name, p.client.ScheduleKeyDeletion, &kms.ScheduleKeyDeletionInput{
		KeyId: &name, PendingWindowInDays: aws.Int32(int32(p.config.DeletionDays)),
	})
	if gone(err) || err != nil && strings.Contains(err.Error(), "pending deletion") {
		return nil
	}
	return err
}
