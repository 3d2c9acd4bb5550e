package mechanism

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"math"
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestIssueTwo: the mechanisms that the spine must have.
func TestIssueTwo(t *testing.T) {
	for _, m := range []cryptoki.MechanismType{
		cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_X_509, cryptoki.CKM_SHA1_RSA_PKCS,
		cryptoki.CKM_SHA224_RSA_PKCS, cryptoki.CKM_SHA256_RSA_PKCS, cryptoki.CKM_SHA384_RSA_PKCS, cryptoki.CKM_SHA512_RSA_PKCS,
		cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA1_RSA_PKCS_PSS, cryptoki.CKM_SHA224_RSA_PKCS_PSS, cryptoki.CKM_SHA256_RSA_PKCS_PSS,
		cryptoki.CKM_SHA384_RSA_PKCS_PSS, cryptoki.CKM_SHA512_RSA_PKCS_PSS, cryptoki.CKM_RSA_PKCS_OAEP,
		cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKM_ECDSA, cryptoki.CKM_ECDSA_SHA1, cryptoki.CKM_ECDSA_SHA224,
		cryptoki.CKM_ECDSA_SHA256, cryptoki.CKM_ECDSA_SHA384, cryptoki.CKM_ECDSA_SHA512, cryptoki.CKM_ECDH1_DERIVE,
		cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, cryptoki.CKM_EDDSA, cryptoki.CKM_AES_KEY_GEN, cryptoki.CKM_AES_ECB,
		cryptoki.CKM_AES_CBC, cryptoki.CKM_AES_CBC_PAD, cryptoki.CKM_AES_CTR, cryptoki.CKM_AES_GCM,
		cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.CKM_SHA_1_HMAC, cryptoki.CKM_SHA224_HMAC, cryptoki.CKM_SHA256_HMAC,
		cryptoki.CKM_SHA384_HMAC, cryptoki.CKM_SHA512_HMAC, cryptoki.CKM_SHA_1, cryptoki.CKM_SHA224, cryptoki.CKM_SHA256,
		cryptoki.CKM_SHA384, cryptoki.CKM_SHA512, cryptoki.CKM_SHA3_224, cryptoki.CKM_SHA3_256, cryptoki.CKM_SHA3_384,
		cryptoki.CKM_SHA3_512, cryptoki.CKM_MD5,
	} {
		if i, ok := Lookup(m); !ok || i.Type != m || i.Flags == 0 {
			t.Errorf("%v: %v", m, i)
		}
	}
}

// TestTableIsSound: what holds of every row.
func TestTableIsSound(t *testing.T) {
	all := All()
	if !slices.IsSortedFunc(all, func(a, b Info) int { return int(a.Type) - int(b.Type) }) {
		t.Error("not sorted")
	}
	for _, i := range all {
		base, ok := Lookup(i.Base)
		if !ok || base.Hashing() {
			t.Errorf("%v reduces to %v", i.Type, i.Base)
		}
		if i.Hashing() && (i.Hash == 0 || !slices.Equal(i.KeyTypes, base.KeyTypes) || i.Flags&^base.Flags != 0) {
			t.Errorf("%v does not fit its base", i.Type)
		}
		if i.Hash != 0 && !i.Hash.Available() {
			t.Errorf("%v: %v is not linked in", i.Type, i.Hash)
		}
		if (i.Flags&cryptoki.CKF_DIGEST != 0) != (len(i.KeyTypes) == 0) || i.MinSize > i.MaxSize || len(i.KeyTypes) > 0 && i.MinSize == 0 {
			t.Errorf("%v: %+v", i.Type, i)
		}
		if _, ok := NewHash(i.Type); ok != (i.Flags&cryptoki.CKF_DIGEST != 0) {
			t.Errorf("%v: NewHash", i.Type)
		}
	}
	all[0].Type = 99
	if All()[0].Type == 99 {
		t.Error("the table can be changed from outside")
	}
}

