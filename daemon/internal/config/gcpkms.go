package config

import (
	"regexp"
	"strings"
	"time"
)

// GCPKMS is the block [provider.gcpkms] of a provider of this kind. Without credentials they are those that Google's SDK
// finds.
type GCPKMS struct {
	// KeyRing is the resource name of the key ring: projects/P/locations/L/keyRings/R.
	KeyRing string `toml:"key_ring"`
	// Endpoint is another URL than Google's.
	Endpoint string `toml:"endpoint,omitempty"`
	// Credentials is a JSON file of Google's.
	Credentials Secret `toml:"credentials,omitempty"`
	// ProtectionLevel of new keys is SOFTWARE or HSM.
	ProtectionLevel string `toml:"protection_level,omitempty"`
	// RSASigning is what RSA keys sign with whose template does not say: pkcs1 or pss.
	RSASigning string `toml:"rsa_signing,omitempty"`
	// DestroyAfter is how long a destroyed key can still be restored in Google Cloud.
	DestroyAfter Duration `toml:"destroy_after,omitempty"`
}

var gcpKeyRing = regexp.MustCompile(`^projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}$`)

func (g GCPKMS) check(name string, wrong func(string, ...any)) {
	if !gcpKeyRing.MatchString(g.KeyRing) {
		wrong("%s: gcpkms.key_ring: %q is no key ring; write it as projects/PROJECT/locations/europe-west3/keyRings/RING", name, g.KeyRing)
	}
	if g.Endpoint != "" && (!secureURL(g.Endpoint) || strings.HasPrefix(g.Endpoint, "http://") && strings.Count(g.Endpoint, ":") < 2) {
		wrong("%s: gcpkms.endpoint: %q is no https URL; write it as https://cloudkms.europe-west3.rep.googleapis.com (http and a port only to this machine)", name, g.Endpoint)
	}
	if g.Credentials != "" {
		if err := g.Credentials.check(); err != nil {
			wrong("%s: gcpkms.credentials: %v", name, err)
		}
	}
	switch g.ProtectionLevel {
	case "", "SOFTWARE", "HSM":
	default:
		wrong("%s: gcpkms.protection_level: %q is unknown; choose SOFTWARE or HSM", name, g.ProtectionLevel)
	}
	switch g.RSASigning {
	case "", "pkcs1", "pss":
	default:
		wrong("%s: gcpkms.rsa_signing: %q is unknown; choose pkcs1 or pss", name, g.RSASigning)
	}
	if d := time.Duration(g.DestroyAfter); d != 0 && (d < 24*time.Hour || d > 120*24*time.Hour) {
		wrong("%s: gcpkms.destroy_after = %s is out of range; Google Cloud KMS takes 24h to 2880h", name, d)
	}
}
