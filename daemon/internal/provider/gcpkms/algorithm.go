package gcpkms

import (
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
	"github.com/anyhsm/anyhsm/internal/parameterset"
)

// algorithm is one of the service's, which a key has for its life.
type algorithm struct {
	id      kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
	purpose kmspb.CryptoKey_CryptoKeyPurpose
	keyType cryptoki.KeyType
	// size is the bits of a modulus or HMAC key, or the bytes of an AES key.
	size  uint64
	curve *curve.Curve
	// set is the parameter set of an ML-DSA key, and mu tells that the service takes the message's representative µ.
	set *parameterset.Set
	mu  bool
	// mechanism is the raw one.
	mechanism cryptoki.MechanismType
	// digest is the one hash that the algorithm takes; 0 where it takes any.
	digest cryptoki.MechanismType
}

// algorithms are those of the service that PKCS#11's mechanisms can use. Of those for one type of key and use the first
// is what a template gets that has no wish.
var algorithms = table()

func table() (all []algorithm) {
	named := func(name string, a algorithm) {
		id, ok := kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm_value[name]
		if !ok {
			panic("gcpkms: the SDK has no algorithm " + name)
		}
		a.id = kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm(id)
		all = append(all, a)
	}
	hashes := []struct {
		name   string
		digest cryptoki.MechanismType
	}{{"SHA256", cryptoki.CKM_SHA256}, {"SHA512", cryptoki.CKM_SHA512}, {"SHA1", cryptoki.CKM_SHA_1}}
	for _, bits := range []uint64{2048, 3072, 4096} {
		signs := algorithm{purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, keyType: cryptoki.CKK_RSA, size: bits, mechanism: cryptoki.CKM_RSA_PKCS}
		named(fmt.Sprintf("RSA_SIGN_RAW_PKCS1_%d", bits), signs)
		for _, h := range hashes[:2] {
			if h.name == "SHA512" && bits != 4096 {
				continue
			}
			signs.digest = h.digest
			signs.mechanism = cryptoki.CKM_RSA_PKCS_PSS
			named(fmt.Sprintf("RSA_SIGN_PSS_%d_%s", bits, h.name), signs)
			signs.mechanism = cryptoki.CKM_RSA_PKCS
			named(fmt.Sprintf("RSA_SIGN_PKCS1_%d_%s", bits, h.name), signs)
		}
		for _, h := range hashes {
			if h.name == "SHA512" && bits != 4096 {
				continue
			}
			named(fmt.Sprintf("RSA_DECRYPT_OAEP_%d_%s", bits, h.name), algorithm{
				purpose: kmspb.CryptoKey_ASYMMETRIC_DECRYPT, keyType: cryptoki.CKK_RSA, size: bits,
				mechanism: cryptoki.CKM_RSA_PKCS_OAEP, digest: h.digest,
			})
		}
	}
	for _, c := range []struct{ name, curve string }{{"EC_SIGN_P256_SHA256", "P-256"}, {"EC_SIGN_P384_SHA384", "P-384"}, {"EC_SIGN_ED25519", "Ed25519"}} {
		on, _ := curve.ByName(c.curve)
		a := algorithm{purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, keyType: on.KeyType, curve: on, mechanism: cryptoki.CKM_ECDSA}
		if on.KeyType == cryptoki.CKK_EC_EDWARDS {
			a.mechanism = cryptoki.CKM_EDDSA
		}
		named(c.name, a)
	}
	// Those that take µ come first: into it goes a message of any length, and a context.
	for _, mu := range []struct {
		name  string
		taken bool
	}{{"_EXTERNAL_MU", true}, {"", false}} {
		for _, set := range parameterset.All() {
			named("PQ_SIGN_"+strings.ReplaceAll(set.Name, "-", "_")+mu.name, algorithm{
				purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, keyType: cryptoki.CKK_ML_DSA, set: set, mu: mu.taken, mechanism: cryptoki.CKM_ML_DSA,
			})
		}
	}
	for _, mode := range []struct {
		name      string
		mechanism cryptoki.MechanismType
	}{{"CBC", cryptoki.CKM_AES_CBC}, {"CTR", cryptoki.CKM_AES_CTR}, {"GCM", cryptoki.CKM_AES_GCM}} {
		for _, length := range []uint64{16, 32} {
			named(fmt.Sprintf("AES_%d_%s", 8*length, mode.name), algorithm{
				purpose: kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT, keyType: cryptoki.CKK_AES, size: length, mechanism: mode.mechanism,
			})
		}
	}
	for _, m := range macs {
		named(m.name, algorithm{purpose: kmspb.CryptoKey_MAC, keyType: cryptoki.CKK_GENERIC_SECRET, size: m.bits, mechanism: m.mechanism})
	}
	return all
}

