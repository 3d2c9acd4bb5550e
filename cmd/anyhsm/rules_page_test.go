package main

import (
	"os"
	"strings"
	"testing"
)

// TestRulesPage: the rules that docs/configuration.md shows are those that the script sets.
func TestRulesPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("testdata/script/daemon-route.txtar")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```toml rules\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed || !strings.Contains(string(script), "-- rules.toml --\n"+block) {
		t.Error("docs/configuration.md shows other rules than testdata/script/daemon-route.txtar sets")
	}
}
