package price

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBuiltIn(t *testing.T) {
	list := BuiltIn()
	for _, test := range []struct {
		kind, key    string
		hardware     bool
		month, calls float64
	}{
		{"awskms", "rsa:2048", true, 1, 0.03},
		{"awskms", "rsa:3072", true, 1, 0.15},
		{"awskms", "ec:p256", true, 1, 0.15},
		{"awskms", "hmac:256", true, 1, 0.03},
		{"gcpkms", "ec:p256", false, 0.06, 0.03},
		{"gcpkms", "rsa:2048", true, 1, 0.03},
		{"gcpkms", "rsa:4096", true, 2.5, 0.15},
		{"azurekv", "ec:p256", false, 0, 0.15},
	} {
		row, ok := list.Find(test.kind, test.key, test.hardware)
		if !ok || row.Month != test.month || row.Calls != test.calls {
			t.Errorf("%s %s: %+v, %t", test.kind, test.key, row, ok)
		}
	}
	if _, ok := list.Find("hsm", "rsa:2048", true); ok {
		t.Error("an HSM of one's own has a price")
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.toml")
	load := func(text string) (List, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load(file)
	}
	head := "date = \"2027-01-02\"\ncurrency = \"EUR\"\n"
	list, err := load(head + "[[price]]\nkind = \"hsm\"\nkeys = [\"*\"]\nmonth = 7\n")
	if row, ok := list.Find("hsm", "ec:p256", true); err != nil || list.File != file || !ok || row.Month != 7 {
		t.Errorf("%+v, %v", list, err)
	}
	for text, want := range map[string]string{
		"": "date", "date = \"soon\"": "no date", "date = \"2027-01-02\"": "currency", head + "prize = 1": "prize",
		head + "[[price]]\nkind = \"hsm\"": "no keys", head + "[[price]]\nkind = \"hsm\"\nkeys = [\"[\"]": "no type of key",
		head + "[[price]]\nkind = \"hsm\"\nkeys = [\"*\"]\ncalls = -1": "negative", head + "[[price]]\nkind = \"hsm\"\nkeys = [\"*\"]\ncalls = nan": "negative",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %q: %v", text, want, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "prices") {
		t.Errorf("no file: %v", err)
	}
}

// TestPage loads the example of docs/configuration.md.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(page), "```toml\ndate = ")
	example, _, closed := strings.Cut(example, "```")
	if !found || !closed {
		t.Fatal("the page has no example of prices")
	}
	list, err := parse([]byte("date = " + example))
	if row, ok := list.Find("gcpkms", "hmac:256", true); err != nil || !ok || row.Month != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}
