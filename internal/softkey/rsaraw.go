package softkey

import (
	"crypto/rsa"
	"crypto/subtle"
	"math/big"

	"filippo.io/bigmod"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// crt is an RSA private key for the raw operation, which crypto/rsa does not offer: in constant time, by the Chinese
// remainder theorem.
type crt struct {
	n, p, q    *bigmod.Modulus
	dp, dq     []byte
	qInverse   *bigmod.Nat
	e          uint
	byteLength int
}

func newCRT(key *rsa.PrivateKey) (*crt, error) {
	c := &crt{e: uint(key.E), byteLength: key.Size()}
	p, q := key.Primes[0], key.Primes[1]
	one := big.NewInt(1)
	// Validate has accepted the primes; they are odd and larger than one.
	var err error
	for _, m := range []struct {
		modulus **bigmod.Modulus
		value   *big.Int
	}{{&c.n, key.N}, {&c.p, p}, {&c.q, q}} {
		if *m.modulus, err = bigmod.NewModulus(m.value.Bytes()); err != nil {
			return nil, wrong(cryptoki.CKA_PRIME_1, "cannot be a prime")
		}
	}
	c.dp = new(big.Int).Mod(key.D, new(big.Int).Sub(p, one)).Bytes()
	c.dq = new(big.Int).Mod(key.D, new(big.Int).Sub(q, one)).Bytes()
	inverse := new(big.Int).ModInverse(q, p)
	if inverse == nil {
		return nil, wrong(cryptoki.CKA_PRIME_2, "has no inverse")
	}
	if c.qInverse, err = bigmod.NewNat().SetBytes(inverse.Bytes(), c.p); err != nil {
		return nil, wrong(cryptoki.CKA_COEFFICIENT, "is out of range")
	}
	return c, nil
}

// private computes input^d mod n. The result is given out only after the public exponent has led back to the input: a
// single fault in one half would otherwise reveal the primes.
func (c *crt) private(input []byte) ([]byte, error) {
	x, err := bigmod.NewNat().SetBytes(input, c.n)
	if err != nil {
		return nil, notReduced()
	}
	scratch := bigmod.NewNat()
	byP := bigmod.NewNat().Exp(scratch.Mod(x, c.p), c.dp, c.p)
	byQ := bigmod.NewNat().Exp(scratch.Mod(x, c.q), c.dq, c.q)
	// result = byQ + q·((byP - byQ)·q⁻¹ mod p)
	result := byP.Sub(scratch.Mod(byQ, c.p), c.p).Mul(c.qInverse, c.p).ExpandFor(c.n)
	result.Mul(scratch.Mod(c.q.Nat(), c.n), c.n).Add(byQ.ExpandFor(c.n), c.n)

	back := bigmod.NewNat().ExpShortVarTime(result, c.e, c.n)
	if subtle.ConstantTimeCompare(back.Bytes(c.n), x.Bytes(c.n)) != 1 {
		return nil, fault.New(fault.Internal, "an RSA operation gave a wrong result and was discarded; check the machine's memory")
	}
	return result.Bytes(c.n), nil
}

// publicRSA computes input^e mod n; an error means that the input is not smaller than n.
func publicRSA(key *rsa.PublicKey, input []byte) ([]byte, error) {
	n, err := bigmod.NewModulus(key.N.Bytes())
	if err != nil {
		return nil, err
	}
	x, err := bigmod.NewNat().SetBytes(input, n)
	if err != nil {
		return nil, err
	}
	return bigmod.NewNat().ExpShortVarTime(x, uint(key.E), n).Bytes(n), nil
}
