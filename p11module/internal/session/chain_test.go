package session

import (
	"bytes"
	"crypto/aes"
	gocipher "crypto/cipher"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

var chained = []cryptoki.Mechanism{
	{Type: cryptoki.CKM_AES_ECB},
	{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: []byte("0123456789abcdef")}},
	{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: []byte("0123456789abcdef")}},
	{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 128, CounterBlock: [16]byte{0: 1, 14: 255, 15: 254}}},
	{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: []byte("0123456789ab"), TagBits: 128}},
}

var aesValue = []byte("an AES key's val")

// request performs one self-contained request, as a daemon does.
func request(t *testing.T, encrypt bool) process {
	key, err := softkey.FromAttributes(cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
		cryptoki.Bytes(cryptoki.CKA_VALUE, aesValue),
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(m cryptoki.Mechanism, data []byte, more bool) ([]byte, error) {
		if more && (len(data)%block != 0 || len(data) == 0) {
			t.Errorf("%d bytes in a part that goes on", len(data))
		}
		if more && m.Type == cryptoki.CKM_AES_CBC_PAD {
			m.Type = cryptoki.CKM_AES_CBC
		}
		if encrypt {
			return key.Encrypt(m, data)
		}
		return key.Decrypt(m, data)
	}
}

// inParts runs a message through a chain; cuts says how long the parts are.
func inParts(t *testing.T, c *chain, data, cuts []byte, do process) ([]byte, error) {
	var all []byte
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if i < len(cuts) {
			n = min(n, int(cuts[i]))
		}
		ready := c.ready(n)
		out, err := c.update(data[:n], do)
		if err != nil {
			return nil, err
		}
		if len(out) != ready {
			t.Fatalf("%d bytes came, %d were announced", len(out), ready)
		}
		all = append(all, out...)
		data = data[n:]
	}
	most, exact := c.rest(nil)
	out, err := c.final(do)
	if err == nil && !c.gathers() && (len(out) > most || exact && len(out) != most) {
		t.Fatalf("%d bytes at the end, %d were announced (exactly: %v)", len(out), most, exact)
	}
	return append(all, out...), err
}

// FuzzChain: whatever the parts, they give what one request gives.
func FuzzChain(f *testing.F) {
	for i := range chained {
		f.Add(byte(i), []byte("a message of more than one block, and then some"), []byte{1, 15, 16, 0, 3})
		f.Add(byte(i), []byte("exactly 16 bytes"), []byte{16})
		f.Add(byte(i), []byte("two blocks of 16 bytes as it is!"), []byte{16, 16})
		f.Add(byte(i), []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, mode byte, plain, cuts []byte) {
		m := chained[int(mode)%len(chained)]
		if m.Type == cryptoki.CKM_AES_ECB || m.Type == cryptoki.CKM_AES_CBC {
			plain = plain[:len(plain)/block*block]
		}
		encrypt, decrypt := request(t, true), request(t, false)
		whole, err := encrypt(m, plain, false)
		if err != nil {
			t.Fatal(err)
		}
		parts, err := inParts(t, &chain{m: m, use: cryptoki.CKF_ENCRYPT, limit: 1 << 20}, plain, cuts, encrypt)
		if err != nil || !bytes.Equal(parts, whole) {
			t.Fatalf("in parts %x, %v; whole %x", parts, err, whole)
		}
		back, err := inParts(t, &chain{m: m, use: cryptoki.CKF_DECRYPT, limit: 1 << 20}, whole, cuts, decrypt)
		if err != nil || !bytes.Equal(back, plain) {
			t.Fatalf("back %x, %v; want %x", back, err, plain)
		}
	})
}

// TestChainAgainstGo compares a counter that overflows into the next byte with crypto/cipher.
func TestChainAgainstGo(t *testing.T) {
	m := chained[3]
	counter := m.Params.(cryptoki.CTRParams).CounterBlock
	b, err := aes.NewCipher(aesValue)
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte("0123456"), 20)
	independent := make([]byte, len(plain))
	gocipher.NewCTR(b, counter[:]).XORKeyStream(independent, plain)
	got, err := inParts(t, &chain{m: m, use: cryptoki.CKF_ENCRYPT, limit: 1000}, plain, []byte{5, 11, 16, 17, 1, 40}, request(t, true))
	if err != nil || !bytes.Equal(got, independent) {
		t.Errorf("%x, %v; want %x", got, err, independent)
	}
}

func TestChainLengths(t *testing.T) {
	none := func(cryptoki.Mechanism, []byte, bool) ([]byte, error) {
		t.Error("a request was made for a message of an impossible length")
		return nil, nil
	}
	for _, m := range chained[:3] {
		for use, rv := range map[cryptoki.Flags]cryptoki.RV{
			cryptoki.CKF_ENCRYPT: cryptoki.CKR_DATA_LEN_RANGE, cryptoki.CKF_DECRYPT: cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE,
		} {
			if m.Type == cryptoki.CKM_AES_CBC_PAD && use == cryptoki.CKF_ENCRYPT {
				continue
			}
			c := &chain{m: m, use: use, limit: 100}
			if _, err := c.update([]byte("five!"), none); err != nil {
				t.Fatal(err)
			}
			if _, err := c.final(none); err != rv {
				t.Errorf("%v: %v, want %v", m.Type, err, rv)
			}
		}
	}
	c := &chain{m: chained[4], use: cryptoki.CKF_ENCRYPT, limit: 100}
	if _, err := c.update(make([]byte, 100), none); err != nil {
		t.Fatal(err)
	}
	if _, err := c.update(make([]byte, 1), none); err != cryptoki.CKR_DATA_LEN_RANGE {
		t.Errorf("above the limit: %v", err)
	}
}