func TestHashOf(t *testing.T) {
	for m, want := range map[cryptoki.MechanismType]crypto.Hash{
		cryptoki.CKM_SHA256: crypto.SHA256, cryptoki.CKM_SHA256_RSA_PKCS: crypto.SHA256, cryptoki.CKM_ECDSA_SHA512: crypto.SHA512,
		cryptoki.CKM_SHA_1_HMAC_GENERAL: crypto.SHA1, cryptoki.CKM_SHA3_384_RSA_PKCS_PSS: crypto.SHA3_384,
		cryptoki.CKM_RSA_PKCS: 0, cryptoki.CKM_AES_GCM: 0, cryptoki.CKM_RSA_9796: 0,
	} {
		if got, ok := HashOf(m); got != want || ok != (want != 0) {
			t.Errorf("%v: %v %v", m, got, ok)
		}
	}
	h, _ := NewHash(cryptoki.CKM_SHA3_256)
	if got := hex.EncodeToString(h.Sum(nil)); got != "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a" {
		t.Error(got)
	}
	if _, ok := MGFHash(0); ok {
		t.Error("0 is no mask generation function")
	}
	if h, ok := MGFHash(cryptoki.CKG_MGF1_SHA3_512); !ok || h != crypto.SHA3_512 {
		t.Error(h, ok)
	}
	if _, _, ok := KDFHash(cryptoki.CKD_NULL); ok {
		t.Error("CKD_NULL has no hash")
	}
}

// TestReduce: crypto/rsa's own DigestInfo and ours give the same signature.
func TestReduce(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range All() {
		if !i.Hashing() {
			continue
		}
		digest := bytes.Repeat([]byte{5}, i.Hash.Size())
		params := cryptoki.PSSParams{SaltLength: 3}
		raw, data, err := Reduce(cryptoki.Mechanism{Type: i.Type, Params: params}, digest)
		if err != nil || raw.Type != i.Base || raw.Params != cryptoki.Params(params) {
			t.Errorf("%v: %v %v", i.Type, raw, err)
		}
		if i.Base != cryptoki.CKM_RSA_PKCS {
			if !bytes.Equal(data, digest) {
				t.Errorf("%v: %x", i.Type, data)
			}
			continue
		}
		signature, err := rsa.SignPKCS1v15(nil, key, i.Hash, digest)
		if err != nil {
			t.Fatal(i.Type, err)
		}
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, 0, data, signature); err != nil {
			t.Errorf("%v: %v", i.Type, err)
		}
		_, _, err = Reduce(cryptoki.Mechanism{Type: i.Type}, digest[1:])
		wantRV(t, i.Type.String(), err, cryptoki.CKR_DATA_LEN_RANGE)
	}
	m, data, err := Reduce(cryptoki.Mechanism{Type: cryptoki.CKM_EDDSA}, []byte("message"))
	if err != nil || m.Type != cryptoki.CKM_EDDSA || string(data) != "message" {
		t.Error(m, data, err)
	}
	_, _, err = Reduce(cryptoki.Mechanism{Type: cryptoki.CKM_RSA_9796}, nil)
	wantRV(t, "unknown", err, cryptoki.CKR_MECHANISM_INVALID)
}

func wantRV(t *testing.T, name string, err error, want cryptoki.RV) {
	t.Helper()
	if got := fault.RV(err); got != want {
		t.Errorf("%s: %v (%v), want %v", name, got, err, want)
	}
}

