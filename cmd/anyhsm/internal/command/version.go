package command

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/internal/version"
	"github.com/anyhsm/anyhsm/internal/wire"
)

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Long: "Print the version of this program; anyhsm status prints the daemon's.",
		Example: "  anyhsm version\n  anyhsm version --json",
		Args:    arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			view := struct {
				Version  string `json:"version"`
				Protocol string `json:"protocol"`
				Go       string `json:"go"`
			}{version.Version, wire.Protocol, runtime.Version()}
			return c.show(view, func(w io.Writer) {
				fmt.Fprintf(w, "anyhsm %s (protocol %s, %s)\n", view.Version, view.Protocol, view.Go)
			})
		},
	}
}

func (c *cli) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	command := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for a shell",
		Long:  "Print the completion script for bash, zsh, fish or powershell.",
		Example: `  source <(anyhsm completion bash)
  anyhsm completion bash > /etc/bash_completion.d/anyhsm
  anyhsm completion fish > ~/.config/fish/completions/anyhsm.fish`,
		Args:      arguments(1, 1, "SHELL"),
		ValidArgs: shells,
	}
	command.RunE = func(command *cobra.Command, args []string) error {
		root := command.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(c.Out, true)
		case "zsh":
			return root.GenZshCompletion(c.Out)
		case "fish":
			return root.GenFishCompletion(c.Out, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(c.Out)
		}
		return usage(command, "no completion for %q; there are bash, zsh, fish and powershell", args[0])
	}
	return command
}
