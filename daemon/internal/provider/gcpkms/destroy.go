package gcpkms

import (
	"context"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

var versionsDestroy = permission{name: "cloudkms.cryptoKeyVersions.destroy"}

// Destroy schedules a key version for destruction. Until then an administrator can restore it.
func (p *Provider) Destroy(ctx context.Context, reference provider.Reference) error {
	if err := p.ready(ctx, "destroy the key"); err != nil {
		return err
	}
	name, err := versionOf(reference.Ref)
	if err != nil {
		return err
	}
	p.keys.drop(name)
	version, err := call(ctx, p, versionsDestroy, name, p.client.DestroyCryptoKeyVersion, &kmspb.DestroyCryptoKeyVersionRequest{Name: name})
	switch {
	case fault.Is(err, fault.KeyHandleInvalid): // gone, or scheduled already
		return nil
	case err != nil:
		return err
	}
	switch version.GetState() {
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED, kmspb.CryptoKeyVersion_DESTROYED, kmspb.CryptoKeyVersion_PENDING_EXTERNAL_DESTRUCTION:
		p.keys.drop(name)
		return nil
	}
	return fault.New(fault.DeviceError, "Google Cloud KMS was asked to destroy %s, and says that it is %s; look at the key there", name, version.GetState())
}