func TestCheckParams(t *testing.T) {
	const bad, ok = cryptoki.CKR_MECHANISM_PARAM_INVALID, cryptoki.CKR_OK
	pss := cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA256, SaltLength: 32}
	for i, test := range []struct {
		m    cryptoki.MechanismType
		use  cryptoki.Flags
		p    cryptoki.Params
		want cryptoki.RV
	}{
		{cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN, nil, ok},
		{cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN, pss, bad},
		{cryptoki.CKM_RSA_PKCS, cryptoki.CKF_DERIVE, nil, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_RSA_PKCS, 0, nil, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_RSA_9796, cryptoki.CKF_SIGN, nil, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_SHA256, cryptoki.CKF_DIGEST, nil, ok},
		{cryptoki.CKM_SHA256, cryptoki.CKF_SIGN, nil, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_AES_CBC, cryptoki.CKF_ENCRYPT, nil, bad},
		{cryptoki.CKM_AES_CBC, cryptoki.CKF_ENCRYPT, cryptoki.IVParams{IV: make([]byte, 15)}, bad},
		{cryptoki.CKM_AES_CBC_PAD, cryptoki.CKF_DECRYPT, cryptoki.IVParams{IV: make([]byte, 16)}, ok},
		{cryptoki.CKM_AES_ECB, cryptoki.CKF_DECRYPT, cryptoki.IVParams{IV: make([]byte, 16)}, bad},
		{cryptoki.CKM_AES_CTR, cryptoki.CKF_ENCRYPT, cryptoki.CTRParams{CounterBits: 1}, ok},
		{cryptoki.CKM_AES_CTR, cryptoki.CKF_ENCRYPT, cryptoki.CTRParams{CounterBits: 129}, bad},
		{cryptoki.CKM_AES_GCM, cryptoki.CKF_ENCRYPT, cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}, ok},
		{cryptoki.CKM_AES_GCM, cryptoki.CKF_ENCRYPT, cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 100}, bad},
		{cryptoki.CKM_AES_GCM, cryptoki.CKF_ENCRYPT, cryptoki.GCMParams{TagBits: 128}, bad},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, pss, ok},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_ENCRYPT, pss, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, nil, bad},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256_RSA_PKCS, MGF: 1}, bad},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, cryptoki.PSSParams{Hash: cryptoki.CKM_MD5, MGF: 1}, bad},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256}, bad},
		{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN, cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: 1, SaltLength: math.MaxUint64}, bad},
		{cryptoki.CKM_SHA256_RSA_PKCS_PSS, cryptoki.CKF_VERIFY, pss, ok},
		{cryptoki.CKM_SHA384_RSA_PKCS_PSS, cryptoki.CKF_VERIFY, pss, bad},
		{cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKF_DECRYPT, cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1}, ok},
		{cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKF_DECRYPT, cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1}, bad},
		{cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKF_SIGN, cryptoki.OAEPParams{}, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKF_DERIVE, cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: []byte{4}}, ok},
		{cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKF_DERIVE, cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, PublicData: []byte{4}, SharedData: []byte{1}}, bad},
		{cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKF_DERIVE, cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL}, bad},
		{cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKF_DERIVE, cryptoki.ECDH1Params{KDF: 99, PublicData: []byte{4}}, bad},
		{cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKF_DERIVE, cryptoki.ECDH1Params{KDF: cryptoki.CKD_SHA1_KDF, PublicData: []byte{4}, SharedData: []byte{1}}, ok},
		{cryptoki.CKM_EDDSA, cryptoki.CKF_SIGN, nil, ok},
		{cryptoki.CKM_EDDSA, cryptoki.CKF_SIGN, cryptoki.EDDSAParams{Context: make([]byte, 255)}, ok},
		{cryptoki.CKM_EDDSA, cryptoki.CKF_SIGN, cryptoki.EDDSAParams{Context: make([]byte, 256)}, bad},
		{cryptoki.CKM_SHA256_HMAC, cryptoki.CKF_SIGN, nil, ok},
		{cryptoki.CKM_SHA256_HMAC_GENERAL, cryptoki.CKF_SIGN, nil, bad},
		{cryptoki.CKM_SHA256_HMAC_GENERAL, cryptoki.CKF_SIGN, cryptoki.MACGeneralParams{Length: 32}, ok},
		{cryptoki.CKM_SHA256_HMAC_GENERAL, cryptoki.CKF_SIGN, cryptoki.MACGeneralParams{Length: 33}, bad},
		{cryptoki.CKM_SHA256_HMAC, cryptoki.CKF_SIGN, cryptoki.MACGeneralParams{Length: 8}, bad},
		{cryptoki.CKM_AES_KEY_GEN, cryptoki.CKF_GENERATE, nil, ok},
		{cryptoki.CKM_AES_KEY_GEN, cryptoki.CKF_GENERATE_KEY_PAIR, nil, cryptoki.CKR_MECHANISM_INVALID},
		{cryptoki.CKM_EC_KEY_PAIR_GEN, cryptoki.CKF_GENERATE_KEY_PAIR, nil, ok},
	} {
		if got := fault.RV(CheckParams(cryptoki.Mechanism{Type: test.m, Params: test.p}, test.use)); got != test.want {
			t.Errorf("%d %v %v: %v, want %v", i, test.m, test.p, got, test.want)
		}
	}
}

