package diagnosis

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUserWay(t *testing.T) {
	top := t.TempDir()
	for d := top; d != "/"; d = filepath.Dir(d) {
		if is, err := os.Stat(d); err == nil && is.Mode().Perm()&0o005 != 0o005 {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	inner := filepath.Join(top, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(inner, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	stranger := User{UID: 54321, Name: "stranger"}
	for _, test := range []struct {
		directory, socket os.FileMode
		want              string
	}{
		{0o755, 0o666, ""},
		{0o755, 0o600, "stranger may not write to " + socket},
		{0o700, 0o666, "stranger may not pass " + inner},
	} {
		if err := os.Chmod(socket, test.socket); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(inner, test.directory); err != nil {
			t.Fatal(err)
		}
		err := stranger.CanConnect(socket)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%o, %o: %v", test.directory, test.socket, err)
		}
		if err := NewUser(0).CanConnect(socket); err != nil {
			t.Errorf("root: %v", err)
		}
	}
	if err := NewUser(0).CanConnect(filepath.Join(top, "inner")); err == nil {
		t.Error("a directory is taken for a socket")
	}
}

func TestModule(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.so")
	if err := os.WriteFile(text, []byte("this is no ELF file at all, but long enough"), 0o644); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/none.so":  "no such file",
		text:        "no ELF file",
		executable:  "no shared library",
		"/dev/null": "no ELF file",
	} {
		if f := Module(path); f.Result != Problem || !strings.Contains(f.Detail, want) || f.Step == "" {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if f := Module("/usr/lib/softhsm/libsofthsm2.so"); f.Result != OK {
		t.Errorf("SoftHSM's module: %+v", f)
	}
}
