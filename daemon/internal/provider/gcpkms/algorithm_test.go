package gcpkms_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"slices"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// rsaTemplate asks for an RSA key for some uses and mechanisms.
func rsaTemplate(bits uint64, uses []cryptoki.AttributeType, allowed ...cryptoki.MechanismType) provider.GenerateRequest {
	private := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA)}
	for _, use := range uses {
		private = append(private, cryptoki.Bool(use, true))
	}
	if len(allowed) > 0 {
		private = append(private, cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, allowed))
	}
	return provider.GenerateRequest{
		Identity: identity(), Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN}, Private: private,
		Public: cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, bits), cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})},
	}
}

var (
	forBoth    = []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT, cryptoki.CKA_UNWRAP}
	forSigning = []cryptoki.AttributeType{cryptoki.CKA_SIGN}
	forSecrets = []cryptoki.AttributeType{cryptoki.CKA_DECRYPT}
)

// TestChoice: what a template says decides the algorithm, and the key says what it became.
func TestChoice(t *testing.T) {
	fake, c := service(t)
	plain := open(t, c)
	c.RSASigning = gcpkms.SignPSS
	pss := open(t, c)
	for _, tc := range []struct {
		name     string
		provider *gcpkms.Provider
		request  provider.GenerateRequest
		want     string
		allowed  []cryptoki.MechanismType
		denied   []cryptoki.MechanismType
	}{
		{
			"as most send it", plain, rsaTemplate(2048, forBoth), "RSA_SIGN_RAW_PKCS1_2048",
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA1_RSA_PKCS, cryptoki.CKM_SHA256_RSA_PKCS, cryptoki.CKM_SHA512_RSA_PKCS},
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_RSA_X_509},
		},
		{
			"as most send it, configured for PSS", pss, rsaTemplate(2048, forBoth), "RSA_SIGN_PSS_2048_SHA256",
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256_RSA_PKCS_PSS},
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA384_RSA_PKCS_PSS},
		},
		{"configured for PSS, decrypting", pss, rsaTemplate(2048, forSecrets), "RSA_DECRYPT_OAEP_2048_SHA256", []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_OAEP}, nil},
		{"configured for PSS, asked for another", pss, rsaTemplate(2048, forSigning, cryptoki.CKM_RSA_PKCS), "RSA_SIGN_RAW_PKCS1_2048", []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS}, nil},
		{
			"raw", plain, rsaTemplate(3072, forSigning, cryptoki.CKM_RSA_PKCS), "RSA_SIGN_RAW_PKCS1_3072",
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS},
			[]cryptoki.MechanismType{cryptoki.CKM_SHA256_RSA_PKCS},
		},
		{
			"one hash", plain, rsaTemplate(2048, forSigning, cryptoki.CKM_SHA256_RSA_PKCS), "RSA_SIGN_PKCS1_2048_SHA256",
			[]cryptoki.MechanismType{cryptoki.CKM_SHA256_RSA_PKCS},
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS},
		},
		{
			"two hashes", plain, rsaTemplate(2048, forSigning, cryptoki.CKM_SHA256_RSA_PKCS, cryptoki.CKM_SHA384_RSA_PKCS), "RSA_SIGN_RAW_PKCS1_2048",
			[]cryptoki.MechanismType{cryptoki.CKM_SHA256_RSA_PKCS, cryptoki.CKM_SHA384_RSA_PKCS},
			[]cryptoki.MechanismType{cryptoki.CKM_SHA512_RSA_PKCS},
		},
		{
			"the mechanism and a hash", plain, rsaTemplate(2048, forSigning, cryptoki.CKM_RSA_PKCS, cryptoki.CKM_SHA256), "RSA_SIGN_PKCS1_2048_SHA256",
			[]cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS},
			nil,
		},
		{"PSS", plain, rsaTemplate(2048, forBoth, cryptoki.CKM_RSA_PKCS_PSS), "RSA_SIGN_PSS_2048_SHA256", []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS}, nil},
		{"PSS with SHA-512", plain, rsaTemplate(4096, forSigning, cryptoki.CKM_SHA512_RSA_PKCS_PSS), "RSA_SIGN_PSS_4096_SHA512", nil, nil},
		{"OAEP with SHA-1", plain, rsaTemplate(2048, forBoth, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_SHA_1), "RSA_DECRYPT_OAEP_2048_SHA1", nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			generated, err := tc.provider.Generate(t.Context(), tc.request)
			if err != nil {
				t.Fatal(err)
			}
			version, err := fake.GetCryptoKeyVersion(t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: string(generated.Ref)})
			if err != nil || version.GetAlgorithm().String() != tc.want {
				t.Errorf("the key became %s, %v", version.GetAlgorithm(), err)
			}
			list, _ := generated.Private.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
			for _, m := range tc.allowed {
				if !slices.Contains(list, uint64(m)) {
					t.Errorf("%s is not allowed", m)
				}
			}
			for _, m := range tc.denied {
				if slices.Contains(list, uint64(m)) {
					t.Errorf("%s is allowed", m)
				}
			}
			for _, use := range forBoth {
				if tc.request.Private.Bool(use) && generated.Private.Has(use) == strings.Contains(tc.want, map[cryptoki.AttributeType]string{
					cryptoki.CKA_SIGN: "SIGN", cryptoki.CKA_DECRYPT: "DECRYPT", cryptoki.CKA_UNWRAP: "UNWRAP",
				}[use]) {
					t.Errorf("%s is %t", use, generated.Private.Bool(use))
				}
			}
		})
	}
	for name, request := range map[string]provider.GenerateRequest{
		"no use":                  rsaTemplate(2048, nil),
		"PSS with SHA-384":        rsaTemplate(2048, forSigning, cryptoki.CKM_SHA384_RSA_PKCS_PSS),
		"SHA-512 on a small key":  rsaTemplate(2048, forSigning, cryptoki.CKM_SHA512_RSA_PKCS_PSS),
		"a mechanism of others":   rsaTemplate(2048, forSigning, cryptoki.CKM_RSA_X_509),
		"to sign by OAEP":         rsaTemplate(2048, forSigning, cryptoki.CKM_RSA_PKCS_OAEP),
		"a hash that no key does": rsaTemplate(2048, forSecrets, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_SHA384),
	} {
		before := fake.Calls("CreateCryptoKey")
		_, err := plain.Generate(t.Context(), request)
		wants(t, err, fault.TemplateInconsistent)
		if fake.Calls("CreateCryptoKey") != before {
			t.Errorf("%s: a call was made", name)
		}
	}
	request := rsaTemplate(2048, forSigning)
	request.Public.Set(cryptoki.Bytes(cryptoki.CKA_PUBLIC_EXPONENT, []byte{3}))
	_, err := plain.Generate(t.Context(), request)
	wants(t, err, fault.AttributeValueInvalid, "65537")
}

