package softkey

import (
	"math/big"

	"filippo.io/mldsa"
)

// Wipe overwrites the key's values. What crypto/rsa, crypto/ecdsa and crypto/aes derived from them for their own use is
// out of reach and goes with the garbage collector.
func (k *Key) Wipe() {
	clear(k.secret)
	clear(k.edPrivate)
	if k.rsaPrivate != nil {
		wipeInt(k.rsaPrivate.D)
		for _, p := range k.rsaPrivate.Primes {
			wipeInt(p)
		}
		wipeInt(k.rsaPrivate.Precomputed.Dp)
		wipeInt(k.rsaPrivate.Precomputed.Dq)
		wipeInt(k.rsaPrivate.Precomputed.Qinv)
	}
	if k.crt != nil {
		clear(k.crt.dp)
		clear(k.crt.dq)
		if k.crt.qInverse != nil {
			clear(k.crt.qInverse.Bits())
		}
	}
	if k.ecPrivate != nil {
		//lint:ignore SA1019 there is no other way to overwrite it.
		wipeInt(k.ecPrivate.D)
	}
	if k.mldsaPrivate != nil {
		*k.mldsaPrivate = mldsa.PrivateKey{}
	}
	k.secret, k.block, k.edPrivate, k.rsaPrivate, k.crt, k.rsaBy, k.ecPrivate, k.ecBy = nil, nil, nil, nil, nil, nil, nil, nil
	k.mldsaPrivate = nil
}

func wipeInt(i *big.Int) {
	if i != nil {
		clear(i.Bits())
	}
}
