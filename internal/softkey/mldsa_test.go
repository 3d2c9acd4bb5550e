package softkey

import (
	"bytes"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

func mldsaKey(t *testing.T, set *parameterset.Set) (cryptoki.Attributes, *Key) {
	t.Helper()
	attributes := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_ML_DSA),
		cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, set.Parameter), cryptoki.Bytes(cryptoki.CKA_SEED, bytes.Repeat([]byte{7}, 32)),
	}
	key, err := FromAttributes(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return attributes, key
}

// TestMLDSA: a key from its seed, its public half alone, and its PKCS#8 form.
func TestMLDSA(t *testing.T) {
	for _, set := range parameterset.All() {
		t.Run(set.Name, func(t *testing.T) {
			_, key := mldsaKey(t, set)
			public := append(key.PublicAttributes(), cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PUBLIC_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_ML_DSA))
			verifier, err := FromAttributes(public)
			if err != nil {
				t.Fatal(err)
			}
			m := cryptoki.Mechanism{Type: cryptoki.CKM_ML_DSA, Params: cryptoki.SignContextParams{Hedge: cryptoki.CKH_DETERMINISTIC_REQUIRED, Context: []byte("c")}}
			signature, err := key.Sign(m, []byte("message"))
			if err != nil || len(signature) != set.Signature {
				t.Fatalf("%d bytes: %v", len(signature), err)
			}
			if err := verifier.Verify(m, []byte("message"), signature); err != nil {
				t.Error(err)
			}
			if err := verifier.Verify(m, []byte("another"), signature); !fault.Is(err, fault.SignatureInvalid) {
				t.Error(err)
			}
			der, err := key.PKCS8()
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := ParsePKCS8(der)
			if err != nil {
				t.Fatal(err)
			}
			open, secret, err := PrivateAttributes(parsed)
			if err != nil || !bytes.Equal(secret.Bytes(cryptoki.CKA_SEED), bytes.Repeat([]byte{7}, 32)) || !bytes.Equal(open.Bytes(cryptoki.CKA_VALUE), public.Bytes(cryptoki.CKA_VALUE)) {
				t.Errorf("PKCS#8 holds another key: %v", err)
			}
			key.Wipe()
			if _, err := key.Sign(m, nil); err == nil {
				t.Error("a wiped key signs")
			}
		})
	}
}

// TestMLDSARefusals: attributes that do not belong together.
func TestMLDSARefusals(t *testing.T) {
	set := parameterset.All()[1]
	right, _ := mldsaKey(t, set)
	for name, wrong := range map[string]struct {
		attribute cryptoki.Attribute
		kind      fault.Kind
	}{
		"a short seed":                 {cryptoki.Bytes(cryptoki.CKA_SEED, []byte{1}), fault.AttributeValueInvalid},
		"another expanded key":         {cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, set.Private)), fault.AttributeValueInvalid},
		"another public half":          {cryptoki.Bytes(cryptoki.CKA_PUBLIC_KEY_INFO, set.PublicKeyInfo(make([]byte, set.Public))), fault.AttributeValueInvalid},
		"a parameter set of no number": {cryptoki.Ulong(cryptoki.CKA_PARAMETER_SET, uint64(9)), fault.ParameterSetNotSupported},
	} {
		attributes := right.Clone()
		attributes.Set(wrong.attribute)
		if _, err := FromAttributes(attributes); !fault.Is(err, wrong.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
