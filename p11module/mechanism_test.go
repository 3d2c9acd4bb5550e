package main

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// ckMechanism is CK_MECHANISM.
type ckMechanism struct {
	kind   cryptoki.MechanismType
	value  unsafe.Pointer
	length uint64
}

func mechanismOf[P ~*M, M any](read func(P) (cryptoki.Mechanism, error), m *ckMechanism) (cryptoki.Mechanism, error) {
	defer runtime.KeepAlive(m)
	return read(P((*M)(unsafe.Pointer(m))))
}

// The parameters' layouts, as an application's compiler has them.
type (
	ckPSS       struct{ hash, mgf, salt uint64 }
	ckEmptyOAEP [5]uint64 // hash, MGF, source, data, length
	ckCTR       struct {
		bits  uint64
		block [16]byte
	}
	ckEDDSA struct {
		prehash byte
		length  uint64
		context unsafe.Pointer
	}
	ckECDH struct {
		kdf, sharedLength uint64
		shared            unsafe.Pointer
		publicLength      uint64
		public            unsafe.Pointer
	}
	ckGCM struct {
		iv               unsafe.Pointer
		ivLength, ivBits uint64
		aad              unsafe.Pointer
		aadLength, tag   uint64
	}
	ckOldGCM struct {
		iv             unsafe.Pointer
		ivLength       uint64
		aad            unsafe.Pointer
		aadLength, tag uint64
	}
)

func with[T any](kind cryptoki.MechanismType, parameter T) *ckMechanism {
	return &ckMechanism{kind, unsafe.Pointer(&parameter), uint64(unsafe.Sizeof(parameter))}
}

// labelled is an OAEP parameter with its label, which has a pointer in the place of data.
func labelled(source uint64, label []byte) *ckMechanism {
	type oaep struct {
		hash, mgf, source uint64
		data              unsafe.Pointer
		length            uint64
	}
	return with(cryptoki.CKM_RSA_PKCS_OAEP, oaep{uint64(cryptoki.CKM_SHA256), 2, source, at(label), uint64(len(label))})
}

