package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDefaults(t *testing.T) {
	c, err := Parse(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if c.Login.MaxFailed != 10 || time.Duration(c.Login.TicketLifetime) != 12*time.Hour || c.Audit.Strict {
		t.Errorf("unexpected defaults: %+v", c)
	}
	if len(c.Providers) != 1 || c.Providers[0].Name != Software {
		t.Errorf("the software provider is missing: %+v", c.Providers)
	}
	if len(c.Admins) == 0 || c.Admins[0] != "uid:0" {
		t.Errorf("admins = %v, want root", c.Admins)
	}
}

func TestDirectories(t *testing.T) {
	t.Setenv("HOME", "/home/u")
	for _, test := range []struct {
		name, state, runtime string
		uid                  int
		wantState, want      string
	}{
		{"root ignores the session", "/s", "/r", 0, "/var/lib/anyhsm", "/run/anyhsm/anyhsmd.sock"},
		{"user with a session", "/s", "/r", 7, "/s/anyhsm", "/r/anyhsm/anyhsmd.sock"},
		{"user without one", "", "", 7, "/home/u/.local/state/anyhsm", "/home/u/.local/state/anyhsm/anyhsmd.sock"},
		{"relative paths do not count", "s", "r", 7, "/home/u/.local/state/anyhsm", "/home/u/.local/state/anyhsm/anyhsmd.sock"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", test.state)
			t.Setenv("XDG_RUNTIME_DIR", test.runtime)
			state, socket := directories(test.uid)
			if state != test.wantState || socket != test.want {
				t.Errorf("directories = %s, %s; want %s, %s", state, socket, test.wantState, test.want)
			}
		})
	}
}

const full = `
store = "sqlite:/var/lib/anyhsm/anyhsm.db"
admins = ["uid:0", "cert:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"]
[listen]
unix = "/run/anyhsm/anyhsmd.sock"
tcp = "0.0.0.0:7512"
advertise = ["hsm.example.org", "192.0.2.1"]
metrics = "127.0.0.1:9512"
[root_key]
passphrase = "env:ROOT"
[audit]
strict = true
[login]
max_failed = 3
ticket_lifetime = "90m"
[log]
level = "debug"
format = "json"
[[provider]]
name = "softhsm"
kind = "hsm"
library = "/usr/lib/softhsm/libsofthsm2.so"
token = "anyhsm"
pin = "file:/etc/anyhsm/softhsm.pin"
`

func TestFullAndBack(t *testing.T) {
	c, err := Parse([]byte(full), "anyhsmd.toml")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.StorePath(); got != "/var/lib/anyhsm/anyhsm.db" {
		t.Errorf("StorePath = %q", got)
	}
	if len(c.Providers) != 2 || c.Providers[1].Sessions != 16 || c.RootKey.File != "" {
		t.Errorf("providers = %+v, root key = %+v", c.Providers, c.RootKey)
	}
	// What --check-config prints is a configuration that means the same, with the references unresolved.
	shown := c.String()
	for _, want := range []string{"file:/etc/anyhsm/softhsm.pin", "env:ROOT", "1h30m0s"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the effective configuration lacks %q:\n%s", want, shown)
		}
	}
	again, err := Parse([]byte(shown), "anyhsmd.toml")
	if err != nil {
		t.Fatalf("the effective configuration cannot be read: %v\n%s", err, shown)
	}
	if again.String() != shown {
		t.Errorf("the configuration changed on the way:\n%s\n%s", shown, again.String())
	}
}

