package grpcwire

import (
	"errors"
	"strconv"
	"time"
)

// timeoutDigits is how many digits gRPC allows in a timeout.
const timeoutDigits = 8

var timeoutUnits = []struct {
	letter byte
	unit   time.Duration
}{
	{'n', time.Nanosecond},
	{'u', time.Microsecond},
	{'m', time.Millisecond},
	{'S', time.Second},
	{'M', time.Minute},
	{'H', time.Hour},
}

// appendTimeout appends the field of a timeout, in the finest unit that has room for it, rounded up.
func appendTimeout(b []byte, d time.Duration) []byte {
	b = append(append(b, timeoutName...), 0)
	start := len(b)
	b = formatTimeout(b, d)
	b[start-1] = byte(len(b) - start)
	return b
}

func formatTimeout(b []byte, d time.Duration) []byte {
	if d <= 0 {
		return append(b, "0n"...)
	}
	for _, u := range timeoutUnits {
		count := int64(d / u.unit)
		if d%u.unit > 0 {
			count++
		}
		if count < 100_000_000 {
			return append(strconv.AppendInt(b, count, 10), u.letter)
		}
	}
	return append(b, "99999999H"...)
}

// parseTimeout reads a timeout. One that is longer than Go can count is as long as Go can count.
func parseTimeout(s string) (time.Duration, error) {
	if len(s) < 2 || len(s) > timeoutDigits+1 {
		return 0, errors.New("a timeout has one to eight digits and a unit")
	}
	count, err := strconv.ParseUint(s[:len(s)-1], 10, 63)
	if err != nil {
		return 0, errors.New("a timeout has one to eight digits and a unit")
	}
	for _, u := range timeoutUnits {
		if u.letter != s[len(s)-1] {
			continue
		}
		if const63 := uint64(1<<63 - 1); count > const63/uint64(u.unit) {
			return time.Duration(const63), nil
		}
		return time.Duration(count) * u.unit, nil
	}
	return 0, errors.New("a timeout's unit is one of H, M, S, m, u and n")
}
