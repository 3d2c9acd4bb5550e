// Package reference writes the command tree as a page of Markdown: docs/cli.md.
package reference

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Markdown returns the page of a command tree.
func Markdown(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Generated from the command tree. Write it anew: go test ./cmd/anyhsm/internal/command -run TestReference -update -->\n\n", root.Name())
	fmt.Fprintf(&b, "%s\n\n%s", plain(root.Long), code(root.Example))
	section(&b, "Flags of every command", root.PersistentFlags())
	b.WriteString("| command | |\n|---|---|\n")
	each(root, func(c *cobra.Command) {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
	})
	each(root, func(c *cobra.Command) {
		fmt.Fprintf(&b, "\n## %s\n\n%s", c.CommandPath(), plain(c.Long)+"\n\n")
		if c.Runnable() && !c.HasSubCommands() {
			b.WriteString(code("  " + c.UseLine()))
		}
		b.WriteString(code(c.Example))
		section(&b, "Flags", c.NonInheritedFlags())
	})
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func each(parent *cobra.Command, visit func(*cobra.Command)) {
	for _, c := range parent.Commands() {
		if !c.Hidden {
			visit(c)
			each(c, visit)
		}
	}
}

// plain keeps placeholders such as <FILE> and the words between bars from being read as Markdown.
func plain(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", "\\*", "_", "\\_").Replace(strings.TrimSpace(text))
}

func code(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return "```\n" + strings.Join(lines, "\n") + "\n```\n\n"
}

func section(b *strings.Builder, title string, flags *pflag.FlagSet) {
	var rows []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if value != "" {
			name += " " + value
		}
		if d := f.DefValue; d != "" && d != "false" && d != "[]" && d != "0s" {
			usage += " (default " + strings.Trim(d, "[]") + ")"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |", name, strings.ReplaceAll(plain(usage), "|", "\\|")))
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "%s:\n\n| flag | |\n|---|---|\n%s\n\n", title, strings.Join(rows, "\n"))
	}
}