func TestWrong(t *testing.T) {
	provider := func(lines string) string { return "[[provider]]\n" + lines }
	for _, test := range []struct{ name, text, want string }{
		{"unknown key", "store = \"/a\"\ncolour = 1", `line 2: unknown key "colour"`},
		{"unknown key in a table", "[listen]\nunix = \"/a\"\nport = 1", `line 3: unknown key "listen.port"`},
		{"unknown key in a provider", provider("name = \"a\"\nkind = \"software\"\nregion = \"x\""), `line 4: unknown key "provider.region"`},
		{"two unknown keys", "a = 1\nb = 2", "line 2: unknown key \"b\""},
		{"wrong type", "[login]\nmax_failed = \"ten\"", "line 2: login.max_failed"},
		{"syntax", "store = ", "line 1"},
		{"given twice", "store = \"/a\"\nstore = \"/b\"", "line 2"},
		{"not UTF-8", "store = \"/\xff\"", "line 1"},
		{"duration", "[login]\nticket_lifetime = \"soon\"", `"soon" is no duration`},
		{"short ticket", "[login]\nticket_lifetime = \"1s\"", "login.ticket_lifetime"},
		{"no tries", "[login]\nmax_failed = 0", "login.max_failed"},
		{"relative store", `store = "anyhsm.db"`, "no absolute path"},
		{"another database", `store = "mysql://x"`, `"mysql" is not supported`},
		{"admin by name", `admins = ["root"]`, `"root" is no identity`},
		{"admin with zeros", `admins = ["uid:007"]`, "is no identity"},
		{"nobody could reach it", "[listen]\nunix = \"\"", "nobody could reach the daemon"},
		{"relative socket", "[listen]\nunix = \"a.sock\"", "listen.unix"},
		{"long socket", "[listen]\nunix = \"/" + strings.Repeat("a", 107) + "\"", "at most 107"},
		{"no port", "[listen]\ntcp = \"localhost\"", "listen.tcp"},
		{"port out of range", "[listen]\ntcp = \":70000\"", "no port number"},
		{"metrics", "[listen]\nmetrics = \"::9\"", "listen.metrics"},
		{"advertise with port", "[listen]\nadvertise = [\"a:1\"]", "listen.advertise"},
		{"two root keys", "[root_key]\nfile = \"/a\"\npassphrase = \"env:A\"", "both file and passphrase"},
		{"level", "[log]\nlevel = \"loud\"", "log.level"},
		{"format", "[log]\nformat = \"xml\"", "log.format"},
		{"name", provider("name = \"A B\"\nkind = \"software\""), "is no name"},
		{"no kind", provider("name = \"a\""), "kind is missing"},
		{"name twice", provider("name = \"a\"\nkind = \"software\"\n") + provider("name = \"a\"\nkind = \"software\""), "given twice"},
		{"the embedded one is another", provider("name = \"software\"\nkind = \"hsm\"\nlibrary = \"/l\"\ntoken = \"t\""), "belongs to the embedded provider"},
		{"library for software", provider("name = \"a\"\nkind = \"software\"\nlibrary = \"/l\""), "library means nothing"},
		{"no library", provider("name = \"a\"\nkind = \"hsm\"\ntoken = \"t\""), "absolute path of a PKCS#11 library"},
		{"no token", provider("name = \"a\"\nkind = \"hsm\"\nlibrary = \"/l\""), "exactly one of token, serial and slot"},
		{"token and slot", provider("name = \"a\"\nkind = \"hsm\"\nlibrary = \"/l\"\ntoken = \"t\"\nslot = 0"), "exactly one of"},
		{"user type", provider("name = \"a\"\nkind = \"hsm\"\nlibrary = \"/l\"\ntoken = \"t\"\nuser_type = 2"), "user_type = 2"},
		{"init args", provider("name = \"a\"\nkind = \"hsm\"\nlibrary = \"/l\"\ntoken = \"t\"\ninit_args = \"a\\u0000b\""), "init_args"},
		{"init args elsewhere", provider("name = \"a\"\nkind = \"software\"\ninit_args = \"a\""), "init_args means nothing"},
		{"sessions", provider("name = \"a\"\nkind = \"hsm\"\nlibrary = \"/l\"\ntoken = \"t\"\nsessions = -1"), "sessions = -1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.text), "anyhsmd.toml")
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want one with %q", err, test.want)
			}
			if !strings.HasPrefix(err.Error(), "anyhsmd.toml: ") {
				t.Errorf("the error does not name the file: %v", err)
			}
		})
	}
}