// TestOneHash: keys of one hash do that, and refuse the others without a call.
func TestOneHash(t *testing.T) {
	fake, c := service(t)
	p := open(t, c)
	start := func(request provider.GenerateRequest) (provider.Key, *rsa.PublicKey) {
		generated, err := p.Generate(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		k, err := p.Key(t.Context(), provider.Reference{Identity: request.Identity, Ref: generated.Ref, Attributes: request.Private})
		if err != nil {
			t.Fatal(err)
		}
		return k, &rsa.PublicKey{N: new(big.Int).SetBytes(generated.Public.Bytes(cryptoki.CKA_MODULUS)), E: 65537}
	}
	digestInfo := func(h crypto.Hash) ([]byte, []byte) {
		digest := make([]byte, h.Size())
		info, err := mechanism.DigestInfo(h, digest)
		if err != nil {
			t.Fatal(err)
		}
		return info, digest
	}
	for name, tc := range map[string]struct {
		request     provider.GenerateRequest
		hash, other crypto.Hash
	}{
		"PKCS1 SHA-256": {rsaTemplate(2048, forSigning, cryptoki.CKM_SHA256_RSA_PKCS), crypto.SHA256, crypto.SHA512},
		"PKCS1 SHA-512": {rsaTemplate(4096, forSigning, cryptoki.CKM_SHA512_RSA_PKCS), crypto.SHA512, crypto.SHA256},
	} {
		t.Run(name, func(t *testing.T) {
			k, public := start(tc.request)
			info, digest := digestInfo(tc.hash)
			made, err := k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, info)
			if err != nil || rsa.VerifyPKCS1v15(public, tc.hash, digest, made) != nil {
				t.Fatalf("%x, %v", made, err)
			}
			before := fake.Calls(method)
			info, _ = digestInfo(tc.other)
			_, err = k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, info)
			wants(t, err, fault.DataInvalid, "RSA_SIGN_RAW_PKCS1")
			_, err = k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, []byte("no DigestInfo"))
			wants(t, err, fault.DataInvalid)
			_, err = k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{
				Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32,
			}}, make([]byte, 32))
			wants(t, err, fault.MechanismInvalid, "CKA_ALLOWED_MECHANISMS")
			if fake.Calls(method) != before {
				t.Error("a call was made for nothing")
			}
		})
	}
	t.Run("PSS SHA-512", func(t *testing.T) {
		k, public := start(rsaTemplate(4096, forSigning, cryptoki.CKM_SHA512_RSA_PKCS_PSS))
		digest := make([]byte, 64)
		made, err := k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{
			Hash: cryptoki.CKM_SHA512, MGF: cryptoki.CKG_MGF1_SHA512, SaltLength: 64,
		}}, digest)
		if err != nil || rsa.VerifyPSS(public, crypto.SHA512, digest, made, nil) != nil {
			t.Fatalf("%x, %v", made, err)
		}
		_, err = k.(provider.Signer).Sign(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{
			Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32,
		}}, digest[:32])
		wants(t, err, fault.MechanismParamInvalid)
	})
	t.Run("OAEP SHA-1", func(t *testing.T) {
		k, public := start(rsaTemplate(2048, forSecrets, cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_SHA_1))
		ciphertext, err := rsa.EncryptOAEP(crypto.SHA1.New(), rand.Reader, public, []byte("sesame"), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.(provider.Decrypter).Decrypt(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{
			Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1,
		}}, ciphertext)
		if err != nil || !bytes.Equal(got, []byte("sesame")) {
			t.Errorf("%q, %v", got, err)
		}
		_, err = k.(provider.Decrypter).Decrypt(t.Context(), cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{
			Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256,
		}}, ciphertext)
		wants(t, err, fault.MechanismParamInvalid)
	})
}

