//go:build cgo && !no_openssl

package software

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/softkey"
)

// TestOpenSSL compares a key whose operations OpenSSL does with the same key in Go: each must take what the other makes.
func TestOpenSSL(t *testing.T) {
	if !strings.HasPrefix(Arithmetic(), "OpenSSL 3") {
		t.Fatalf("RSA is done by %s; install libssl3", Arithmetic())
	}
	for _, bits := range []int{1024, 2048, 2049, 3072} {
		generated, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		byGo, byOpenSSL := parse(t, generated), parse(t, generated)
		if err := byOpenSSL.DoRSA(doRSA); err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(bits), func(t *testing.T) { compare(t, generated, byGo, byOpenSSL) })
	}
}

// TestOpenSSLSigns: Go verifies what OpenSSL signs with the same key, for digests of all lengths, and other curves stay Go's.
func TestOpenSSLSigns(t *testing.T) {
	m := cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		generated, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		asked := false
		byGo, byOpenSSL := parse(t, generated), parse(t, generated)
		if err := byOpenSSL.DoECDSA(func(k *ecdsa.PrivateKey) (softkey.ECDSA, error) {
			by, err := doECDSA(k)
			asked = by != nil
			return by, err
		}); err != nil {
			t.Fatal(err)
		}
		if asked != (c == elliptic.P256()) {
			t.Errorf("OpenSSL signs on %s: %v", c.Params().Name, asked)
		}
		for length := range 65 {
			// Often enough for numbers that begin with zeros.
			for range 16 {
				digest := make([]byte, length)
				_, _ = rand.Read(digest)
				signature, err := byOpenSSL.Sign(m, digest)
				if err != nil || len(signature) != 2*((c.Params().BitSize+7)/8) {
					t.Fatalf("%s, %d bytes: %d bytes, %v", c.Params().Name, length, len(signature), err)
				}
				if err := byGo.Verify(m, digest, signature); err != nil {
					t.Fatalf("%s: Go refuses OpenSSL's signature of %d bytes: %v", c.Params().Name, length, err)
				}
			}
		}
		byOpenSSL.Wipe()
	}
}

func parse(t *testing.T, generated any) *softkey.Key {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(generated)
	if err != nil {
		t.Fatal(err)
	}
	read, err := x509.ParsePKCS8PrivateKey(encoded)
	if err != nil {
		t.Fatal(err)
	}
	open, secret, err := softkey.PrivateAttributes(read)
	if err != nil {
		t.Fatal(err)
	}
	k, err := softkey.FromAttributes(append(append(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY)}, open...), secret...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func compare(t *testing.T, generated *rsa.PrivateKey, byGo, byOpenSSL *softkey.Key) {
	digest := bytes.Repeat([]byte{7}, 32)
	pss := func(hash cryptoki.MechanismType, mgf uint64, salt uint64) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: hash, MGF: mgf, SaltLength: salt}}
	}
	oaep := func(hash cryptoki.MechanismType, mgf uint64, label string) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: hash, MGF: mgf, Label: []byte(label)}}
	}
	for name, test := range map[string]struct {
		m    cryptoki.Mechanism
		data []byte
		same bool // the signature holds nothing random
	}{
		"PKCS #1 v1.5":           {cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, digest, true},
		"PKCS #1 v1.5, nothing":  {cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, nil, true},
		"PKCS #1 v1.5, longest":  {cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, make([]byte, generated.Size()-11), true},
		"raw":                    {cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, digest, true},
		"PSS":                    {pss(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, 32), digest, false},
		"PSS without salt":       {pss(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, 0), digest, true},
		"PSS with another mask":  {pss(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA1, 20), digest, false},
		"SHA-384 then PSS's own": {pss(cryptoki.CKM_SHA384, cryptoki.CKG_MGF1_SHA384, 48), make([]byte, 48), false},
	} {
		signature, err := byOpenSSL.Sign(test.m, test.data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := byGo.Verify(test.m, test.data, signature); err != nil {
			t.Errorf("%s: Go refuses OpenSSL's signature: %v", name, err)
		}
		expected, err := byGo.Sign(test.m, test.data)
		if err != nil {
			t.Fatal(err)
		}
		if test.same != bytes.Equal(signature, expected) {
			t.Errorf("%s: the signatures of Go and OpenSSL are the same: %v, wanted %v", name, !test.same, test.same)
		}
	}
	for name, m := range map[string]cryptoki.Mechanism{
		"PKCS #1 v1.5": {Type: cryptoki.CKM_RSA_PKCS}, "raw": {Type: cryptoki.CKM_RSA_X_509},
		"OAEP": oaep(cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1, ""), "OAEP with a label": oaep(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, "abc"),
		"OAEP with another mask": oaep(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA1, ""),
	} {
		ciphertext, err := byGo.Encrypt(m, digest)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plaintext, err := byOpenSSL.Decrypt(m, ciphertext)
		if err != nil || !bytes.Equal(bytes.TrimLeft(plaintext, "\x00"), digest) {
			t.Errorf("%s: %x, %v", name, plaintext, err)
		}
		if m.Type == cryptoki.CKM_RSA_X_509 {
			continue
		}
		ciphertext[len(ciphertext)-1] ^= 1
		if _, err := byOpenSSL.Decrypt(m, ciphertext); fault.RV(err) != cryptoki.CKR_ENCRYPTED_DATA_INVALID {
			t.Errorf("%s: a changed ciphertext gives %v", name, err)
		}
	}
	large := bytes.Repeat([]byte{0xff}, generated.Size())
	if _, err := byOpenSSL.Sign(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, large); fault.RV(err) != cryptoki.CKR_DATA_INVALID {
		t.Errorf("data greater than the modulus gives %v", err)
	}
}
