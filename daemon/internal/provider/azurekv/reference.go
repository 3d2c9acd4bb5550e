package azurekv

import (
	"regexp"
	"strings"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// kid is a key's id taken apart. A reference is the id as Azure writes it, https://VAULT/keys/NAME/VERSION: always with
// the version, because another version is another key.
type kid struct {
	vault, name, version string
}

func (k kid) String() string { return k.vault + "/keys/" + k.name + "/" + k.version }

var (
	keyName    = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	keyVersion = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// maxReference is above any id's length.
const maxReference = 1024

// parseKID takes an id apart, with or without a version.
func parseKID(text string) (kid, bool) {
	vault, rest, ok := strings.Cut(strings.TrimSuffix(text, "/"), "/keys/")
	name, version, versioned := strings.Cut(rest, "/")
	vault, err := CheckVaultURL(vault)
	if !ok || err != nil || !keyName.MatchString(name) || versioned && !keyVersion.MatchString(version) {
		return kid{}, false
	}
	return kid{vault: vault, name: name, version: version}, true
}

// parse reads a reference. All else than an id with a version in this vault is no key of ours.
func (p *Provider) parse(ref []byte) (kid, error) {
	if len(ref) <= maxReference {
		if k, ok := parseKID(string(ref)); ok && k.version != "" && k.String() == string(ref) {
			if k.vault == p.vault {
				return k, nil
			}
			return kid{}, fault.New(fault.KeyHandleInvalid, "the key %s is in another vault than provider %s, which is for %s; correct vault_url, or configure a provider for the other vault", k, p.config.Name, p.vault)
		}
	}
	return kid{}, fault.New(fault.KeyHandleInvalid, "the key's reference is not one of provider azurekv; the store is damaged, or the key belongs to another provider")
}
