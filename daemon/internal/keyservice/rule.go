package keyservice

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

// Rule says which new token keys a provider gets. Of a token's rules the first that matches decides; if none does, the
// token's own provider gets the key.
type Rule struct {
	Provider string
	// Keys are kinds of keys: rsa, ec, ed25519, ml-dsa, aes, hmac. All if empty.
	Keys []string `json:",omitempty"`
	// MinBits and MaxBits bound the size; 0 for no bound.
	MinBits uint32 `json:",omitempty"`
	MaxBits uint32 `json:",omitempty"`
	// Label is a pattern for CKA_LABEL with * and ?; all labels if empty.
	Label string `json:",omitempty"`
	// OnRequest leaves out keys whose template does not name the provider in CKA_ANYHSM_PROVIDER.
	OnRequest bool `json:",omitempty"`
}

// keyKinds are the names of kinds of keys in rules, with their type and how they are made.
var keyKinds = []struct {
	name     string
	keyType  cryptoki.KeyType
	generate cryptoki.MechanismType
	// unit is what a size in CK_MECHANISM_INFO counts, in bits.
	unit uint64
}{
	{"rsa", cryptoki.CKK_RSA, cryptoki.CKM_RSA_PKCS_KEY_PAIR_GEN, 1},
	{"ec", cryptoki.CKK_EC, cryptoki.CKM_EC_KEY_PAIR_GEN, 1},
	{"ed25519", cryptoki.CKK_EC_EDWARDS, cryptoki.CKM_EC_EDWARDS_KEY_PAIR_GEN, 1},
	{"ml-dsa", cryptoki.CKK_ML_DSA, cryptoki.CKM_ML_DSA_KEY_PAIR_GEN, 8},
	{"aes", cryptoki.CKK_AES, cryptoki.CKM_AES_KEY_GEN, 8},
	{"hmac", cryptoki.CKK_GENERIC_SECRET, cryptoki.CKM_GENERIC_SECRET_KEY_GEN, 1},
}

// maxRules bounds what each new key is compared with.
const maxRules = 100

// checkRules tells why rules cannot be a token's.
func (s *Service) checkRules(rules []Rule) error {
	if len(rules) > maxRules {
		return fault.New(fault.InvalidInput, "%d rules are more than the %d that a token can have; use patterns", len(rules), maxRules)
	}
	for i, r := range rules {
		b, err := s.backend(r.Provider)
		if err != nil {
			return fault.New(fault.InvalidInput, "rule %d: %w", i+1, err)
		}
		if r.MaxBits > 0 && r.MaxBits < r.MinBits {
			return fault.New(fault.InvalidInput, "rule %d: at least %d bits and at most %d is no key; change one", i+1, r.MinBits, r.MaxBits)
		}
		able := false
		for _, name := range r.Keys {
			if !slices.Contains(kindNames(), name) {
				return fault.New(fault.InvalidInput, "rule %d: %q is no kind of key; choose of %s", i+1, name, strings.Join(kindNames(), ", "))
			}
		}
		for _, kind := range keyKinds {
			if len(r.Keys) > 0 && !slices.Contains(r.Keys, kind.name) {
				continue
			}
			m, ok := b.capabilities.Mechanism(kind.generate)
			can := ok && (r.MaxBits == 0 || m.MinSize*kind.unit <= uint64(r.MaxBits)) && m.MaxSize*kind.unit >= uint64(r.MinBits)
			if able = able || can; !can && len(r.Keys) > 0 {
				return fault.New(fault.InvalidInput, "rule %d: provider %s makes no %s keys of this size; anyhsm provider list --mechanisms shows what it makes", i+1, r.Provider, kind.name)
			}
		}
		if !able {
			return fault.New(fault.InvalidInput, "rule %d: provider %s makes no keys of this size; anyhsm provider list --mechanisms shows what it makes", i+1, r.Provider)
		}
	}
	return nil
}

func kindNames() (names []string) {
	for _, kind := range keyKinds {
		names = append(names, kind.name)
	}
	return names
}

// matches tells whether a rule is for a key, apart from what its template asks for.
func (r Rule) matches(key cryptoki.Attributes, bits uint32) bool {
	keyType, _ := key.KeyType()
	kind := ""
	for _, k := range keyKinds {
		if k.keyType == keyType {
			kind = k.name
		}
	}
	return (len(r.Keys) == 0 || slices.Contains(r.Keys, kind)) && bits >= r.MinBits && (r.MaxBits == 0 || bits <= r.MaxBits) &&
		(r.Label == "" || glob(r.Label, string(key.Bytes(cryptoki.CKA_LABEL))))
}

// glob tells whether a text is of a pattern, in which * stands for any characters and ? for one.
func glob(pattern, text string) bool {
	// star is where to go on if what follows the last * does not fit: one character further on.
	star, at := -1, 0
	p, t := []rune(pattern), []rune(text)
	i := 0
	for j := 0; j < len(t); {
		switch {
		case i < len(p) && p[i] == '*':
			star, at = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			at++
			i, j = star+1, at
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

// providerOf chooses the provider of a new key. Its public half, if any, tells the size. Session keys are the software
// provider's whatever the rules say: they must never become keys that a cloud bills.
func (s *Service) providerOf(token keystore.Token, key, public cryptoki.Attributes) (string, error) {
	asked := string(key.Bytes(cryptoki.CKA_ANYHSM_PROVIDER))
	if !key.Bool(cryptoki.CKA_TOKEN) {
		if asked != "" && asked != Software {
			return "", fault.New(fault.TemplateInconsistent, "a session key cannot be in provider %q, only in %s; leave CKA_ANYHSM_PROVIDER out, or make a token key", asked, Software)
		}
		return Software, nil
	}
	rules, err := parseRules(token)
	if err != nil {
		return "", err
	}
	bits := uint32(max(mechanism.Bits(key), mechanism.Bits(public)))
	for _, r := range rules {
		if r.matches(key, bits) && (r.Provider == asked || asked == "" && !r.OnRequest) {
			return r.Provider, nil
		}
	}
	if asked != "" && asked != token.Provider {
		return "", fault.New(fault.AttributeValueInvalid, "CKA_ANYHSM_PROVIDER asks for provider %q, which the token's rules do not allow for this key; see anyhsm token rules show", asked)
	}
	return token.Provider, nil
}

// parseRules reads the rules of a token.
func parseRules(token keystore.Token) (rules []Rule, err error) {
	if token.Rules == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(token.Rules), &rules); err != nil {
		return nil, fault.New(fault.StoreDamaged, "the rules of token %s cannot be read: %w; set them again with anyhsm token rules set", token.Label, err)
	}
	return rules, nil
}

// possible returns the providers that a token's keys can be in, its own first.
func possible(token keystore.Token) []string {
	providers := []string{token.Provider}
	// Rules that cannot be read show when a key is made.
	rules, _ := parseRules(token)
	for _, r := range rules {
		if !slices.Contains(providers, r.Provider) {
			providers = append(providers, r.Provider)
		}
	}
	return providers
}

// union is what one of several providers can do.
func union(tables [][]Mechanism) (table []Mechanism) {
	at := map[cryptoki.MechanismType]int{}
	for _, one := range tables {
		for _, m := range one {
			i, ok := at[m.Type]
			if !ok {
				at[m.Type] = len(table)
				table = append(table, m)
				continue
			}
			table[i].MinSize, table[i].MaxSize = min(table[i].MinSize, m.MinSize), max(table[i].MaxSize, m.MaxSize)
			table[i].Flags |= m.Flags
		}
	}
	return table
}
