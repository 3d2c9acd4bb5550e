package session

import (
	"bytes"
	"errors"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// TestDeliver walks the output rule: each call has a room, and says what comes out and how often the result was made
// until then.
func TestDeliver(t *testing.T) {
	type call struct {
		room  int
		input string
		n     int
		out   string
		ended bool
		rv    error
		made  int
	}
	small := error(cryptoki.CKR_BUFFER_TOO_SMALL)
	for name, test := range map[string]struct {
		size  int
		exact bool
		calls []call
	}{
		"exact": {5, true, []call{
			{Query, "a", 5, "", false, nil, 0},
			{0, "a", 5, "", false, small, 0},
			{4, "a", 5, "", false, small, 0},
			{5, "a", 5, "made!", true, nil, 1},
		}},
		"more room than needed": {5, true, []call{{100, "a", 5, "made!", true, nil, 1}}},
		"bound, fits":           {9, false, []call{{Query, "a", 9, "", false, nil, 0}, {5, "a", 5, "made!", true, nil, 1}}},
		"bound, kept": {9, false, []call{
			{4, "a", 5, "", false, small, 1},
			{Query, "a", 5, "", false, nil, 1},
			{4, "a", 5, "", false, small, 1},
			{5, "a", 5, "made!", true, nil, 1},
		}},
		"bound, kept, another input": {9, false, []call{
			{4, "a", 5, "", false, small, 1},
			{Query, "b", 9, "", false, nil, 1},
			{9, "b", 5, "made!", true, nil, 2},
		}},
		// Less came than was known exactly: a provider's mistake must not become a buffer's overrun.
		"longer than exact": {3, true, []call{{3, "a", 5, "", false, small, 1}, {5, "a", 5, "made!", true, nil, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var r result
			made := 0
			for i, c := range test.calls {
				out, n, ended, err := r.deliver(c.room, []byte(c.input), test.size, test.exact, func() ([]byte, error) {
					made++
					return []byte("made!"), nil
				})
				if string(out) != c.out || n != c.n || ended != c.ended || !errors.Is(err, c.rv) || made != c.made {
					t.Errorf("call %d: %q, n %d, ended %v, %v, made %d; want %+v", i, out, n, ended, err, made, c)
				}
			}
		})
	}
	t.Run("failure", func(t *testing.T) {
		var r result
		_, _, ended, err := r.deliver(5, nil, 5, true, func() ([]byte, error) { return nil, cryptoki.CKR_DEVICE_ERROR })
		if !ended || !errors.Is(err, cryptoki.CKR_DEVICE_ERROR) {
			t.Errorf("ended %v, %v", ended, err)
		}
	})
	t.Run("empty", func(t *testing.T) {
		var r result
		out, n, ended, err := r.deliver(0, nil, 9, false, func() ([]byte, error) { return []byte{}, nil })
		if len(out) != 0 || n != 0 || !ended || err != nil {
			t.Errorf("%x, n %d, ended %v, %v", out, n, ended, err)
		}
	})
	t.Run("a dropped result is overwritten", func(t *testing.T) {
		var r result
		_, _, _, _ = r.deliver(0, nil, 9, false, func() ([]byte, error) { return []byte("secret"), nil })
		kept := r.kept
		r.drop()
		if !bytes.Equal(kept, make([]byte, 6)) {
			t.Errorf("kept %q", kept)
		}
	})
}
