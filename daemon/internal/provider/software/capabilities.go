package software

import (
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// What is done with a private or secret key. Verifying and encrypting with public keys is not a provider's.
const (
	privateUses = cryptoki.CKF_SIGN | cryptoki.CKF_DECRYPT | cryptoki.CKF_DERIVE | cryptoki.CKF_GENERATE_KEY_PAIR |
		cryptoki.CKF_EC_F_P | cryptoki.CKF_EC_OID | cryptoki.CKF_EC_CURVENAME | cryptoki.CKF_EC_UNCOMPRESS
	secretUses = cryptoki.CKF_SIGN | cryptoki.CKF_VERIFY | cryptoki.CKF_ENCRYPT | cryptoki.CKF_DECRYPT | cryptoki.CKF_GENERATE
)

// capabilities are all raw mechanisms that AnyHSM knows: package softkey does them all.
var capabilities = sync.OnceValue(func() provider.Capabilities {
	c := provider.Capabilities{Kind: "software"}
	for _, on := range curve.All() {
		c.Curves = append(c.Curves, on.Params)
	}
	for _, info := range mechanism.All() {
		if info.Hashing() || len(info.KeyTypes) == 0 {
			continue
		}
		uses := privateUses
		switch info.KeyTypes[0] {
		case cryptoki.CKK_AES, cryptoki.CKK_GENERIC_SECRET:
			uses = secretUses
		}
		c.Mechanisms = append(c.Mechanisms, provider.Mechanism{
			Type: info.Type, MinSize: info.MinSize, MaxSize: info.MaxSize, Flags: info.Flags & uses,
		})
	}
	return c
})
