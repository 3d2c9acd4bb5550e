package secret

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, text := range []string{"", "-", "prompt", "file:/a", "env:A"} {
		r, err := Parse(text)
		if err != nil || r.Given() != (text != "") || r.UsesInput() != (text == "-") {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{"1234", "file:", "env:", "pin:1234", "FILE:x"} {
		if _, err := Parse(text); err == nil || strings.Contains(err.Error(), "1234") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("from file\r\nsecond line"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_PIN", "from environment")
	stdin := strings.NewReader("first\nsecond")
	for _, test := range []struct{ reference, want string }{
		{"file:" + file, "from file"},
		{"env:TEST_PIN", "from environment"},
		{"-", "first"},
		{"-", "second"},
	} {
		r, err := Parse(test.reference)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Read(t.Context(), stdin, "PIN", true); err != nil || string(got) != test.want {
			t.Errorf("%s gives %q, %v", test.reference, got, err)
		}
	}
	for _, reference := range []string{"-", "", "file:/none", "env:NONE_AT_ALL"} {
		r, err := Parse(reference)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Read(t.Context(), stdin, "PIN of web", false); err == nil || !strings.HasPrefix(err.Error(), "PIN of web: ") {
			t.Errorf("%q gives %q, %v", reference, got, err)
		}
	}
}
