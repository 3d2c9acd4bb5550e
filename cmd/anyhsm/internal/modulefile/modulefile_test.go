package modulefile

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

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
	place := Place{Home: dir, RuntimeDir: filepath.Join(dir, "run")}
	if got := place.DefaultSocket(); got != SystemSocket {
		t.Errorf("without anything: %s", got)
	}
	write(t, filepath.Join(place.RuntimeDir, "anyhsm", "anyhsmd.sock"), "")
	if got := place.DefaultSocket(); got != filepath.Join(place.RuntimeDir, "anyhsm", "anyhsmd.sock") {
		t.Errorf("with a socket of the user: %s", got)
	}
	write(t, place.UserPath(), `endpoints = ["unix:///user"]`)
	found, err := place.Find()
	if err != nil || found.Path != place.UserPath() || found.Config.Endpoints[0] != "unix:///user" {
		t.Errorf("%+v, %v", found, err)
	}
	hidden := place
	hidden.Unreadable = func(string) bool { return true }
	if found, err := hidden.Find(); err != nil || found.Path == place.UserPath() {
		t.Errorf("a file that the user may not read is taken: %+v, %v", found, err)
	}
	place.Config = filepath.Join(dir, "named.toml")
	if _, err := place.Find(); err == nil {
		t.Error("a missing ANYHSM_CONFIG is no error")
	}
	write(t, place.Config, "timeout = \"5s\"")
	found, err = place.Find()
	if err != nil || found.Path != place.Config || found.Config.Endpoints[0] != "unix://"+place.DefaultSocket() {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestParse(t *testing.T) {
	const tcp = "endpoints = [\"tcp://host:7512\"]\n[tls]\ncertificate = \"a\"\nkey = \"b\"\n"
	for _, test := range []struct{ text, want string }{
		{`endpoints = ["unix:///run/x"]`, ""},
		{tcp + "ca = \"c\"", ""},
		{tcp, "tcp://host:7512 needs [tls] ca; get one with anyhsm enroll"},
		{"endpoints = [\"unix:///a\"]\nendpoint = 1", `line 2: unknown key "endpoint"`},
		{"[log]\nlvl = 1", `line 2: unknown key "log.lvl"`},
		{"[log]\nlevel = \"loud\"", `log.level = "loud" is unknown`},
		{`endpoints = ["http://a"]`, "is neither unix:///PATH nor tcp://HOST:PORT"},
		{`endpoints = ["unix://a"]`, "is neither unix:///PATH nor tcp://HOST:PORT"},
		{`timeout = "soon"`, `timeout = "soon" is no duration`},
		{`timeout = "-1s"`, "is no duration"},
		{"endpoints = [", "line 1"},
	} {
		_, err := Parse([]byte(test.text))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v", test.text, err)
		}
	}
}

func TestTextIsRead(t *testing.T) {
	for _, want := range []Config{
		{Endpoints: []string{"unix:///a b/ö.sock"}, Timeout: "30s"},
		{Endpoints: []string{"tcp://h:1", "unix:///x"}, Timeout: "5s", TLS: TLS{Certificate: "/c", Key: `/k"y`, CA: "/a"}},
	} {
		got, err := Parse([]byte(want.Text()))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v becomes %+v, %v", want, got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`endpoints = ["unix:///run/x"]`))
	f.Add([]byte("[tls]\ncertificate = \"a\"\n[log]\nlevel = \"info\"\n"))
	f.Add([]byte("endpoints = [\"tcp://h:1\"]\n[tls]\nkey = 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := Parse(text)
		if err == nil && config.Timeout != "" && !strings.ContainsAny(config.Timeout, "0123456789") {
			t.Errorf("timeout %q is accepted", config.Timeout)
		}
	})
}
