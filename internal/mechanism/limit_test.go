package mechanism_test

import (
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// A parameter is refused when no place takes it, and only then.
func TestLimits(t *testing.T) {
	cloud := mechanism.Limit{Type: cryptoki.CKM_RSA_PKCS_PSS, Hashes: []cryptoki.MechanismType{cryptoki.CKM_SHA256}, SameMGF: true, SaltIsHash: true}
	vault := mechanism.Limit{Type: cryptoki.CKM_RSA_PKCS_PSS, SameMGF: true, MinSalt: 1}
	oaep := mechanism.Limit{Type: cryptoki.CKM_RSA_PKCS_OAEP, NoLabel: true, Hashes: []cryptoki.MechanismType{}}
	gcm := mechanism.Limit{Type: cryptoki.CKM_AES_GCM, IVSize: 12, TagSize: 16}
	pss := func(kind, hash cryptoki.MechanismType, mgf, salt uint64) cryptoki.Mechanism {
		return cryptoki.Mechanism{Type: kind, Params: cryptoki.PSSParams{Hash: hash, MGF: mgf, SaltLength: salt}}
	}
	raw, hashing := cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKM_SHA256_RSA_PKCS_PSS
	sha1, sha256 := cryptoki.CKM_SHA_1, cryptoki.CKM_SHA256
	mgf1, mgf256 := uint64(cryptoki.CKG_MGF1_SHA1), uint64(cryptoki.CKG_MGF1_SHA256)
	for name, test := range map[string]struct {
		m      cryptoki.Mechanism
		limits []mechanism.Limit
		taken  bool
	}{
		"no limits":               {pss(raw, sha1, mgf1, 7), nil, true},
		"another's limits":        {pss(raw, sha1, mgf1, 7), []mechanism.Limit{oaep, gcm}, true},
		"taken":                   {pss(raw, sha256, mgf256, 32), []mechanism.Limit{cloud}, true},
		"a variant is taken":      {pss(hashing, sha256, mgf256, 32), []mechanism.Limit{cloud}, true},
		"another hash":            {pss(raw, sha1, mgf1, 20), []mechanism.Limit{cloud}, false},
		"another salt":            {pss(raw, sha256, mgf256, 20), []mechanism.Limit{cloud}, false},
		"a variant, another salt": {pss(hashing, sha256, mgf256, 0), []mechanism.Limit{cloud}, false},
		"another mask":            {pss(raw, sha256, mgf1, 32), []mechanism.Limit{cloud}, false},
		"the other place's":       {pss(raw, sha1, mgf1, 20), []mechanism.Limit{cloud, vault}, true},
		"no place's":              {pss(raw, sha1, mgf1, 0), []mechanism.Limit{cloud, vault}, false},
		"no hash is taken": {
			cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: sha1, MGF: mgf1}},
			[]mechanism.Limit{oaep},
			false,
		},
		"a label": {
			cryptoki.Mechanism{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: sha1, MGF: mgf1, Label: []byte("l")}},
			[]mechanism.Limit{{Type: cryptoki.CKM_RSA_PKCS_OAEP, NoLabel: true}},
			false,
		},
		"an IV":   {cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 16), TagBits: 128}}, []mechanism.Limit{gcm}, false},
		"a tag":   {cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 96}}, []mechanism.Limit{gcm}, false},
		"GCM":     {cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}}, []mechanism.Limit{gcm}, true},
		"no PSS":  {cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, []mechanism.Limit{cloud, gcm}, true},
		"unknown": {cryptoki.Mechanism{Type: 0x7fffffff}, []mechanism.Limit{cloud}, true},
	} {
		err := mechanism.CheckLimits(test.m, test.limits)
		if test.taken && err != nil || !test.taken && fault.RV(err) != cryptoki.CKR_MECHANISM_PARAM_INVALID {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !(mechanism.Limit{Type: raw}).None() || oaep.None() || cloud.None() {
		t.Error("what is no limit is told wrongly")
	}
}
