package keyservice

import (
	"context"

	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
)

// DeriveKey derives a secret key (C_DeriveKey). The base key may be any provider's; the derived one is a sealed session
// object or is imported into the token's provider.
func (s *Service) DeriveKey(ctx context.Context, call Call, m cryptoki.Mechanism, base KeyRef, template cryptoki.Attributes) (key Object, reply Reply, err error) {
	r := begin(call, "key.derive").with(m)
	defer s.end(ctx, r, &err)

	enter := s.enterToUse
	if template.Bool(cryptoki.CKA_TOKEN) {
		enter = func(ctx context.Context, call Call, r *record) (access, error) {
			return s.enter(ctx, call, r, policy.Use, policy.Create)
		}
	}
	a, err := enter(ctx, call, r)
	if err != nil {
		return Object{}, Reply{}, err
	}
	t, err := s.resolveKey(ctx, a, base, r)
	if err != nil {
		return Object{}, Reply{}, err
	}
	if err := t.permit(m, cryptoki.CKF_DERIVE); err != nil {
		return Object{}, Reply{}, err
	}
	attributes, err := object.New(object.Derive, m.Type, template)
	if err != nil {
		return Object{}, Reply{}, err
	}
	attributes = object.Inherit(attributes, t.Attributes)
	if err := a.mayTouch(attributes); err != nil {
		return Object{}, Reply{}, err
	}
	t, err = s.able(ctx, t, task{what: "derive", use: cryptoki.CKF_DERIVE, asked: m.Type, raw: same(m)})
	if err != nil {
		return Object{}, Reply{}, err
	}
	length, _ := attributes.Ulong(cryptoki.CKA_VALUE_LEN)
	if length > maxDerived {
		return Object{}, Reply{}, cryptoki.CKR_KEY_SIZE_RANGE
	}
	value, err := use(ctx, s, t, "derive", func(ctx context.Context, _ *backend, key provider.Deriver) ([]byte, error) {
		return key.Derive(ctx, m, int(length))
	})
	if err != nil {
		return Object{}, Reply{}, err
	}
	defer clear(value)
	attributes.Set(cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(len(value))))
	secret := cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_VALUE, value)}
	r.event.Detail = "from " + t.UID
	made, err := s.bear(ctx, &a, r, s.importing(attributes, secret), draft{role: "derive", attributes: attributes})
	if err != nil {
		return Object{}, Reply{}, err
	}
	return made[0], a.reply, nil
}

// maxDerived bounds what a derivation may ask for; ECDH gives 66 bytes at most.
const maxDerived = 64 << 10
