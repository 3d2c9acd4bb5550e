package hsm

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Real tokens do PSS and OAEP with few parameters: SoftHSM does OAEP with SHA-1 and no label only. Where the token
// also does raw RSA, the padding is done here and the key never leaves it.

// hashesOf returns the hash of the data and the one of the mask.
func hashesOf(digest cryptoki.MechanismType, mgf uint64) (hash.Hash, hash.Hash, error) {
	h, known := mechanism.NewHash(digest)
	generator, ok := mechanism.MGFHash(mgf)
	if !known || !ok {
		return nil, nil, fault.New(fault.MechanismParamInvalid, "the padding with %s and mask generation function %d is not supported", digest, mgf)
	}
	return h, generator.New(), nil
}

// mask is MGF1 of RFC 8017: it exclusive-ors the mask of a seed onto data.
func mask(data, seed []byte, h hash.Hash) {
	var counter [4]byte
	var digest []byte
	for i := uint32(0); len(data) > 0; i++ {
		binary.BigEndian.PutUint32(counter[:], i)
		h.Reset()
		h.Write(seed)
		h.Write(counter[:])
		digest = h.Sum(digest[:0])
		n := subtle.XORBytes(data, data, digest)
		data = data[n:]
	}
	clear(digest)
}

// encodePSS is EMSA-PSS-ENCODE of RFC 8017 for a modulus of some bits, which has room for the salt; the
// result is as long as the modulus.
func encodePSS(digest []byte, params cryptoki.PSSParams, bits int) ([]byte, error) {
	h, generator, err := hashesOf(params.Hash, params.MGF)
	if err != nil {
		return nil, err
	}
	length := (bits - 1 + 7) / 8
	salt := make([]byte, params.SaltLength)
	_, _ = rand.Read(salt)
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)

	out := make([]byte, (bits+7)/8)
	encoded := out[len(out)-length:]
	block := encoded[:length-h.Size()-1]
	block[len(block)-len(salt)-1] = 1
	copy(block[len(block)-len(salt):], salt)
	seed := h.Sum(nil)
	mask(block, seed, generator)
	block[0] &= 0xff >> (8*length - (bits - 1))
	copy(encoded[len(block):], seed)
	encoded[length-1] = 0xbc
	return out, nil
}

// decodeOAEP is EME-OAEP-DECODE of RFC 8017. It takes the same time whichever way the padding is wrong. It wipes block.
func decodeOAEP(block []byte, params cryptoki.OAEPParams) ([]byte, error) {
	defer clear(block)
	h, generator, err := hashesOf(params.Hash, params.MGF)
	if err != nil {
		return nil, err
	}
	size := h.Size()
	if len(block) < 2*size+2 {
		return nil, fault.New(fault.KeySizeRange, "the key of %d bytes is too short for OAEP with %s", len(block), params.Hash)
	}
	h.Write(params.Label)
	label := h.Sum(nil)

	good := subtle.ConstantTimeByteEq(block[0], 0)
	seed, data := block[1:1+size], block[1+size:]
	mask(seed, data, generator)
	mask(data, seed, generator)
	good &= subtle.ConstantTimeCompare(data[:size], label)
	// The message begins after the first 1; before it are only zeros.
	rest := data[size:]
	looking, index := 1, 0
	for i, b := range rest {
		one, zero := subtle.ConstantTimeByteEq(b, 1), subtle.ConstantTimeByteEq(b, 0)
		index = subtle.ConstantTimeSelect(looking&one, i, index)
		good &= subtle.ConstantTimeSelect(looking, one|zero, 1)
		looking &^= one
	}
	if good&^looking != 1 {
		return nil, errUndecryptable
	}
	return append([]byte(nil), rest[index+1:]...), nil
}

var errUndecryptable = fault.New(fault.EncryptedDataInvalid, "the data does not decrypt with this key and mechanism")
