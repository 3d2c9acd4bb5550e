package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/secret"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
)

// pinFlags are the flags by which a command gets PINs.
type pinFlags struct{ user, so, file string }

func (p *pinFlags) add(command *cobra.Command, withSO bool) {
	command.Flags().StringVar(&p.user, "user-pin", "", "where the user PIN is: `REF` is "+secret.Forms)
	command.Flags().StringVar(&p.file, "pin-file", "", "`FILE` with the user PIN; the same as --user-pin file:FILE")
	command.MarkFlagsMutuallyExclusive("user-pin", "pin-file")
	if withSO {
		command.Flags().StringVar(&p.so, "so-pin", "", "where the security officer's PIN is: `REF`, as for --user-pin")
	}
}

// references reads the flags and says which is wrong.
func (p *pinFlags) references(command *cobra.Command) (user, so secret.Reference, err error) {
	if p.file != "" {
		p.user = "file:" + p.file
	}
	if user, err = secret.Parse(p.user); err != nil {
		return user, so, usage(command, "--user-pin: %w", err)
	}
	if so, err = secret.Parse(p.so); err != nil {
		return user, so, usage(command, "--so-pin: %w", err)
	}
	return user, so, nil
}

// newPIN reads a PIN that is being set; nil if it is not given.
func (c *cli) newPIN(ctx context.Context, reference secret.Reference, what string) ([]byte, error) {
	if !reference.Given() {
		return nil, nil
	}
	return reference.Read(ctx, c.In, what, true)
}

// askIfPossible is the reference of a secret that nobody named: the terminal, if there is one.
func askIfPossible(command *cobra.Command, reference secret.Reference, instead string) (secret.Reference, error) {
	if reference.Given() {
		return reference, nil
	}
	if !terminal.Available() {
		return reference, usage(command, "no PIN is given and there is no terminal to ask on; give --user-pin with %s%s",
			secret.Forms, instead)
	}
	return secret.Parse("prompt")
}

// confirm asks before something is destroyed, unless the command line says yes already.
func (c *cli) confirm(command *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	if !terminal.Available() {
		return usage(command, "this cannot be undone and there is no terminal to ask on; give --yes")
	}
	sure, err := terminal.Confirm(command.Context(), question)
	if err == nil && !sure {
		err = &reported{"not confirmed"}
	}
	return err
}
