package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/layout"
)

func (c *cli) initCommand() *cobra.Command {
	var dir string
	var user bool
	command := &cobra.Command{
		Use:   "init",
		Short: "Write the configuration of a new daemon",
		Long: `Write a commented configuration of a new daemon (anyhsmd.toml) and of the PKCS#11 module (module.toml), and make the
directories that they name. Root gets /etc/anyhsm, /var/lib/anyhsm and /run/anyhsm; --user, and any other user, gets
directories below the home directory; --dir puts everything into one directory. What is there already stays as it is.`,
		Example: `  anyhsm init
  anyhsm init --user
  anyhsm init --dir ~/anyhsm`,
		Args: arguments(0, 0),
	}
	command.Flags().StringVar(&dir, "dir", "", "put everything into `DIR`")
	command.Flags().BoolVar(&user, "user", false, "a daemon of this user, below the home directory")
	command.MarkFlagsMutuallyExclusive("dir", "user")
	command.RunE = func(command *cobra.Command, _ []string) error {
		place, err := choose(dir, user)
		if err != nil {
			return err
		}
		made, kept, err := place.Make()
		if err != nil {
			return err
		}
		return c.showInit(place, made, kept)
	}
	return command
}

func choose(dir string, user bool) (layout.Layout, error) {
	if dir != "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return layout.Layout{}, err
		}
		return layout.Directory(absolute), nil
	}
	if user || os.Geteuid() != 0 {
		home, err := os.UserHomeDir()
		if err != nil || !filepath.IsAbs(home) {
			return layout.Layout{}, errors.New("there is no home directory (HOME is not set); give --dir DIR")
		}
		return layout.User(home, os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("XDG_STATE_HOME")), nil
	}
	return layout.System(), nil
}

func (c *cli) showInit(place layout.Layout, made, kept []string) error {
	view := struct {
		Created      []string `json:"created"`
		Kept         []string `json:"kept"`
		DaemonConfig string   `json:"daemon_config"`
		ModuleConfig string   `json:"module_config"`
		Socket       string   `json:"socket"`
		Start        string   `json:"start"`
	}{list(made), list(kept), place.DaemonConfig, place.ModuleConfig, place.Socket, "anyhsmd --config " + word(place.DaemonConfig)}
	return c.show(view, func(w io.Writer) {
		if len(made) == 0 {
			fmt.Fprintf(w, "Nothing to do: %s and %s are there already and stay as they are.\n", place.DaemonConfig, place.ModuleConfig)
		}
		for _, path := range made {
			fmt.Fprintf(w, "Created %s\n", path)
		}
		if len(made) > 0 {
			for _, path := range kept {
				fmt.Fprintf(w, "Kept    %s\n", path)
			}
		}
		fmt.Fprintf(w, "\nStart the daemon:     %s\n", view.Start)
		fmt.Fprintf(w, "Then make a token:    anyhsm token create LABEL%s\n", socketFlag(place))
		fmt.Fprintf(w, "Applications need:    %s\n", moduleHint(place))
	})
}

// socketFlag is what a command needs to find a daemon that is not where commands look by themselves.
func socketFlag(place layout.Layout) string {
	if place.Found {
		return ""
	}
	return " --socket " + word(place.Socket)
}

func moduleHint(place layout.Layout) string {
	if place.Found {
		return "nothing more; the module finds " + place.ModuleConfig
	}
	return "ANYHSM_CONFIG=" + word(place.ModuleConfig)
}
