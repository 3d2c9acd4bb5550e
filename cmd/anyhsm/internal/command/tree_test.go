package command_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/command"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/reference"
)

var update = flag.Bool("update", false, "write docs/cli.md anew")

func root() *cobra.Command {
	return command.Root(command.Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
}

func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, child := range c.Commands() {
		if !child.Hidden {
			walk(child, visit)
		}
	}
}

// TestHelp holds each command to a short sentence, a longer text and examples that are really of that command and
// name only flags that it has.
func TestHelp(t *testing.T) {
	seen := 0
	walk(root(), func(c *cobra.Command) {
		seen++
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: the short text %q is empty or ends with a full stop", path, c.Short)
		}
		if c.Long == "" {
			t.Errorf("%s has no long text", path)
		}
		for line := range strings.SplitSeq(c.Example, "\n") {
			if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "   ") {
				t.Errorf("%s: the example %q is not indented by two spaces", path, line)
			}
			if !strings.Contains(line, path) && !(c.HasSubCommands() && strings.Contains(line, "anyhsm")) && !strings.Contains(c.Example, path) {
				t.Errorf("%s: the example %q is of another command", path, line)
			}
			checkFlags(t, c, line)
		}
		var out bytes.Buffer
		c.SetOut(&out)
		if err := c.Help(); err != nil || !strings.Contains(out.String(), "Examples:") {
			t.Errorf("%s --help shows no examples (%v)", path, err)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if len(line) > 150 {
				t.Errorf("%s --help has a line of %d bytes: %s", path, len(line), line)
			}
		}
	})
	if seen < 35 {
		t.Errorf("only %d commands were seen", seen)
	}
}

// checkFlags finds the command that an example runs and looks for each flag in it.
func checkFlags(t *testing.T, c *cobra.Command, line string) {
	_, line, found := strings.Cut(line, "anyhsm ")
	if !found {
		return
	}
	words := strings.Fields(strings.Split(line, "|")[0])
	target, _, err := c.Root().Find(words)
	if err != nil {
		t.Errorf("%s: example %q: %v", c.CommandPath(), line, err)
		return
	}
	for _, word := range words {
		name, isFlag := strings.CutPrefix(word, "--")
		if name, _, _ = strings.Cut(name, "="); isFlag && target.Flag(name) == nil && target.InheritedFlags().Lookup(name) == nil {
			t.Errorf("%s: example %q: there is no flag --%s", c.CommandPath(), line, name)
		}
	}
}

// TestFlags holds each flag to a help text that names its value.
func TestFlags(t *testing.T) {
	walk(root(), func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.CommandPath(), f.Name)
			}
			kind, _ := pflag.UnquoteUsage(f)
			if f.Value.Type() != "bool" && strings.ToUpper(kind) != kind {
				t.Errorf("%s --%s: the help does not name its value", c.CommandPath(), f.Name)
			}
		})
	})
}

// TestReference fails when docs/cli.md is not what the command tree says: go test ./cmd/anyhsm/... -update writes it.
func TestReference(t *testing.T) {
	path := filepath.Join("..", "..", "..", "..", "docs", "cli.md")
	want := reference.Markdown(root())
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("docs/cli.md is stale; write it anew: go test ./cmd/anyhsm/internal/command -run TestReference -update")
	}
}
