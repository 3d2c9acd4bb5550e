package mechanism

import (
	"math/big"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// CounterFits tells whether CKM_AES_CTR can process so many bytes before its counter bits overflow, which the standard
// answers with CKR_DATA_LEN_RANGE.
func CounterFits(p cryptoki.CTRParams, length int) bool {
	if p.CounterBits < 1 || p.CounterBits > 128 || length < 0 {
		return false
	}
	counter, limit := counterOf(p)
	blocks := big.NewInt(int64(length/block) + int64(min(length%block, 1)))
	return counter.Add(counter, blocks).Cmp(limit) <= 0
}

// counterOf returns the counter's value and the number past its largest.
func counterOf(p cryptoki.CTRParams) (counter, limit *big.Int) {
	limit = new(big.Int).Lsh(big.NewInt(1), uint(p.CounterBits))
	counter = new(big.Int).SetBytes(p.CounterBlock[:])
	return counter.Mod(counter, limit), limit
}

// Next returns the mechanism that carries on a chained cipher after whole blocks: for CKM_AES_CBC and CKM_AES_CBC_PAD the
// last ciphertext block is the next IV, for CKM_AES_CTR the counter has moved on; CKM_AES_ECB stays. False means that no
// more data can follow: the counter is used up, or the mechanism does not chain.
func Next(m cryptoki.Mechanism, plaintext, ciphertext []byte) (next cryptoki.Mechanism, more bool) {
	if len(plaintext) != len(ciphertext) || len(ciphertext)%block != 0 {
		return m, false
	}
	switch p := m.Params.(type) {
	case cryptoki.IVParams:
		if len(ciphertext) > 0 {
			p.IV = append([]byte(nil), ciphertext[len(ciphertext)-block:]...)
		}
		return cryptoki.Mechanism{Type: m.Type, Params: p}, true
	case cryptoki.CTRParams:
		if !CounterFits(p, len(ciphertext)) {
			return m, false
		}
		counter, limit := counterOf(p)
		counter.Add(counter, big.NewInt(int64(len(ciphertext)/block)))
		if counter.Cmp(limit) >= 0 {
			return m, false
		}
		nonce := new(big.Int).SetBytes(p.CounterBlock[:])
		nonce.Rsh(nonce, uint(p.CounterBits)).Lsh(nonce, uint(p.CounterBits))
		nonce.Or(nonce, counter).FillBytes(p.CounterBlock[:])
		return cryptoki.Mechanism{Type: m.Type, Params: p}, true
	default:
		return m, m.Type == cryptoki.CKM_AES_ECB
	}
}