func rsaKey(class cryptoki.ObjectClass, bits int, uses ...cryptoki.AttributeType) cryptoki.Attributes {
	n := make([]byte, (bits+7)/8)
	n[0] = 1 << ((bits - 1) % 8)
	as := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, class), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA),
		cryptoki.Bytes(cryptoki.CKA_MODULUS, n),
	}
	for _, u := range uses {
		as = append(as, cryptoki.Bool(u, true))
	}
	return as
}

func secret(t cryptoki.KeyType, length uint64, uses ...cryptoki.AttributeType) cryptoki.Attributes {
	as := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, t),
		cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, length),
	}
	for _, u := range uses {
		as = append(as, cryptoki.Bool(u, true))
	}
	return as
}

func ecKey(name string, uses ...cryptoki.AttributeType) cryptoki.Attributes {
	c, _ := curve.ByName(name)
	as := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, c.KeyType),
		cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, c.Params),
	}
	for _, u := range uses {
		as = append(as, cryptoki.Bool(u, true))
	}
	return as
}

func TestCheckKey(t *testing.T) {
	private := rsaKey(cryptoki.CKO_PRIVATE_KEY, 2048, cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT)
	restricted := append(private.Clone(), cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, []cryptoki.MechanismType{cryptoki.CKM_SHA256_RSA_PKCS}))
	unknownCurve := ecKey("P-256", cryptoki.CKA_SIGN)
	unknownCurve.Set(cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, []byte{6, 5, 0x2b, 0x81, 4, 0, 0xa}))
	plain := func(t cryptoki.MechanismType) cryptoki.Mechanism { return cryptoki.Mechanism{Type: t} }
	pss := func(hash cryptoki.MechanismType, salt uint64) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: hash, MGF: 1, SaltLength: salt}}
	}
	oaep := func(hash cryptoki.MechanismType) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: hash, MGF: 1}}
	}
	for i, test := range []struct {
		m    cryptoki.Mechanism
		use  cryptoki.Flags
		key  cryptoki.Attributes
		want cryptoki.RV
	}{
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, private, cryptoki.CKR_OK},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_VERIFY, private, cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PUBLIC_KEY, 2048, cryptoki.CKA_VERIFY), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PRIVATE_KEY, 2048), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PRIVATE_KEY, 1000, cryptoki.CKA_SIGN), cryptoki.CKR_KEY_SIZE_RANGE},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PRIVATE_KEY, 8200, cryptoki.CKA_SIGN), cryptoki.CKR_KEY_SIZE_RANGE},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, secret(cryptoki.CKK_AES, 16, cryptoki.CKA_SIGN), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_CERTIFICATE, 2048, cryptoki.CKA_SIGN), cryptoki.CKR_KEY_HANDLE_INVALID},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, nil, cryptoki.CKR_KEY_HANDLE_INVALID},
		{plain(cryptoki.CKM_RSA_9796), cryptoki.CKF_SIGN, private, cryptoki.CKR_MECHANISM_INVALID},
		{plain(cryptoki.CKM_SHA256_RSA_PKCS), cryptoki.CKF_SIGN, restricted, cryptoki.CKR_OK},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, restricted, cryptoki.CKR_MECHANISM_INVALID},
		{pss(cryptoki.CKM_SHA512, 190), cryptoki.CKF_SIGN, private, cryptoki.CKR_OK},
		{pss(cryptoki.CKM_SHA512, 191), cryptoki.CKF_SIGN, private, cryptoki.CKR_MECHANISM_PARAM_INVALID},
		{pss(cryptoki.CKM_SHA256, 93), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PRIVATE_KEY, 1025, cryptoki.CKA_SIGN), cryptoki.CKR_OK},
		{pss(cryptoki.CKM_SHA256, 95), cryptoki.CKF_SIGN, rsaKey(cryptoki.CKO_PRIVATE_KEY, 1025, cryptoki.CKA_SIGN), cryptoki.CKR_MECHANISM_PARAM_INVALID},
		{oaep(cryptoki.CKM_SHA512), cryptoki.CKF_DECRYPT, private, cryptoki.CKR_OK},
		{oaep(cryptoki.CKM_SHA512), cryptoki.CKF_DECRYPT, rsaKey(cryptoki.CKO_PRIVATE_KEY, 1024, cryptoki.CKA_DECRYPT), cryptoki.CKR_KEY_SIZE_RANGE},
		{plain(cryptoki.CKM_ECDSA), cryptoki.CKF_SIGN, ecKey("P-256", cryptoki.CKA_SIGN), cryptoki.CKR_OK},
		{plain(cryptoki.CKM_ECDSA), cryptoki.CKF_SIGN, ecKey("Ed25519", cryptoki.CKA_SIGN), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{plain(cryptoki.CKM_EDDSA), cryptoki.CKF_SIGN, ecKey("Ed25519", cryptoki.CKA_SIGN), cryptoki.CKR_OK},
		{plain(cryptoki.CKM_ECDSA), cryptoki.CKF_SIGN, unknownCurve, cryptoki.CKR_KEY_SIZE_RANGE},
		{plain(cryptoki.CKM_ECDH1_DERIVE), cryptoki.CKF_DERIVE, ecKey("P-256", cryptoki.CKA_SIGN), cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED},
		{plain(cryptoki.CKM_AES_ECB), cryptoki.CKF_ENCRYPT, secret(cryptoki.CKK_AES, 32, cryptoki.CKA_ENCRYPT), cryptoki.CKR_OK},
		{plain(cryptoki.CKM_AES_ECB), cryptoki.CKF_ENCRYPT, secret(cryptoki.CKK_AES, 64, cryptoki.CKA_ENCRYPT), cryptoki.CKR_KEY_SIZE_RANGE},
		{plain(cryptoki.CKM_AES_ECB), cryptoki.CKF_ENCRYPT, secret(cryptoki.CKK_GENERIC_SECRET, 32, cryptoki.CKA_ENCRYPT), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
		{plain(cryptoki.CKM_SHA256_HMAC), cryptoki.CKF_VERIFY, secret(cryptoki.CKK_GENERIC_SECRET, 1, cryptoki.CKA_VERIFY), cryptoki.CKR_OK},
		{plain(cryptoki.CKM_SHA256_HMAC), cryptoki.CKF_VERIFY, secret(cryptoki.CKK_SHA256_HMAC, 32, cryptoki.CKA_VERIFY), cryptoki.CKR_OK},
		{plain(cryptoki.CKM_SHA256_HMAC), cryptoki.CKF_VERIFY, secret(cryptoki.CKK_SHA512_HMAC, 32, cryptoki.CKA_VERIFY), cryptoki.CKR_KEY_TYPE_INCONSISTENT},
	} {
		if got := fault.RV(CheckKey(test.m, test.use, test.key)); got != test.want {
			t.Errorf("%d %v: %v, want %v", i, test.m.Type, got, test.want)
		}
	}
}