func TestMechanism(t *testing.T) {
	iv, aad, point := []byte("123456789012"), []byte("more"), []byte{4, 1, 2, 3}
	block := [16]byte{1, 2, 3}
	var counter cryptoki.CTRParams
	counter.CounterBits, counter.CounterBlock = 32, block
	for name, test := range map[string]struct {
		in   *ckMechanism
		want cryptoki.Params
	}{
		"none":      {&ckMechanism{kind: cryptoki.CKM_ECDSA}, nil},
		"unknown":   {&ckMechanism{cryptoki.CKM_VENDOR_DEFINED, at([]byte{1}), 1}, nil},
		"IV":        {with(cryptoki.CKM_AES_CBC, block), cryptoki.IVParams{IV: block[:]}},
		"padded IV": {with(cryptoki.CKM_AES_CBC_PAD, block), cryptoki.IVParams{IV: block[:]}},
		"CTR":       {with(cryptoki.CKM_AES_CTR, ckCTR{32, block}), counter},
		"GCM": {
			with(cryptoki.CKM_AES_GCM, ckGCM{at(iv), 12, 96, at(aad), 4, 128}),
			cryptoki.GCMParams{IV: iv, AAD: aad, TagBits: 128},
		},
		"old GCM": {
			with(cryptoki.CKM_AES_GCM, ckOldGCM{at(iv), 12, at(aad), 4, 96}),
			cryptoki.GCMParams{IV: iv, AAD: aad, TagBits: 96},
		},
		"PSS": {
			with(cryptoki.CKM_SHA256_RSA_PKCS_PSS, ckPSS{uint64(cryptoki.CKM_SHA256), 2, 32}),
			cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: 2, SaltLength: 32},
		},
		"OAEP": {labelled(cryptoki.CKZ_DATA_SPECIFIED, aad), cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA256, MGF: 2, Label: aad}},
		"OAEP of pkcs11-tool": {
			with(cryptoki.CKM_RSA_PKCS_OAEP, ckEmptyOAEP{uint64(cryptoki.CKM_SHA_1), 1}),
			cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: 1},
		},
		"ECDH": {
			with(cryptoki.CKM_ECDH1_DERIVE, ckECDH{1, 4, at(aad), 4, at(point)}),
			cryptoki.ECDH1Params{KDF: 1, SharedData: aad, PublicData: point},
		},
		"EdDSA":              {&ckMechanism{kind: cryptoki.CKM_EDDSA}, nil},
		"EdDSA with context": {with(cryptoki.CKM_EDDSA, ckEDDSA{1, 4, at(aad)}), cryptoki.EDDSAParams{Prehash: true, Context: aad}},
		"MAC length":         {with(cryptoki.CKM_SHA256_HMAC_GENERAL, uint64(16)), cryptoki.MACGeneralParams{Length: 16}},
	} {
		got, err := mechanismOf(readMechanism, test.in)
		if err != nil || got.Type != test.in.kind || !reflect.DeepEqual(got.Params, test.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
}

func TestBadMechanisms(t *testing.T) {
	iv := []byte("123456789012")
	for name, test := range map[string]struct {
		in   *ckMechanism
		want error
	}{
		"NULL with length":    {&ckMechanism{cryptoki.CKM_AES_CBC, nil, 16}, cryptoki.CKR_ARGUMENTS_BAD},
		"absurd length":       {&ckMechanism{cryptoki.CKM_AES_CBC, at(iv), 1 << 40}, cryptoki.CKR_ARGUMENTS_BAD},
		"no IV":               {&ckMechanism{kind: cryptoki.CKM_AES_CBC}, errParameter},
		"short IV":            {&ckMechanism{cryptoki.CKM_AES_CBC, at(iv), 12}, errParameter},
		"no CTR":              {&ckMechanism{kind: cryptoki.CKM_AES_CTR}, errParameter},
		"GCM of another size": {&ckMechanism{cryptoki.CKM_AES_GCM, at(make([]byte, 44)), 44}, errParameter},
		"GCM without IV":      {with(cryptoki.CKM_AES_GCM, ckGCM{ivLength: 12, tag: 128}), errParameter},
		"GCM with a huge AAD": {with(cryptoki.CKM_AES_GCM, ckGCM{at(iv), 12, 96, at(iv), 1 << 40, 128}), errParameter},
		"no PSS":              {&ckMechanism{kind: cryptoki.CKM_RSA_PKCS_PSS}, errParameter},
		"short PSS":           {&ckMechanism{cryptoki.CKM_RSA_PKCS_PSS, at(make([]byte, 16)), 16}, errParameter},
		"OAEP source":         {labelled(2, iv), errParameter},
		"no ECDH":             {&ckMechanism{kind: cryptoki.CKM_ECDH1_DERIVE}, errParameter},
		"ECDH without point":  {with(cryptoki.CKM_ECDH1_DERIVE, ckECDH{kdf: 1, publicLength: 65}), errParameter},
		"short EdDSA":         {&ckMechanism{cryptoki.CKM_EDDSA, at(make([]byte, 8)), 8}, errParameter},
		"MAC length":          {&ckMechanism{cryptoki.CKM_SHA256_HMAC_GENERAL, at(make([]byte, 4)), 4}, errParameter},
		"where none belongs":  {&ckMechanism{cryptoki.CKM_ECDSA, at(iv), 12}, errParameter},
	} {
		if got, err := mechanismOf(readMechanism, test.in); !errors.Is(err, test.want) {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, test.want)
		}
	}
}

// TestMechanismCopies: what a session keeps must not change with the application's memory.
func TestMechanismCopies(t *testing.T) {
	iv := []byte("0123456789abcdef")
	m := &ckMechanism{cryptoki.CKM_AES_CBC, at(iv), 16}
	got, err := mechanismOf(readMechanism, m)
	if err != nil {
		t.Fatal(err)
	}
	iv[0] = 'x'
	if params := got.Params.(cryptoki.IVParams); !bytes.Equal(params.IV, []byte("0123456789abcdef")) {
		t.Errorf("the IV became %q", params.IV)
	}
}

// FuzzMechanism: any type with any lengths reads or fails, and never reaches past what it was given.
func FuzzMechanism(f *testing.F) {
	f.Add(uint64(cryptoki.CKM_AES_CBC), []byte("0123456789abcdef"))
	f.Add(uint64(cryptoki.CKM_RSA_PKCS_PSS), make([]byte, 24))
	f.Add(uint64(cryptoki.CKM_AES_CTR), make([]byte, 24))
	f.Add(uint64(cryptoki.CKM_SHA256_HMAC_GENERAL), make([]byte, 8))
	pointers := map[cryptoki.MechanismType]bool{
		cryptoki.CKM_AES_GCM: true, cryptoki.CKM_RSA_PKCS_OAEP: true, cryptoki.CKM_ECDH1_DERIVE: true,
		cryptoki.CKM_ECDH1_COFACTOR_DERIVE: true, cryptoki.CKM_EDDSA: true,
	}
	f.Fuzz(func(t *testing.T, kind uint64, parameter []byte) {
		if pointers[cryptoki.MechanismType(kind)] {
			clear(parameter) // The fuzzer's bytes would be taken for pointers.
		}
		m := &ckMechanism{cryptoki.MechanismType(kind), at(parameter), uint64(len(parameter))}
		got, err := mechanismOf(readMechanism, m)
		if err == nil && uint64(got.Type) != kind {
			t.Errorf("mechanism %#x became %v", kind, got.Type)
		}
	})
}
