package matrix

import (
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// The applications, as the table names them.
const (
	pkcs11Tool = "pkcs11-tool"
	openSSL    = "OpenSSL"
	nginx      = "nginx"
	java       = "Java"
)

var applications = []string{pkcs11Tool, openSSL, nginx, java}

// use is one thing that an application does with a key, and the raw mechanism that the provider must have for it.
type use struct {
	name      string
	mechanism cryptoki.MechanismType
	flag      cryptoki.Flags
}

// outcome is what came of a use: why is empty if it works.
type outcome struct {
	use
	why string
}

// kind is a type of key, and what each application does with one.
type kind struct {
	name, label, id string
	// tool are the words by which pkcs11-tool makes one; makes is the mechanism for it.
	tool  []string
	makes cryptoki.MechanismType
	curve string
	size  uint64
	// last is for keys that are made when the engine has done its work.
	last bool
	uses map[string][]use
	// not tells why an application does nothing with such keys, whatever the provider.
	not map[string]string
}

func (k kind) flag() cryptoki.Flags {
	if k.pair() {
		return cryptoki.CKF_GENERATE_KEY_PAIR
	}
	return cryptoki.CKF_GENERATE
}

func (k kind) pair() bool { return k.tool[0] == "--keypairgen" }

const (
	noEdwards = "libp11's engine knows RSA and EC keys only, and finds none in a token that has an Ed25519 key as well: keep those apart"
	noSecrets = "the engine has no secret keys"
)

var rsaUses = map[string][]use{
	pkcs11Tool: {{"SHA256-RSA-PKCS", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN}, {"SHA256-RSA-PKCS-PSS", cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN}},
	openSSL: {
		{"req", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN},
		{"dgst", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN},
		{"dgst PSS", cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN},
	},
	nginx: {{"TLS 1.2", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN}, {"TLS 1.3", cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN}},
	java:  {{"SHA256withRSA", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_SIGN}, {"RSASSA-PSS", cryptoki.CKM_RSA_PKCS_PSS, cryptoki.CKF_SIGN}},
}

var ecUses = map[string][]use{
	pkcs11Tool: {{"ECDSA-SHA256", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}},
	openSSL:    {{"req", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}, {"dgst", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}},
	nginx:      {{"TLS 1.2", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}, {"TLS 1.3", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}},
	java:       {{"SHA256withECDSA", cryptoki.CKM_ECDSA, cryptoki.CKF_SIGN}},
}

func rsaKind(size, id string, bits uint64) kind {
	return kind{
		name: "RSA-" + size, label: "rsa" + size, id: id, tool: []string{"--keypairgen", "--key-type", "rsa:" + size},
		makes: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, size: bits, uses: rsaUses,
	}
}

func ecKind(name, curve, id string, bits uint64) kind {
	return kind{
		name: name, label: strings.ToLower(strings.ReplaceAll(name, "-", "")), id: id, tool: []string{"--keypairgen", "--key-type", "EC:" + curve},
		makes: cryptoki.CKM_EC_KEY_PAIR_GEN, curve: name, size: bits, uses: ecUses,
	}
}

var kinds = []kind{
	rsaKind("2048", "01", 2048),
	rsaKind("3072", "02", 3072),
	{
		name: "RSA-2048 to decrypt", label: "decrypt", id: "03", tool: []string{"--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt"},
		makes: cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, size: 2048,
		uses: map[string][]use{
			pkcs11Tool: {{"RSA-PKCS", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_DECRYPT}, {"RSA-PKCS-OAEP", cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKF_DECRYPT}},
			openSSL:    {{"pkeyutl", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_DECRYPT}, {"pkeyutl OAEP", cryptoki.CKM_RSA_PKCS_OAEP, cryptoki.CKF_DECRYPT}},
			java:       {{"RSA/ECB/PKCS1Padding", cryptoki.CKM_RSA_PKCS, cryptoki.CKF_DECRYPT}},
		},
		not: map[string]string{nginx: "TLS 1.2 and 1.3 sign, and this key does not"},
	},
	ecKind("P-256", "prime256v1", "04", 256),
	ecKind("P-384", "secp384r1", "05", 384),
	ecKind("P-521", "secp521r1", "06", 521),
	ecKind("secp256k1", "secp256k1", "07", 256),
	{
		name: "Ed25519", label: "ed25519", id: "08", tool: []string{"--keypairgen", "--key-type", "EC:edwards25519"},
		makes: cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, curve: "Ed25519", size: 255, last: true,
		uses: map[string][]use{pkcs11Tool: {{"EDDSA", cryptoki.CKM_EDDSA, cryptoki.CKF_SIGN}}},
		not:  map[string]string{openSSL: noEdwards, nginx: noEdwards, java: "SunPKCS11 of Java 17 has no EdDSA"},
	},
	{
		name: "AES-256", label: "aes256", id: "09", tool: []string{"--keygen", "--key-type", "AES:32"}, makes: cryptoki.CKM_AES_KEY_GEN, size: 32,
		uses: map[string][]use{
			pkcs11Tool: {{"AES-CBC-PAD", cryptoki.CKM_AES_CBC_PAD, cryptoki.CKF_ENCRYPT}},
			java: {
				{"AES/CBC/PKCS5Padding", cryptoki.CKM_AES_CBC_PAD, cryptoki.CKF_ENCRYPT},
				{"AES/CTR/NoPadding", cryptoki.CKM_AES_CTR, cryptoki.CKF_ENCRYPT},
				{"AES/GCM/NoPadding", cryptoki.CKM_AES_GCM, cryptoki.CKF_ENCRYPT},
			},
		},
		not: map[string]string{openSSL: noSecrets, nginx: noSecrets},
	},
	{
		name: "HMAC-256", label: "hmac256", id: "0a", tool: []string{"--keygen", "--key-type", "GENERIC:32"},
		makes: cryptoki.CKM_GENERIC_SECRET_KEY_GEN, size: 256,
		uses: map[string][]use{
			pkcs11Tool: {{"SHA256-HMAC", cryptoki.CKM_SHA256_HMAC, cryptoki.CKF_SIGN}},
			java:       {{"HmacSHA256", cryptoki.CKM_SHA256_HMAC, cryptoki.CKF_SIGN}},
		},
		not: map[string]string{openSSL: noSecrets, nginx: noSecrets},
	},
}

// generate makes a key of each kind by plain PKCS#11, and holds the provider to what it declares, both ways.
func (p *place) generate(t *testing.T, last bool) {
	t.Helper()
	for _, k := range kinds {
		if k.last != last {
			continue
		}
		why := p.declared.lacksKind(k)
		err := p.make(k)
		switch {
		case err != nil && why == "":
			t.Errorf("%s: no key, and no declared reason: %v", k.name, err)
		case err == nil && why != "":
			t.Errorf("%s was made, although %s", k.name, why)
		case err == nil:
			p.keys[k.label] = p.describe(t, k)
		}
	}
}

func (p *place) make(k kind) error {
	if p.Token == "gcp" && k.pair() && len(k.uses[nginx]) > 0 && k.makes == cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN {
		// Google's RSA keys have one padding each, and TLS takes both.
		return p.succeeds(p.cli, "key", "create", k.label, "--token", p.Token, "--type", "rsa:"+strings.TrimPrefix(k.label, "rsa"), "--id", k.id, "--twin")
	}
	return p.succeeds("pkcs11-tool", p.words(append(k.tool, "--label", k.label, "--id", k.id)...)...)
}

// each lets an application try what it does with each key, and notes what came of it. What fails must have a reason that
// the provider or the key declares.
func (p *place) each(t *testing.T, application string, try func(k *key, u use) error) {
	t.Helper()
	for _, k := range kinds {
		made := p.keys[k.label]
		if made == nil {
			continue
		}
		for _, u := range k.uses[application] {
			err, why := try(made, u), ""
			if err != nil {
				why = p.lacks(made, u)
				if why == "" {
					t.Errorf("%s, %s, %s: it fails, and no reason is declared: %v", k.name, application, u.name, err)
					continue
				}
			}
			p.note(k, application, outcome{u, why})
		}
	}
}

func (p *place) note(k kind, application string, o outcome) {
	cell := k.label + " " + application
	p.outcomes[cell] = append(p.outcomes[cell], o)
}