// macs are the HMACs. The key is as long as the hash.
var macs = []struct {
	name               string
	bits               uint64
	mechanism, general cryptoki.MechanismType
}{
	{"HMAC_SHA1", 160, cryptoki.CKM_SHA_1_HMAC, cryptoki.CKM_SHA_1_HMAC_GENERAL},
	{"HMAC_SHA224", 224, cryptoki.CKM_SHA224_HMAC, cryptoki.CKM_SHA224_HMAC_GENERAL},
	{"HMAC_SHA256", 256, cryptoki.CKM_SHA256_HMAC, cryptoki.CKM_SHA256_HMAC_GENERAL},
	{"HMAC_SHA384", 384, cryptoki.CKM_SHA384_HMAC, cryptoki.CKM_SHA384_HMAC_GENERAL},
	{"HMAC_SHA512", 512, cryptoki.CKM_SHA512_HMAC, cryptoki.CKM_SHA512_HMAC_GENERAL},
}

func algorithmOf(id kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (algorithm, bool) {
	for _, a := range algorithms {
		if a.id == id {
			return a, true
		}
	}
	return algorithm{}, false
}

// asymmetric tells that there is a public half.
func (a algorithm) asymmetric() bool {
	return a.purpose == kmspb.CryptoKey_ASYMMETRIC_SIGN || a.purpose == kmspb.CryptoKey_ASYMMETRIC_DECRYPT
}

// usage are the attributes that say what the key is for.
func (a algorithm) usage() []cryptoki.AttributeType {
	switch a.purpose {
	case kmspb.CryptoKey_ASYMMETRIC_DECRYPT:
		return []cryptoki.AttributeType{cryptoki.CKA_DECRYPT}
	case kmspb.CryptoKey_RAW_ENCRYPT_DECRYPT:
		if a.mechanism == cryptoki.CKM_AES_GCM {
			// The service chooses the IV, which C_Encrypt cannot tell the application.
			return []cryptoki.AttributeType{cryptoki.CKA_DECRYPT}
		}
		return []cryptoki.AttributeType{cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT}
	case kmspb.CryptoKey_MAC:
		return []cryptoki.AttributeType{cryptoki.CKA_SIGN, cryptoki.CKA_VERIFY}
	}
	return []cryptoki.AttributeType{cryptoki.CKA_SIGN}
}

// allowed are the mechanisms that the key does. OAEP has no variants that tell the one hash which the key takes, so the
// digest is named with it, as a template would.
func (a algorithm) allowed() (all []cryptoki.MechanismType) {
	for _, info := range mechanism.All() {
		if a.does(info) || a.mechanism == cryptoki.CKM_RSA_PKCS_OAEP && info.Type == a.digest {
			all = append(all, info.Type)
		}
	}
	return all
}

func (a algorithm) does(info mechanism.Info) bool {
	switch a.mechanism {
	case cryptoki.CKM_AES_CBC:
		return info.Type == cryptoki.CKM_AES_CBC || info.Type == cryptoki.CKM_AES_CBC_PAD
	case info.Type:
		return true
	case info.Base:
		digest, _ := mechanism.HashOf(a.digest)
		return a.digest == 0 || info.Hash == digest
	}
	for _, m := range macs {
		if m.general == info.Type {
			return m.mechanism == a.mechanism
		}
	}
	return false
}

// wishes are what a template says about the algorithm.
type wishes struct {
	// mechanisms and digests are those of CKA_ALLOWED_MECHANISMS.
	mechanisms, digests []cryptoki.MechanismType
}

func wishesOf(template cryptoki.Attributes) (w wishes) {
	list, _ := template.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS)
	for _, t := range list {
		m := cryptoki.MechanismType(t)
		if info, ok := mechanism.Lookup(m); ok && info.Flags&cryptoki.CKF_DIGEST != 0 {
			w.digests = append(w.digests, m)
		} else {
			w.mechanisms = append(w.mechanisms, m)
		}
	}
	return w
}