func TestSizes(t *testing.T) {
	private := rsaKey(cryptoki.CKO_PRIVATE_KEY, 2041)
	aes := secret(cryptoki.CKK_AES, 16)
	gcm := cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{TagBits: 96}}
	oaep := cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256}}
	cut := cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC_GENERAL, Params: cryptoki.MACGeneralParams{Length: 5}}
	plain := func(t cryptoki.MechanismType) cryptoki.Mechanism { return cryptoki.Mechanism{Type: t} }
	for i, test := range []struct {
		m         cryptoki.Mechanism
		use       cryptoki.Flags
		key       cryptoki.Attributes
		input     int
		want      int
		exact     bool
		wantInput int
	}{
		{plain(cryptoki.CKM_SHA384), cryptoki.CKF_DIGEST, nil, 7, 48, true, math.MaxInt},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_SIGN, private, 7, 256, true, 245},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_DECRYPT, private, 256, 245, false, 256},
		{plain(cryptoki.CKM_RSA_PKCS), cryptoki.CKF_VERIFY, private, 7, 0, true, 245},
		{plain(cryptoki.CKM_RSA_X_509), cryptoki.CKF_DECRYPT, private, 256, 256, true, 256},
		{plain(cryptoki.CKM_SHA256_RSA_PKCS), cryptoki.CKF_SIGN, private, 1 << 30, 256, true, math.MaxInt},
		{oaep, cryptoki.CKF_ENCRYPT, private, 7, 256, true, 190},
		{oaep, cryptoki.CKF_DECRYPT, private, 256, 190, false, 256},
		{plain(cryptoki.CKM_ECDSA), cryptoki.CKF_SIGN, ecKey("P-521"), 32, 132, true, 1024},
		{plain(cryptoki.CKM_EDDSA), cryptoki.CKF_SIGN, ecKey("Ed25519"), 32, 64, true, MaxData},
		{plain(cryptoki.CKM_ECDH1_DERIVE), cryptoki.CKF_DERIVE, ecKey("P-384"), 0, 48, true, MaxData},
		{plain(cryptoki.CKM_AES_ECB), cryptoki.CKF_ENCRYPT, aes, 32, 32, true, MaxData},
		{plain(cryptoki.CKM_AES_CBC_PAD), cryptoki.CKF_ENCRYPT, aes, 32, 48, true, MaxData},
		{plain(cryptoki.CKM_AES_CBC_PAD), cryptoki.CKF_ENCRYPT, aes, 31, 32, true, MaxData},
		{plain(cryptoki.CKM_AES_CBC_PAD), cryptoki.CKF_DECRYPT, aes, 32, 32, false, MaxData},
		{gcm, cryptoki.CKF_ENCRYPT, aes, 5, 17, true, MaxData},
		{gcm, cryptoki.CKF_DECRYPT, aes, 17, 5, true, MaxData},
		{gcm, cryptoki.CKF_DECRYPT, aes, 3, 0, true, MaxData},
		{plain(cryptoki.CKM_SHA_1_HMAC), cryptoki.CKF_SIGN, secret(cryptoki.CKK_GENERIC_SECRET, 1), 7, 20, true, MaxData},
		{cut, cryptoki.CKF_SIGN, secret(cryptoki.CKK_GENERIC_SECRET, 1), 7, 5, true, MaxData},
		{plain(cryptoki.CKM_RSA_9796), cryptoki.CKF_SIGN, private, 7, 0, false, 0},
		{plain(cryptoki.CKM_GENERIC_SECRET_KEY_GEN), cryptoki.CKF_SIGN, private, 7, 0, false, MaxData},
	} {
		got, exact := OutputSize(test.m, test.use, test.key, test.input)
		if got != test.want || exact != test.exact {
			t.Errorf("%d %v: output %d %v, want %d %v", i, test.m.Type, got, exact, test.want, test.exact)
		}
		if got := MaxInput(test.m, test.use, test.key); got != test.wantInput {
			t.Errorf("%d %v: input %d, want %d", i, test.m.Type, got, test.wantInput)
		}
	}
}

