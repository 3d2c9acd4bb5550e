package config

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// testHost is a host with a home, a system file and a runtime directory of its own.
func testHost(t *testing.T, environment map[string]string) (h host, home, system, runtime string) {
	t.Helper()
	dir := t.TempDir()
	home, system, runtime = filepath.Join(dir, "home"), filepath.Join(dir, "etc", "module.toml"), filepath.Join(dir, "run")
	all := map[string]string{"XDG_RUNTIME_DIR": runtime, "HOME": home}
	for k, v := range environment {
		all[k] = v
	}
	h = host{
		environment: func(name string) string { return all[name] },
		system:      system,
	}
	return h, home, system, runtime
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOrder(t *testing.T) {
	dir := t.TempDir()
	named := filepath.Join(dir, "named.toml")
	write(t, named, `endpoints = ["unix:///named"]`)
	h, home, system, runtime := testHost(t, map[string]string{"ANYHSM_CONFIG": named})
	write(t, filepath.Join(home, ".config/anyhsm/module.toml"), `endpoints = ["unix:///home"]`)
	write(t, system, `endpoints = ["unix:///etc"]`)
	socket := filepath.Join(runtime, "anyhsm/anyhsmd.sock")
	write(t, socket, "")

	want := func(endpoint, reserved string) {
		t.Helper()
		c, err := h.load(reserved)
		if err != nil || len(c.Endpoints) != 1 || c.Endpoints[0] != endpoint {
			t.Errorf("endpoints %v, error %v; want %s", c.Endpoints, err, endpoint)
		}
	}
	want("unix:///reserved", "anyhsm: endpoints=unix:///reserved")
	want("unix:///named", "configdir='sql:/etc/pki/nssdb' certPrefix=''")
	want("unix:///named", "")
	h.secure = true
	want("unix:///etc", "")
	h.secure = false
	h.environment = func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": runtime, "HOME": home}[name] }
	want("unix:///home", "")
	h.environment = func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": runtime}[name] }
	want("unix:///etc", "")
	if err := os.Remove(system); err != nil {
		t.Fatal(err)
	}
	want("unix://"+socket, "")
	h.secure = true
	want("unix:///run/anyhsm/anyhsmd.sock", "")
	h.secure = false
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	want("unix:///run/anyhsm/anyhsmd.sock", "")
}

func TestFile(t *testing.T) {
	c, err := parseTOML([]byte(`
endpoints = ["unix:///a", "tcp://hsm.example:7512"]
timeout = "5s"
[tls]
certificate = "/c"
key = "/k"
ca = "/ca"
[log]
file = "/log"
level = "debug"
`), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Endpoints, []string{"unix:///a", "tcp://hsm.example:7512"}) || c.Timeout != 5*time.Second ||
		c.TLS != (TLS{"/c", "/k", "/ca"}) || c.Log != (Log{"/log", "debug"}) {
		t.Errorf("read %+v", c)
	}
}

func TestBadFiles(t *testing.T) {
	for _, test := range []struct{ text, names string }{
		{`endpoint = ["unix:///a"]`, "endpoint"},
		{"[log]\ncolour = 1", "log.colour"},
		{`timeout = "soon"`, "soon"},
		{`timeout = "-1s"`, "-1s"},
		{`endpoints = ["http://x"]`, "http://x"},
		{`endpoints = ["unix://relative"]`, "relative"},
		{`endpoints = ["tcp://host"]`, "tcp://host"},
		{`endpoints = ["tcp://host:1"]`, "tls.certificate"},
		{"[log]\nlevel = \"loud\"", "loud"},
		{`endpoints = [`, "TOML"},
	} {
		h, _, system, _ := testHost(t, nil)
		write(t, system, test.text)
		_, err := h.load("")
		if err == nil || !strings.Contains(err.Error(), test.names) || !strings.Contains(err.Error(), system) {
			t.Errorf("%s: error %v; want it to name %s and the file", test.text, err, test.names)
		}
		if fault.RV(err) != cryptoki.CKR_GENERAL_ERROR {
			t.Errorf("%s: %v", test.text, fault.RV(err))
		}
	}
}

func TestMissingNamedFile(t *testing.T) {
	h, _, _, _ := testHost(t, map[string]string{"ANYHSM_CONFIG": "/nowhere/module.toml"})
	if _, err := h.load(""); err == nil || !strings.Contains(err.Error(), "/nowhere/module.toml") {
		t.Errorf("error %v", err)
	}
}

func TestReserved(t *testing.T) {
	h, _, system, _ := testHost(t, nil)
	write(t, system, `endpoints = ["unix:///etc"]`+"\ntimeout = \"7s\"")
	c, err := h.load("  anyhsm: endpoints=unix:///a, unix:///b ; timeout=5s; log.file=/l;log.level=info")
	if err != nil || !slices.Equal(c.Endpoints, []string{"unix:///a", "unix:///b"}) || c.Timeout != 5*time.Second ||
		c.Log != (Log{"/l", "info"}) {
		t.Errorf("read %+v, %v", c, err)
	}
	c, err = h.load("anyhsm: config=" + system + ";timeout=1s")
	if err != nil || c.Endpoints[0] != "unix:///etc" || c.Timeout != time.Second {
		t.Errorf("read %+v, %v", c, err)
	}
	for _, bad := range []string{
		"anyhsm: colour=red", "anyhsm: endpoints", "anyhsm: timeout=5s;timeout=6s", "anyhsm: endpoints=ftp://x",
		"anyhsm: timeout=x", "anyhsm: =x", "anyhsm: config=/nowhere", "anyhsm: endpoints=tcp://h:1",
	} {
		if _, err := h.load(bad); fault.RV(err) != cryptoki.CKR_ARGUMENTS_BAD {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestSecureVector(t *testing.T) {
	vector := func(words ...uint64) (b []byte) {
		for _, w := range words {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
		return b
	}
	for _, test := range []struct {
		vector []byte
		secure bool
	}{
		{vector(3, 77, 23, 1, 0, 0), true},
		{vector(3, 77, 23, 0, 0, 0), false},
		{vector(23), false},
		{nil, false},
		{[]byte{1, 2, 3}, false},
	} {
		if secureVector(test.vector) != test.secure {
			t.Errorf("%x: not %v", test.vector, test.secure)
		}
	}
	if secureExecution() {
		t.Error("a test is no set-uid host")
	}
}

func FuzzReserved(f *testing.F) {
	for _, seed := range []string{
		"", "anyhsm:", "anyhsm: endpoints=unix:///a;timeout=5s", "anyhsm: config=/x", "anyhsm:;;=;", "configdir='x'",
		"anyhsm: a=b=c;\x00", "anyhsm: endpoints=,,",
	} {
		f.Add(seed)
	}
	h := host{environment: func(string) string { return "" }, system: "/nowhere"}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "config") {
			return // Names a file of the machine that runs this.
		}
		c, ours, err := h.reserved(text)
		if !ours && err != nil {
			t.Errorf("an error (%v) for a string that is not ours", err)
		}
		if ours && err == nil && (len(c.Endpoints) == 0 || c.Timeout <= 0) {
			t.Errorf("accepted %+v", c)
		}
		if err != nil && fault.RV(err) != cryptoki.CKR_ARGUMENTS_BAD {
			t.Errorf("%v means %v", err, fault.RV(err))
		}
	})
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`endpoints = ["unix:///a"]`))
	f.Add([]byte("[tls]\nca = 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseTOML(text, "fuzz")
		if err == nil {
			_ = c.check()
		}
	})
}
