package mechanism

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Limit is what a provider takes in the parameter of a raw mechanism, where that is less than the standard allows.
type Limit struct {
	Type cryptoki.MechanismType
	// Hashes are the digest mechanisms that PSS and OAEP take, nil for all.
	Hashes []cryptoki.MechanismType
	// SameMGF tells that the mask must be made with the same hash, NoLabel that OAEP takes no label, SaltIsHash that the
	// salt of PSS must be as long as the hash.
	SameMGF, NoLabel, SaltIsHash bool
	// MinSalt is the shortest salt of PSS.
	MinSalt uint64
	// IVSize and TagSize are the only lengths in bytes that GCM takes; 0 for all.
	IVSize, TagSize int
}

// None tells that there is no limit.
func (l Limit) None() bool {
	return l.Hashes == nil && !l.SameMGF && !l.NoLabel && !l.SaltIsHash && l.MinSalt == 0 && l.IVSize == 0 && l.TagSize == 0
}

// String says what is taken.
func (l Limit) String() string {
	var all []string
	for _, part := range []struct {
		there bool
		text  string
	}{
		{l.Hashes != nil, names(l.Hashes)},
		{l.SameMGF, "one hash for data and mask"},
		{l.NoLabel, "no label"},
		{l.SaltIsHash, "a salt as long as the hash"},
		{l.MinSalt > 0, fmt.Sprintf("a salt of %d bytes or more", l.MinSalt)},
		{l.IVSize > 0, fmt.Sprintf("an IV of %d bytes", l.IVSize)},
		{l.TagSize > 0, fmt.Sprintf("a tag of %d bytes", l.TagSize)},
	} {
		if part.there {
			all = append(all, part.text)
		}
	}
	return strings.Join(all, ", ")
}

// Check refuses a parameter that is beyond the limit: CKR_MECHANISM_PARAM_INVALID.
func (l Limit) Check(m cryptoki.Mechanism) error {
	refuse := func(format string, arguments ...any) error {
		return fault.New(fault.MechanismParamInvalid, "the key's provider does %v only with %s", m.Type, fmt.Sprintf(format, arguments...))
	}
	var hash cryptoki.MechanismType
	var mgf uint64
	switch params := m.Params.(type) {
	case cryptoki.PSSParams:
		hash, mgf = params.Hash, params.MGF
	case cryptoki.OAEPParams:
		hash, mgf = params.Hash, params.MGF
		if l.NoLabel && len(params.Label) > 0 {
			return refuse("no label")
		}
	case cryptoki.GCMParams:
		if l.IVSize > 0 && len(params.IV) != l.IVSize {
			return refuse("an IV of %d bytes, not %d", l.IVSize, len(params.IV))
		}
		if l.TagSize > 0 && params.TagBits != 8*uint64(l.TagSize) {
			return refuse("a tag of %d bits, not %d", 8*l.TagSize, params.TagBits)
		}
		return nil
	default:
		return nil
	}
	if l.Hashes != nil && !slices.Contains(l.Hashes, hash) {
		return refuse("%s, not with %v", names(l.Hashes), hash)
	}
	data, _ := HashOf(hash)
	if generator, _ := MGFHash(mgf); l.SameMGF && generator != data {
		return refuse("one hash for data and mask")
	}
	params, ok := m.Params.(cryptoki.PSSParams)
	switch {
	case ok && l.SaltIsHash && params.SaltLength != uint64(data.Size()):
		return refuse("a salt of %d bytes with %v, not %d", data.Size(), hash, params.SaltLength)
	case ok && params.SaltLength < l.MinSalt:
		return refuse("a salt of %d bytes or more, not %d", l.MinSalt, params.SaltLength)
	}
	return nil
}

func names(types []cryptoki.MechanismType) string {
	all := make([]string, len(types))
	for i, t := range types {
		all[i] = t.String()
	}
	return strings.Join(all, ", ")
}

// CheckLimits refuses a parameter that no place takes where a key is. Several limits of one mechanism are those of
// several places; a mechanism without any has none.
func CheckLimits(m cryptoki.Mechanism, limits []Limit) (refusal error) {
	raw := infos[m.Type].Base
	for _, l := range limits {
		if l.Type != raw {
			continue
		}
		err := l.Check(m)
		if err == nil {
			return nil
		}
		if refusal == nil {
			refusal = err
		}
	}
	return refusal
}
