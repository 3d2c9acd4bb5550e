package target

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Root is the top of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Page returns the first block of a language on a page of docs/applications, so that what a user copies from there is
// what the test runs.
func Page(t testing.TB, page, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(), "docs", "applications", page))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "```"+language+"\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return block
}

// Replace puts a test's values in the place of a page's; each must be there.
func Replace(t testing.TB, text string, replacements map[string]string) string {
	t.Helper()
	for old, replacement := range replacements {
		if !strings.Contains(text, old) {
			t.Fatalf("the page has no %q to replace", old)
		}
		text = strings.ReplaceAll(text, old, replacement)
	}
	return text
}
