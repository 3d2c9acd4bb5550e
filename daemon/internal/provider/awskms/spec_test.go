package awskms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func flag(t cryptoki.AttributeType, value bool) cryptoki.Attribute { return cryptoki.Bool(t, value) }

func list(mechanisms ...cryptoki.MechanismType) cryptoki.Attribute {
	return cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, mechanisms)
}

// TestChoose: a key has one use, which the template decides.
func TestChoose(t *testing.T) {
	const (
		sign, decrypt, agree, mac = types.KeyUsageTypeSignVerify, types.KeyUsageTypeEncryptDecrypt, types.KeyUsageTypeKeyAgreement, types.KeyUsageTypeGenerateVerifyMac
	)
	for _, tc := range []struct {
		name     string
		spec     types.KeySpec
		template cryptoki.Attributes
		want     types.KeyUsageType
	}{
		{"nothing", types.KeySpecRsa2048, nil, sign},
		{"all that RSA can", types.KeySpecRsa2048, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, true), flag(cryptoki.CKA_DECRYPT, true)}, sign},
		{"decrypt", types.KeySpecRsa4096, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, false), flag(cryptoki.CKA_DECRYPT, true)}, decrypt},
		{"unwrap", types.KeySpecRsa4096, cryptoki.Attributes{flag(cryptoki.CKA_UNWRAP, true)}, decrypt},
		{"all, but only OAEP", types.KeySpecRsa3072, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, true), flag(cryptoki.CKA_DECRYPT, true), list(cryptoki.CKM_RSA_PKCS_OAEP)}, decrypt},
		{"PSS and OAEP", types.KeySpecRsa3072, cryptoki.Attributes{list(cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKM_RSA_PKCS_PSS)}, sign},
		{"all that EC can", types.KeySpecEccNistP256, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, true), flag(cryptoki.CKA_DERIVE, true)}, sign},
		{"derive", types.KeySpecEccNistP521, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, false), flag(cryptoki.CKA_DERIVE, true)}, agree},
		{"only ECDH", types.KeySpecEccNistP521, cryptoki.Attributes{flag(cryptoki.CKA_SIGN, true), list(cryptoki.CKM_ECDH1_DERIVE)}, agree},
		{"Ed25519", types.KeySpecEccNistEdwards25519, nil, sign},
		{"HMAC", types.KeySpecHmac384, nil, mac},
	} {
		kind, _ := specNamed(tc.spec)
		if got, err := kind.choose(tc.template); err != nil || got != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
	kind, _ := specNamed(types.KeySpecRsa2048)
	if _, err := kind.choose(cryptoki.Attributes{list(cryptoki.CKM_RSA_X_509)}); !fault.Is(err, fault.TemplateInconsistent) {
		t.Errorf("only mechanisms that AWS does not do: %v", err)
	}
}

// TestGranted: the object tells what the key became.
func TestGranted(t *testing.T) {
	kind, _ := specNamed(types.KeySpecRsa2048)
	template := cryptoki.Attributes{
		flag(cryptoki.CKA_SIGN, true), flag(cryptoki.CKA_DECRYPT, true), flag(cryptoki.CKA_UNWRAP, false),
		flag(cryptoki.CKA_SENSITIVE, false), flag(cryptoki.CKA_EXTRACTABLE, true),
	}
	object := template.Clone()
	for _, a := range kind.granted(types.KeyUsageTypeSignVerify, template, true) {
		object.Set(a)
	}
	for usage, want := range map[cryptoki.AttributeType]bool{
		cryptoki.CKA_SIGN: true, cryptoki.CKA_DECRYPT: false, cryptoki.CKA_UNWRAP: false, cryptoki.CKA_SENSITIVE: true,
		cryptoki.CKA_EXTRACTABLE: false, cryptoki.CKA_ALWAYS_SENSITIVE: true, cryptoki.CKA_NEVER_EXTRACTABLE: true,
	} {
		if object.Bool(usage) != want {
			t.Errorf("%s is %t", usage, !want)
		}
	}
	allowed, _ := allowedBy(object)
	for m, want := range map[cryptoki.MechanismType]bool{
		cryptoki.CKM_RSA_PKCS: true, cryptoki.CKM_SHA256_RSA_PKCS: true, cryptoki.CKM_SHA512_RSA_PKCS_PSS: true, cryptoki.CKM_RSA_PKCS_PSS: true,
		cryptoki.CKM_SHA1_RSA_PKCS: false, cryptoki.CKM_SHA224_RSA_PKCS_PSS: false, cryptoki.CKM_SHA3_256_RSA_PKCS: false, cryptoki.CKM_RSA_PKCS_OAEP: false,
	} {
		if slices.Contains(allowed, m) != want {
			t.Errorf("%s allowed: %t", m, !want)
		}
	}
	narrow := kind.granted(types.KeyUsageTypeSignVerify, cryptoki.Attributes{list(cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_RSA_X_509)}, true)
	if allowed, _ := allowedBy(narrow); !slices.Equal(allowed, []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS}) {
		t.Errorf("the template's own list became %v", allowed)
	}
}

// FuzzParse: a reference is what encode makes, or is refused.
func FuzzParse(f *testing.F) {
	p := &Provider{region: "eu-central-1"}
	good := reference{ARN: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", Spec: types.KeySpecRsa2048, Use: types.KeyUsageTypeSignVerify}
	f.Add(good.encode())
	f.Add([]byte(`{"arn":"arn:aws:kms:us-east-1:1:key/x","spec":"RSA_2048","use":"SIGN_VERIFY"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, ref []byte) {
		r, _, err := p.parse(ref)
		if err == nil && !bytes.Equal(r.encode(), ref) {
			t.Errorf("%q was taken for %q", ref, r.encode())
		}
		if err != nil && !fault.Is(err, fault.KeyHandleInvalid) {
			t.Errorf("%q: %v", ref, err)
		}
	})
}

// FuzzPublic reads what an endpoint may send as a public key.
func FuzzPublic(f *testing.F) {
	for _, on := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(on, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	kind, _ := specNamed(types.KeySpecEccNistP256)
	f.Fuzz(func(t *testing.T, der []byte) {
		public, err := publicAttributes(der, kind)
		if err == nil && (len(public.Bytes(cryptoki.CKA_EC_POINT)) != 67 || !bytes.Equal(public.Bytes(cryptoki.CKA_EC_PARAMS), kind.on.Params)) {
			t.Errorf("%x became %v", der, public)
		}
	})
}