// TestHSM: the protection level is the keys', and its limits are smaller.
func TestHSM(t *testing.T) {
	fake, c := service(t)
	c.ProtectionLevel = "HSM"
	p := open(t, c)
	k, version := made(t, p)
	meta, err := fake.GetCryptoKeyVersion(t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: version})
	if err != nil || meta.GetProtectionLevel() != kmspb.ProtectionLevel_HSM || !p.Capabilities().Hardware || p.Capabilities().MaxData != 8192 {
		t.Errorf("%v, %v", meta, err)
	}
	if err := sign(t.Context(), k); err != nil {
		t.Error(err)
	}
	secret := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_AES),
		cryptoki.Bool(cryptoki.CKA_ENCRYPT, true), cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 16)),
	}
	id := identity()
	generated, err := p.Import(t.Context(), id, secret)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p.Key(t.Context(), provider.Reference{Identity: id, Ref: generated.Ref, Attributes: secret})
	if err != nil {
		t.Fatal(err)
	}
	// 20,000 bytes are three calls with this limit, chained.
	m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC_PAD, Params: cryptoki.IVParams{IV: make([]byte, 16)}}
	message := bytes.Repeat([]byte{7}, 20_000)
	ciphertext, err := key.(provider.Encrypter).Encrypt(t.Context(), m, message)
	if err != nil || fake.Calls("RawEncrypt") != 3 {
		t.Fatalf("%d calls: %v", fake.Calls("RawEncrypt"), err)
	}
	if got, err := key.(provider.Decrypter).Decrypt(t.Context(), m, ciphertext); err != nil || !bytes.Equal(got, message) {
		t.Error(err)
	}
}
