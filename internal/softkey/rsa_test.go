package softkey

import (
	"bytes"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func TestRSALimits(t *testing.T) {
	p := rsa2048()
	private, public := load(t, p.private), load(t, p.public)
	pkcs, raw := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}
	large := bytes.Repeat([]byte{0xff}, 256)
	_, err := private.Sign(pkcs, large[:246])
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	if _, err = private.Sign(pkcs, large[:245]); err != nil {
		t.Error(err)
	}
	_, err = private.Sign(raw, large)
	wantRV(t, err, cryptoki.CKR_DATA_INVALID)
	_, err = private.Sign(raw, append(large, 0))
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
	_, err = private.Decrypt(raw, large)
	wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
	for _, m := range []cryptoki.Mechanism{pkcs, raw, oaepWith(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA1, nil)} {
		_, err = private.Decrypt(m, large[:255])
		wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE)
		_, err = public.Encrypt(m, append(large, 1))
		wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
		_, err = public.Decrypt(m, large)
		wantRV(t, err, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED)
	}
	_, err = public.Encrypt(raw, large)
	wantRV(t, err, cryptoki.CKR_DATA_INVALID)
	_, err = private.Sign(cryptoki.Mechanism{
		Type:   cryptoki.CKM_RSA_PKCS_PSS,
		Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 191},
	}, large[:64])
	wantRV(t, err, cryptoki.CKR_MECHANISM_PARAM_INVALID)
	_, err = private.Sign(cryptoki.Mechanism{
		Type:   cryptoki.CKM_RSA_PKCS_PSS,
		Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 190},
	}, large[:32])
	wantRV(t, err, cryptoki.CKR_DATA_LEN_RANGE)
}

func oaepWith(hash cryptoki.MechanismType, mgf uint64, label []byte) cryptoki.Mechanism {
	return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: hash, MGF: mgf, Label: label}}
}

func TestRSAEncryption(t *testing.T) {
	p := rsa2048()
	private, public := load(t, p.private), load(t, p.public)
	for _, m := range []cryptoki.Mechanism{
		{Type: cryptoki.CKM_RSA_PKCS},
		oaepWith(cryptoki.CKM_SHA_1, cryptoki.CKG_MGF1_SHA1, nil),
		oaepWith(cryptoki.CKM_SHA256, cryptoki.CKG_MGF1_SHA256, []byte("lab")),
		oaepWith(cryptoki.CKM_SHA512, cryptoki.CKG_MGF1_SHA1, nil), oaepWith(cryptoki.CKM_SHA3_256, cryptoki.CKG_MGF1_SHA3_256, nil),
	} {
		for _, plaintext := range [][]byte{nil, {0}, []byte("secret")} {
			ciphertext, err := public.Encrypt(m, plaintext)
			if err != nil {
				t.Fatal(m, err)
			}
			got, err := private.Decrypt(m, ciphertext)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("%v: %x %v", m, got, err)
			}
			ciphertext[100] ^= 1
			if _, err = private.Decrypt(m, ciphertext); err != nil {
				wantRV(t, err, cryptoki.CKR_ENCRYPTED_DATA_INVALID)
			} else if m.Type != cryptoki.CKM_RSA_PKCS {
				t.Error("damaged ciphertext was accepted")
			}
		}
	}
	// The raw operation gives the whole block, leading zeros and all.
	raw := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}
	got := must(private.Decrypt(raw, must(public.Encrypt(raw, []byte{5}))))
	if len(got) != 256 || got[255] != 5 || !bytes.Equal(got[:255], make([]byte, 255)) {
		t.Errorf("%x", got)
	}
}

func TestFaultInOneHalfIsCaught(t *testing.T) {
	k := load(t, rsa2048().private)
	k.crt.dp = bytes.Clone(k.crt.dp)
	k.crt.dp[5] ^= 1
	if signature, err := k.Sign(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_X_509}, []byte{3}); err == nil {
		t.Errorf("a wrong signature was given out: %x", signature)
	}
}
