package session

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

const block = 16

// chain carries a multi-part encryption or decryption from part to part, so that each request to the daemon is
// complete in itself: the last ciphertext block is the next IV, the counter moves on. What cannot be chained (GCM,
// whose plaintext may not leave before its tag is checked; RSA) is gathered for Final.
type chain struct {
	m       cryptoki.Mechanism
	use     cryptoki.Flags
	limit   int
	pending []byte
	// offset is how far into the counter's block a CKM_AES_CTR stream is.
	offset int
	// spent tells that the counter is used up.
	spent bool
}

// process performs a mechanism on one request's data; more tells that no padding is to be added or removed.
type process func(m cryptoki.Mechanism, data []byte, more bool) ([]byte, error)

func (c *chain) gathers() bool {
	switch c.m.Type {
	case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_CTR:
		return false
	}
	return true
}

// ready returns how many bytes a part of n bytes gives, exactly.
func (c *chain) ready(n int) int {
	total := len(c.pending) + n
	switch {
	case c.gathers():
		return 0
	case c.m.Type == cryptoki.CKM_AES_CTR:
		return n
	case c.m.Type == cryptoki.CKM_AES_CBC_PAD && c.use == cryptoki.CKF_DECRYPT && total > 0:
		// The last block may be the one with the padding.
		return (total - 1) / block * block
	default:
		return total / block * block
	}
}

// update takes a part.
func (c *chain) update(data []byte, do process) ([]byte, error) {
	if len(data) > c.limit-len(c.pending) {
		return nil, c.lengthError()
	}
	if c.m.Type == cryptoki.CKM_AES_CTR {
		return c.stream(data, do)
	}
	n := c.ready(len(data))
	c.pending = append(c.pending, data...)
	if n == 0 {
		return []byte{}, nil
	}
	input := c.pending[:n:n]
	output, err := do(c.m, input, c.m.Type == cryptoki.CKM_AES_CBC_PAD)
	if err != nil {
		return nil, err
	}
	if c.use == cryptoki.CKF_ENCRYPT {
		c.m, _ = mechanism.Next(c.m, input, output)
	} else {
		c.m, _ = mechanism.Next(c.m, output, input)
	}
	c.pending = append([]byte(nil), c.pending[n:]...)
	return output, nil
}

// stream takes a part of a CKM_AES_CTR message. The request starts at the counter's block, so the bytes of it that are
// used up go along as zeros and their output is dropped.
func (c *chain) stream(data []byte, do process) ([]byte, error) {
	if len(data) == 0 {
		return []byte{}, nil
	}
	if c.spent {
		return nil, c.lengthError()
	}
	input := append(make([]byte, c.offset, c.offset+len(data)), data...)
	output, err := do(c.m, input, false)
	if err != nil {
		return nil, err
	}
	if len(output) != len(input) {
		return nil, cryptoki.CKR_GENERAL_ERROR
	}
	if whole := len(input) / block * block; whole > 0 {
		next, more := mechanism.Next(c.m, input[:whole], output[:whole])
		c.m, c.spent = next, !more
	}
	output = output[c.offset:]
	c.offset = len(input) % block
	return output, nil
}

// rest returns how many bytes Final gives, exactly or at most.
func (c *chain) rest(key cryptoki.Attributes) (n int, exact bool) {
	switch c.m.Type {
	case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CTR:
		return 0, true
	case cryptoki.CKM_AES_CBC_PAD:
		return block, c.use == cryptoki.CKF_ENCRYPT
	}
	return mechanism.OutputSize(c.m, c.use, key, len(c.pending))
}

// final ends the message.
func (c *chain) final(do process) ([]byte, error) {
	switch c.m.Type {
	case cryptoki.CKM_AES_CTR:
		return []byte{}, nil
	case cryptoki.CKM_AES_ECB, cryptoki.CKM_AES_CBC:
		if len(c.pending) > 0 {
			return nil, c.lengthError()
		}
		return []byte{}, nil
	case cryptoki.CKM_AES_CBC_PAD:
		if c.use == cryptoki.CKF_DECRYPT && len(c.pending) != block {
			return nil, c.lengthError()
		}
	}
	return do(c.m, c.pending, false)
}

// lengthError says that the message has an impossible length.
func (c *chain) lengthError() error {
	if c.use == cryptoki.CKF_DECRYPT {
		return cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE
	}
	return cryptoki.CKR_DATA_LEN_RANGE
}
