package keyservice

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Applications hear of a provider's limits as a CK_RV from an Init function, which does not say who refuses. What is here
// says it to the administrator, and what would work. It is computed from capabilities: no provider is known by its name.

// rsaPaddings are the paddings of RSA signatures that applications want of one key: PKCS#1 v1.5 for TLS 1.2 and
// certificates, PSS for TLS 1.3.
var rsaPaddings = []cryptoki.MechanismType{cryptoki.CKM_RSA_PKCS, cryptoki.CKM_RSA_PKCS_PSS}

// limitWarnings tells what the places of keys refuse that applications may ask for.
func (s *Service) limitWarnings(objects []keystore.Object) (warnings []string) {
	said := map[string]bool{}
	for _, o := range objects {
		if !holdsSecret(o.Attributes) || o.Provider == covered {
			continue
		}
		if w := s.paddingWarning(o); w != "" {
			warnings = append(warnings, w)
		}
		for _, l := range s.limits(o) {
			// Once for a provider: its other keys have the same limits.
			about := o.Provider + " " + l.Type.String() + " " + l.String()
			if said[about] || l.Type == cryptoki.CKM_AES_GCM {
				continue
			}
			said[about] = true
			warnings = append(warnings, fmt.Sprintf("key %q: provider %s does %v only with %v; the Init function answers CKR_MECHANISM_PARAM_INVALID to others%s",
				o.Attributes.Bytes(cryptoki.CKA_LABEL), o.Provider, l.Type, l, s.others(o.Provider, func(c provider.Capabilities) bool {
					row, ok := c.Mechanism(l.Type)
					return ok && row.Hashes == nil && !row.SaltIsHash
				})))
		}
	}
	return warnings
}

// paddingWarning tells of an RSA key that signs with one of both paddings because its provider has no other.
func (s *Service) paddingWarning(o keystore.Object) string {
	if keyType, _ := o.Attributes.KeyType(); keyType != cryptoki.CKK_RSA || !o.Attributes.Bool(cryptoki.CKA_SIGN) {
		return ""
	}
	var can, not []string
	single, imports := false, false
	for _, m := range rsaPaddings {
		able := false
		for _, reference := range o.References() {
			b, err := s.backend(reference.Provider)
			if err != nil {
				return ""
			}
			doing := reference.Mechanisms
			if len(doing) == 0 {
				doing = allowed(o.Attributes)
			}
			able = able || b.capabilities.Can(m, cryptoki.CKF_SIGN) && does(doing, m)
			_, importer := b.Provider.(provider.Importer)
			single, imports = single || b.capabilities.OneAlgorithm, imports || importer
			// A key that an administrator has restricted does what it should.
			if !b.capabilities.OneAlgorithm && b.capabilities.Can(m, cryptoki.CKF_SIGN) && !does(doing, m) {
				return ""
			}
		}
		if able {
			can = append(can, m.String())
		} else {
			not = append(not, m.String())
		}
	}
	if len(can) == 0 || len(not) == 0 {
		return ""
	}
	twin := ""
	if single && imports {
		twin = "make one key for both with anyhsm key create --twin, or "
	}
	return fmt.Sprintf("key %q: provider %s signs with it by %s only, and C_SignInit refuses %s: %suse a key of another provider%s",
		o.Attributes.Bytes(cryptoki.CKA_LABEL), o.Provider, can[0], not[0], twin, s.others(o.Provider, func(c provider.Capabilities) bool {
			return !c.OneAlgorithm && !slices.ContainsFunc(rsaPaddings, func(m cryptoki.MechanismType) bool { return !c.Can(m, cryptoki.CKF_SIGN) })
		}))
}

// others names the open providers, but one, that would do something.
func (s *Service) others(but string, would func(provider.Capabilities) bool) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.providers)) {
		if b, err := s.backend(name); err == nil && name != but && would(b.capabilities) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + " would do it)"
}

// wouldWork says what would do a mechanism that a provider has refused.
func (s *Service) wouldWork(b *backend, m cryptoki.Mechanism) string {
	info, known := mechanism.Lookup(m.Type)
	if !known {
		return ""
	}
	return strings.TrimSpace(s.others(b.name, func(c provider.Capabilities) bool {
		row, ok := c.Mechanism(info.Base)
		return ok && row.Limit().Check(m) == nil
	}))
}
