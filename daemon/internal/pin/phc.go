package pin

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// cost is what a hash costs: memory in KiB.
type cost struct {
	memory, passes uint32
	lanes          uint8
}

// hash is a PHC string in parts: $argon2id$v=19$m=19456,t=2,p=1$SALT$SUM.
type hash struct {
	cost
	salt, sum []byte
}

// Bounds of what parse takes: a forged row of the store must not make the daemon take all memory or hash for minutes.
const (
	maxMemory = 256 * 1024
	maxPasses = 16
	maxLanes  = 16
	maxPart   = 64
)

var errDamaged = fault.New(fault.StoreDamaged, "a stored PIN hash is not a valid Argon2id string; restore the store from a backup or set the PIN anew")

// String returns the PHC string.
func (h hash) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.sum))
}

func parse(phc string) (hash, error) {
	var h hash
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, errDamaged
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return h, errDamaged
	}
	memory, ok1 := number(costs[0], "m=", maxMemory)
	passes, ok2 := number(costs[1], "t=", maxPasses)
	lanes, ok3 := number(costs[2], "p=", maxLanes)
	salt, ok4 := decode(parts[4], 8)
	sum, ok5 := decode(parts[5], 16)
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || memory < 8*lanes {
		return h, errDamaged
	}
	return hash{cost: cost{memory, passes, uint8(lanes)}, salt: salt, sum: sum}, nil
}

// number reads "m=19456": decimal digits without a sign or leading zeros, from 1 to most.
func number(field, prefix string, most uint32) (uint32, bool) {
	digits, ok := strings.CutPrefix(field, prefix)
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n <= uint64(most)
}

func decode(field string, least int) ([]byte, bool) {
	b, err := base64.RawStdEncoding.Strict().DecodeString(field)
	return b, err == nil && len(b) >= least && len(b) <= maxPart && !strings.ContainsAny(field, "\r\n")
}