func TestMultiPart(t *testing.T) {
	for m, want := range map[cryptoki.MechanismType]bool{
		cryptoki.CKM_RSA_PKCS: false, cryptoki.CKM_ECDSA: false, cryptoki.CKM_RSA_PKCS_OAEP: false, cryptoki.CKM_ECDH1_DERIVE: false,
		cryptoki.CKM_SHA256_RSA_PKCS: true, cryptoki.CKM_EDDSA: true, cryptoki.CKM_AES_GCM: true, cryptoki.CKM_SHA_1_HMAC: true,
		cryptoki.CKM_MD5: true, cryptoki.CKM_AES_KEY_GEN: false, cryptoki.CKM_RSA_9796: false,
	} {
		if MultiPart(m) != want {
			t.Errorf("%v: want %v", m, want)
		}
	}
}

func TestNext(t *testing.T) {
	ctr := func(bits uint64, last ...byte) cryptoki.Mechanism {
		p := cryptoki.CTRParams{CounterBits: bits, CounterBlock: [16]byte{0xaa, 0xbb}}
		copy(p.CounterBlock[16-len(last):], last)
		return cryptoki.Mechanism{Type: cryptoki.CKM_AES_CTR, Params: p}
	}
	blocks := func(n int) []byte { return make([]byte, 16*n) }
	for i, test := range []struct {
		m    cryptoki.Mechanism
		n    int
		want cryptoki.Mechanism
		more bool
	}{
		{ctr(32, 0, 0, 0, 1), 2, ctr(32, 0, 0, 0, 3), true},
		{ctr(16, 9, 0, 0xff), 1, ctr(16, 9, 1, 0), true},
		{ctr(128, 0xff), 1, ctr(128, 1, 0), true},
		{ctr(8, 7, 0xfe), 1, ctr(8, 7, 0xff), true},
		{ctr(8, 7, 0xfe), 2, ctr(8, 7, 0xfe), false}, // used up
		{ctr(8, 7, 0xfe), 3, ctr(8, 7, 0xfe), false},
		{ctr(8, 7, 0xfe), 0, ctr(8, 7, 0xfe), true},
		{cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, 3, cryptoki.Mechanism{Type: cryptoki.CKM_AES_ECB}, true},
		{cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, 1, cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS}, false},
	} {
		got, more := Next(test.m, blocks(test.n), blocks(test.n))
		if got != test.want || more != test.more {
			t.Errorf("%d: %v %v, want %v %v", i, got, more, test.want, test.more)
		}
	}
	cbc := cryptoki.Mechanism{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: blocks(1)}}
	ciphertext := append(blocks(1), bytes.Repeat([]byte{9}, 16)...)
	got, more := Next(cbc, blocks(2), ciphertext)
	if p := got.Params.(cryptoki.IVParams); !more || !bytes.Equal(p.IV, ciphertext[16:]) || bytes.Equal(cbc.Params.(cryptoki.IVParams).IV, p.IV) {
		t.Error(got, more)
	}
	ciphertext[31] = 1
	if got.Params.(cryptoki.IVParams).IV[15] != 9 {
		t.Error("the next IV shares memory with the output")
	}
	if _, more := Next(cbc, blocks(1), ciphertext[:15]); more {
		t.Error("half a block does not chain")
	}
}

