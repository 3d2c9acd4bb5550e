package vault

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// reference is a key's name and version. It is kept as NAME/VERSION: always with the version, because another version is
// another key.
type reference struct {
	name    string
	version int
}

func (r reference) String() string { return r.name + "/" + strconv.Itoa(r.version) }

var (
	keyName    = regexp.MustCompile(`^\w([\w.-]*\w)?$`)
	keyVersion = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
)

// maxName bounds the length of a key's name.
const maxName = 255

// parseReference takes a reference apart; the version is 0 where the text has none.
func parseReference(text string) (reference, bool) {
	name, version, versioned := strings.Cut(text, "/")
	if len(name) > maxName || !keyName.MatchString(name) || versioned && !keyVersion.MatchString(version) {
		return reference{}, false
	}
	n, _ := strconv.Atoi(version)
	return reference{name: name, version: n}, true
}

// parse reads a reference that the store has kept.
func parse(ref []byte) (reference, error) {
	if len(ref) <= 2*maxName {
		if r, ok := parseReference(string(ref)); ok && r.version > 0 {
			return r, nil
		}
	}
	return reference{}, fault.New(fault.KeyHandleInvalid, "the key's reference is not one of provider vault; the store is damaged, or the key belongs to another provider")
}

// prefix stands before the uid in the names of the keys that AnyHSM makes. The label follows as far as Vault's names
// take it: the engine keeps nothing else with a key.
const prefix = "anyhsm-"

var (
	uid      = regexp.MustCompile(`^[0-9a-f]{32}$`)
	ownName  = regexp.MustCompile(`^` + prefix + `([0-9a-f]{32})(?:-(.+))?$`)
	unspoken = regexp.MustCompile(`[^0-9A-Za-z_.-]+`)
)

// maxLabel is how much of a label goes into a name.
const maxLabel = 64

// nameOf is the name of the key for an object. A repeated request has the same.
func nameOf(uid string, template cryptoki.Attributes) string {
	label := unspoken.ReplaceAllString(string(template.Bytes(cryptoki.CKA_LABEL)), "_")
	label = strings.Trim(label[:min(len(label), maxLabel)], "_.-")
	if label == "" {
		return prefix + uid
	}
	return prefix + uid + "-" + label
}

// labelOf is the label in a name: all of it where AnyHSM has not made the key.
func labelOf(name string) string {
	if parts := ownName.FindStringSubmatch(name); parts != nil && parts[2] != "" {
		return parts[2]
	}
	return name
}