// grants counts the mechanisms that were asked for and the algorithm has. An algorithm of one hash does not have the raw
// CKM_RSA_PKCS where another takes all, unless that hash is named as well.
func (a algorithm) grants(w wishes) (count int) {
	if len(w.digests) > 0 && a.digest != 0 && !slices.Contains(w.digests, a.digest) {
		return 0
	}
	for _, m := range w.mechanisms {
		if m == cryptoki.CKM_RSA_PKCS && a.mechanism == m && a.digest != 0 && !slices.Contains(w.digests, a.digest) {
			return 0
		}
		if info, ok := mechanism.Lookup(m); ok && a.does(info) {
			count++
		}
	}
	return count
}

// choose returns the algorithm for a key of some type and size. CKA_ALLOWED_MECHANISMS decides where it is given: the
// algorithm that has the most of it, and of those the one that can do the least else. Otherwise the usage attributes do,
// of which most programs set all: then signing wins.
func choose(fits func(algorithm) bool, template cryptoki.Attributes, pss bool) (algorithm, error) {
	var candidates []algorithm
	for _, a := range algorithms {
		if fits(a) {
			candidates = append(candidates, a)
		}
	}
	if len(candidates) == 0 {
		return algorithm{}, fault.New(fault.KeySizeRange, "Google Cloud KMS has no keys of this type and size; docs/providers/gcpkms.md has the table")
	}
	w := wishesOf(template)
	var best algorithm
	most, least := 0, 0
	for _, a := range candidates {
		if !slices.ContainsFunc(a.usage(), func(t cryptoki.AttributeType) bool { return template.Bool(t) }) {
			continue
		}
		if len(w.mechanisms) == 0 {
			if len(w.digests) > 0 && a.digest != 0 && !slices.Contains(w.digests, a.digest) {
				continue
			}
			if pss && a.keyType == cryptoki.CKK_RSA && a.purpose == kmspb.CryptoKey_ASYMMETRIC_SIGN && a.mechanism != cryptoki.CKM_RSA_PKCS_PSS {
				continue
			}
			return a, nil
		}
		granted, size := a.grants(w), len(a.allowed())
		if granted > most || granted == most && granted > 0 && size < least {
			best, most, least = a, granted, size
		}
	}
	if most == 0 {
		return algorithm{}, fault.New(fault.TemplateInconsistent, "Google Cloud KMS has no algorithm for what this template asks of a %s key: one use, to sign or to decrypt (not to derive), "+
			"and of CKA_ALLOWED_MECHANISMS what one algorithm has; docs/providers/gcpkms.md has the table", candidates[0].keyType)
	}
	return best, nil
}

// granted are the attributes of the private or secret key that follow from what it became: Google Cloud KMS gives no
// key out, and uses it in one way.
func (a algorithm) granted(template cryptoki.Attributes, generated bool) cryptoki.Attributes {
	mechanisms := a.allowed()
	if w := wishesOf(template); len(w.mechanisms) > 0 {
		mechanisms = slices.DeleteFunc(mechanisms, func(m cryptoki.MechanismType) bool { return !slices.Contains(w.mechanisms, m) && m != a.digest })
	}
	granted := cryptoki.Attributes{
		cryptoki.Bool(cryptoki.CKA_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, false),
		cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, mechanisms),
	}
	if generated {
		granted = append(granted, cryptoki.Bool(cryptoki.CKA_ALWAYS_SENSITIVE, true), cryptoki.Bool(cryptoki.CKA_NEVER_EXTRACTABLE, true))
	}
	for _, usage := range usages {
		if template.Bool(usage) && !slices.Contains(a.usage(), usage) {
			granted = append(granted, cryptoki.Bool(usage, false))
		}
	}
	return granted
}

// usages are all attributes that say what a private or secret key is for.
var usages = []cryptoki.AttributeType{
	cryptoki.CKA_SIGN, cryptoki.CKA_SIGN_RECOVER, cryptoki.CKA_VERIFY, cryptoki.CKA_ENCRYPT, cryptoki.CKA_DECRYPT,
	cryptoki.CKA_DERIVE, cryptoki.CKA_WRAP, cryptoki.CKA_UNWRAP,
}