func TestCounterFits(t *testing.T) {
	for _, test := range []struct {
		bits   uint64
		last   byte
		length int
		want   bool
	}{
		{2, 1, 48, true},
		{2, 1, 49, false},
		{2, 0, 64, true},
		{2, 0, 65, false},
		{2, 0xfd, 48, true},
		{8, 0xff, 16, true},
		{8, 0xff, 17, false},
		{128, 0xff, 1 << 30, true},
		{0, 0, 0, false},
		{129, 0, 0, false},
		{8, 0, -1, false},
		{8, 0xff, 0, true},
	} {
		p := cryptoki.CTRParams{CounterBits: test.bits, CounterBlock: [16]byte{15: test.last}}
		if got := CounterFits(p, test.length); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

func TestTokenTable(t *testing.T) {
	find := func(table []Entry, m cryptoki.MechanismType) Entry {
		for _, e := range table {
			if e.Type == m {
				return e
			}
		}
		return Entry{}
	}
	provider := []Entry{
		{cryptoki.CKM_RSA_PKCS, 2048, 4096, cryptoki.CKF_SIGN | cryptoki.CKF_WRAP | cryptoki.CKF_HW},
		{cryptoki.CKM_RSA_PKCS_OAEP, 2048, 4096, cryptoki.CKF_DECRYPT},
		{cryptoki.CKM_DES3_CBC, 0, 0, cryptoki.CKF_ENCRYPT},
	}
	table := TokenTable(provider)
	if e := find(table, cryptoki.CKM_RSA_PKCS); e.Flags != cryptoki.CKF_SIGN|cryptoki.CKF_HW|cryptoki.CKF_VERIFY|cryptoki.CKF_ENCRYPT || e.MaxSize != maxRSA {
		t.Errorf("%+v", e)
	}
	if e := find(table, cryptoki.CKM_SHA256_RSA_PKCS); e.Flags != cryptoki.CKF_SIGN|cryptoki.CKF_HW|cryptoki.CKF_VERIFY {
		t.Errorf("%+v", e)
	}
	// The provider cannot sign with these: the module verifies all the same.
	for _, m := range []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA1_RSA_PKCS_PSS} {
		if e := find(table, m); e.Flags != cryptoki.CKF_VERIFY {
			t.Errorf("%+v", e)
		}
	}
	if e := find(table, cryptoki.CKM_RSA_PKCS_OAEP); e.Flags != cryptoki.CKF_DECRYPT|cryptoki.CKF_ENCRYPT {
		t.Errorf("%+v", e)
	}
	if e := find(table, cryptoki.CKM_SHA3_256); e.Flags != cryptoki.CKF_DIGEST {
		t.Errorf("%+v", e)
	}
	for _, m := range []cryptoki.MechanismType{cryptoki.CKM_DES3_CBC, cryptoki.CKM_AES_CBC, cryptoki.CKM_SHA256_HMAC, cryptoki.CKM_ECDH1_DERIVE, cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN} {
		if e := find(table, m); e.Flags != 0 {
			t.Errorf("nobody can do %+v", e)
		}
	}
	if !slices.IsSortedFunc(table, func(a, b Entry) int { return int(a.Type) - int(b.Type) }) {
		t.Error("not sorted")
	}
}

func TestBits(t *testing.T) {
	for _, test := range []struct {
		key  cryptoki.Attributes
		want int
	}{
		{rsaKey(cryptoki.CKO_PUBLIC_KEY, 2047), 2047},
		{cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA), cryptoki.Ulong(cryptoki.CKA_MODULUS_BITS, uint64(3072))}, 3072},
		{cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_RSA), cryptoki.Bytes(cryptoki.CKA_MODULUS, []byte{0, 0, 1})}, 1},
		{ecKey("P-521"), 521},
		{secret(cryptoki.CKK_AES, 32), 256},
		{secret(cryptoki.CKK_AES, math.MaxUint64), 0},
		{nil, 0},
	} {
		if got := Bits(test.key); got != test.want {
			t.Errorf("%d, want %d", got, test.want)
		}
	}
}

