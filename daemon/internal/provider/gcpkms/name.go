package gcpkms

import (
	"encoding/base32"
	"regexp"
	"strings"

	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	ringPattern = `projects/[a-z0-9.:-]{1,100}/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}`
	keyPattern  = ringPattern + `/cryptoKeys/[a-zA-Z0-9_-]{1,63}`
)

var (
	keyRingName = regexp.MustCompile(`^` + ringPattern + `$`)
	keyName     = regexp.MustCompile(`^` + keyPattern + `$`)
	versionName = regexp.MustCompile(`^` + keyPattern + `/cryptoKeyVersions/[1-9][0-9]{0,9}$`)
	shortName   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)
	uidPattern  = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// keyID is the name in the key ring of the key that we make for an object.
func keyID(uid string) string { return "anyhsm-" + uid }

func keyOf(version string) string {
	name, _, _ := strings.Cut(version, "/cryptoKeyVersions/")
	return name
}

// location is where a key ring is.
func location(keyRing string) string {
	name, _, _ := strings.Cut(keyRing, "/keyRings/")
	return name
}

// versionOf reads a reference: it is the resource name of a key version.
func versionOf(ref []byte) (string, error) {
	if len(ref) > 1000 || !versionName.Match(ref) {
		return "", fault.New(fault.KeyHandleInvalid, "the reference of the key is no resource name of a version of a key in Google Cloud KMS; look at the store")
	}
	return string(ref), nil
}

// The labels of a key that we make. The service takes only small letters, digits, - and _ in them.
const (
	labelUID   = "anyhsm-uid"
	labelToken = "anyhsm-token"
	labelLabel = "anyhsm-label"
)

// labelParts bounds the labels that CKA_LABEL is spread over.
const labelParts = 4

var (
	plainLabel = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)
	encoding   = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
)

// encoded marks a label that is not as it was.
const encoded = "x--"

// labels are those of a new key. CKA_LABEL stands there in clear where the service's alphabet has it.
func labels(uid, token, label string) map[string]string {
	all := map[string]string{labelUID: uid}
	if token != "" {
		all[labelToken] = fitLabel(token)
	}
	if label == "" {
		return all
	}
	if plainLabel.MatchString(label) && !strings.HasPrefix(label, encoded) {
		all[labelLabel] = label
		return all
	}
	rest := encoding.EncodeToString([]byte(label))
	for part := range labelParts {
		n := min(len(rest), 60)
		all[labelName(part)] = encoded + rest[:n]
		if rest = rest[n:]; rest == "" {
			break
		}
	}
	return all
}

func labelName(part int) string {
	if part == 0 {
		return labelLabel
	}
	return labelLabel + "-" + string(rune('1'+part))
}

// fitLabel brings a token's uid into the service's alphabet.
func fitLabel(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(s))
	return s[:min(len(s), 63)]
}

// labelOf is the CKA_LABEL of a key: ours, or the name that it has in the key ring.
func labelOf(name string, all map[string]string) string {
	first := all[labelLabel]
	if first == "" {
		return name[strings.LastIndex(name, "/")+1:]
	}
	if !strings.HasPrefix(first, encoded) {
		return first
	}
	var text strings.Builder
	for part := range labelParts {
		text.WriteString(strings.TrimPrefix(all[labelName(part)], encoded))
	}
	whole := text.String()
	for len(whole) > 0 {
		if label, err := encoding.DecodeString(whole); err == nil {
			return strings.ToValidUTF8(string(label), "")
		}
		whole = whole[:len(whole)-1] // cut in the middle of a character
	}
	return first
}
