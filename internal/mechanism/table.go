package mechanism

import (
	"cmp"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Entry is a row of a token's mechanism table, as C_GetMechanismInfo shows it.
type Entry struct {
	Type             cryptoki.MechanismType
	MinSize, MaxSize uint64
	Flags            cryptoki.Flags
}

// TokenTable returns what a token can do whose provider does the given mechanisms, in the order of their numbers: those
// that AnyHSM knows, the hashing variants of the raw ones among them, and what the module does by itself, which is to
// verify and encrypt with public keys and to compute digests.
func TokenTable(provider []Entry) []Entry {
	rows := map[cryptoki.MechanismType]Entry{}
	merge := func(e Entry) {
		if old, ok := rows[e.Type]; ok {
			old.Flags |= e.Flags
			old.MinSize, old.MaxSize = min(old.MinSize, e.MinSize), max(old.MaxSize, e.MaxSize)
			e = old
		}
		rows[e.Type] = e
	}
	for _, e := range provider {
		if i, ok := infos[e.Type]; ok {
			// Only what a call can reach: a mechanism's other uses (wrapping…) have no function yet.
			e.Flags = e.Flags&(i.Flags|cryptoki.CKF_HW) | i.Flags&curves
			merge(e)
		}
	}
	for _, i := range sorted {
		if base, ok := rows[i.Base]; ok && i.Hashing() && base.Flags&cryptoki.CKF_SIGN != 0 {
			merge(Entry{i.Type, base.MinSize, base.MaxSize, base.Flags & (cryptoki.CKF_SIGN | cryptoki.CKF_HW | curves)})
		}
	}
	for _, i := range sorted {
		local := i.Flags & cryptoki.CKF_DIGEST
		if len(i.KeyTypes) > 0 && i.KeyTypes[0] != cryptoki.CKK_AES && i.KeyTypes[0] != cryptoki.CKK_GENERIC_SECRET {
			local = i.Flags & (cryptoki.CKF_VERIFY | cryptoki.CKF_ENCRYPT)
		}
		if local != 0 {
			merge(Entry{i.Type, i.MinSize, i.MaxSize, local | i.Flags&curves})
		}
	}
	table := make([]Entry, 0, len(rows))
	for _, e := range rows {
		table = append(table, e)
	}
	slices.SortFunc(table, func(a, b Entry) int { return cmp.Compare(a.Type, b.Type) })
	return table
}