func TestSecretsAreReferences(t *testing.T) {
	for _, value := range []string{"hunter2-1234", "pass:hunter2-1234", "file:", "file:hunter2-1234", "env:", "env:A=hunter2-1234"} {
		_, err := Parse([]byte("[root_key]\npassphrase = \""+value+"\""), "f")
		if err == nil {
			t.Errorf("%q was accepted", value)
		} else if strings.Contains(err.Error(), "hunter2") && !strings.HasPrefix(value, "file:") {
			t.Errorf("the error repeats what may be the secret: %v", err)
		}
	}
}

func TestReadSecret(t *testing.T) {
	directory := t.TempDir()
	write := func(name, content string, mode os.FileMode) Secret {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return Secret("file:" + path)
	}
	t.Setenv("ANYHSM_TEST_SECRET", "from the environment")
	t.Setenv("ANYHSM_TEST_EMPTY", "")
	for _, test := range []struct {
		name   string
		secret Secret
		want   string // the secret, or "" for an error
		err    string
	}{
		{"file", write("a", "1234\n", 0o600), "1234", ""},
		{"only one line break goes", write("b", "1234 \n\n", 0o640), "1234 \n", ""},
		{"Windows line break", write("c", "1234\r\n", 0o600), "1234", ""},
		{"environment", "env:ANYHSM_TEST_SECRET", "from the environment", ""},
		{"readable for all", write("d", "1234", 0o644), "", "run: chmod o="},
		{"empty", write("e", "\n", 0o600), "", "the file is empty"},
		{"large", write("f", strings.Repeat("a", maxSecret+1), 0o600), "", "are no secret"},
		{"directory", Secret("file:" + directory), "", "not a regular file"},
		{"missing", Secret("file:" + directory + "/none"), "", "create the file with mode 0600"},
		{"variable not set", "env:ANYHSM_TEST_NONE", "", "is not set"},
		{"variable empty", "env:ANYHSM_TEST_EMPTY", "", "is not set"},
		{"no reference", "1234", "", "given by reference"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.secret.Read()
			if string(got) != test.want {
				t.Errorf("secret = %q, want %q", got, test.want)
			}
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("error = %v, want %q", err, test.err)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "anyhsmd.toml")
	if err := os.WriteFile(path, []byte("[login]\nmax_failed = 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ANYHSMD_CONFIG", path)
	if c, err := Load(""); err != nil || c.Login.MaxFailed != 4 || c.File != path {
		t.Errorf("from the environment: %+v, %v", c, err)
	}
	if _, err := Load(path + ".none"); err == nil || !strings.Contains(err.Error(), "there is no configuration file") {
		t.Errorf("a missing file that was asked for: %v", err)
	}
	if _, err := Load(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a directory: %v", err)
	}
}

func TestReady(t *testing.T) {
	c, err := Parse([]byte(full), "anyhsmd.toml")
	if err != nil {
		t.Fatal(err)
	}
	c.Providers[1].Library = "/nowhere/lib.so"
	c.Providers[1].PIN = "file:/nowhere/pin"
	err = c.Ready()
	if err == nil {
		t.Fatal("a configuration that points to nothing is ready")
	}
	for _, want := range []string{"root_key.passphrase", `provider "softhsm": pin`, `provider "softhsm": library`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("[[provider]]\nname=\"a\"\nkind=\"hsm\"\nslot=0"))
	f.Add([]byte("store = \"\\u0000\"\n[listen]\nunix=\"\""))
	f.Add([]byte("[login]\nticket_lifetime=\"1h\"\n[listen]\nadvertise=[\"::1\"]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text, "f")
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		again, err := Parse([]byte(c.String()), "f")
		if err != nil {
			t.Fatalf("accepted, but not in the form it is shown in: %v\n%s", err, c.String())
		}
		if again.String() != c.String() {
			t.Errorf("shown differently the second time:\n%s\n%s", c, again)
		}
	})
}