// FuzzChecks: no mechanism, parameter or key makes the checks panic, and what they accept has a size.
func FuzzChecks(f *testing.F) {
	f.Add(uint64(cryptoki.CKM_RSA_PKCS_PSS), uint8(3), uint64(cryptoki.CKM_SHA256), uint64(32), []byte("0123456789abcdef"), 2048, 7)
	f.Add(uint64(cryptoki.CKM_RSA_PKCS_PSS), uint8(3), uint64(561), uint64(32), []byte{}, 2076, 7)     // an unknown hash, once a panic
	f.Add(uint64(cryptoki.CKM_GENERIC_SECRET_KEY_GEN), uint8(7), uint64(5), uint64(0), []byte{}, 1, 7) // a key generation, once a panic
	f.Add(uint64(cryptoki.CKM_AES_CTR), uint8(1), uint64(128), uint64(0), []byte{0xff}, 16, 1<<20)
	f.Add(uint64(cryptoki.CKM_SHA256_HMAC_GENERAL), uint8(7), uint64(5), uint64(0), []byte{}, 1, -1)
	f.Fuzz(func(t *testing.T, mechanism uint64, which uint8, x, y uint64, b []byte, size, input int) {
		counter := cryptoki.CTRParams{CounterBits: x}
		copy(counter.CounterBlock[:], b)
		m := cryptoki.Mechanism{Type: cryptoki.MechanismType(mechanism), Params: []cryptoki.Params{
			nil, counter,
			cryptoki.GCMParams{IV: b, TagBits: x},
			cryptoki.PSSParams{Hash: cryptoki.MechanismType(x), MGF: y, SaltLength: y},
			cryptoki.OAEPParams{Hash: cryptoki.MechanismType(x), MGF: y},
			cryptoki.ECDH1Params{KDF: x, PublicData: b},
			cryptoki.EDDSAParams{Context: b},
			cryptoki.MACGeneralParams{Length: x},
			cryptoki.IVParams{IV: b},
		}[which%9]}
		size = size & 0x3fff
		for _, key := range []cryptoki.Attributes{
			nil, rsaKey(cryptoki.CKO_PRIVATE_KEY, size+1, cryptoki.CKA_SIGN, cryptoki.CKA_DECRYPT), ecKey("P-256", cryptoki.CKA_SIGN, cryptoki.CKA_DERIVE),
			secret(cryptoki.CKK_AES, uint64(size), cryptoki.CKA_ENCRYPT),
			{cryptoki.Bytes(cryptoki.CKA_KEY_TYPE, b)},
		} {
			for use := range permits {
				params, fits := CheckParams(m, use), CheckKey(m, use, key)
				n, _ := OutputSize(m, use, key, input&0xffff)
				limit := MaxInput(m, use, key)
				if params == nil && fits == nil && (n < 0 || limit <= 0 || n == 0 && use == cryptoki.CKF_SIGN) {
					t.Fatalf("%v %d: output %d, input %d", m, use, n, limit)
				}
			}
		}
		if next, more := Next(m, b, b); more && CounterFits(counter, 0) && next.Type != m.Type {
			t.Fatal(next)
		}
	})
}
