package layout

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUser(t *testing.T) {
	for _, test := range []struct{ runtime, state, wantState, wantSocket string }{
		{"", "", "/home/a/.local/state/anyhsm", "/home/a/.local/state/anyhsm/anyhsmd.sock"},
		{"/run/user/1", "", "/home/a/.local/state/anyhsm", "/run/user/1/anyhsm/anyhsmd.sock"},
		{"", "/s", "/s/anyhsm", "/s/anyhsm/anyhsmd.sock"},
	} {
		l := User("/home/a", test.runtime, test.state)
		if l.State != test.wantState || l.Socket != test.wantSocket {
			t.Errorf("%+v: %+v", test, l)
		}
	}
}

func TestMake(t *testing.T) {
	l := Directory(filepath.Join(t.TempDir(), "d"))
	made, kept, err := l.Make()
	if err != nil || len(made) != 4 || len(kept) != 0 {
		t.Fatalf("%v, %v, %v", made, kept, err)
	}
	if is, err := os.Stat(l.State); err != nil || is.Mode().Perm() != 0o700 {
		t.Errorf("state: %v, %v", is, err)
	}
	made, kept, err = l.Make()
	if err != nil || len(made) != 0 || len(kept) != 4 {
		t.Errorf("again: %v, %v, %v", made, kept, err)
	}
}

func TestImpossible(t *testing.T) {
	for _, dir := range []string{"/" + strings.Repeat("x", 100), "/tmp/a\nb"} {
		if made, _, err := Directory(dir).Make(); err == nil {
			t.Errorf("%q: made %v", dir, made)
		}
	}
}
