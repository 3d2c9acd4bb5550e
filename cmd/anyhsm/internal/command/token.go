package command

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/secret"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) tokenCommand() *cobra.Command {
	return group("token", "Make, list and delete tokens",
		`A token is a named, isolated set of keys and certificates with its own PINs and provider. An application's PKCS#11
module shows each token that the application may use as one slot.`,
		`  anyhsm token create web --user-pin file:/etc/anyhsm/web.pin
  anyhsm token list`,
		c.tokenCreate(), c.tokenList(), c.tokenShow(), c.tokenDelete(), c.tokenUnlock(), c.tokenRules(), c.tokenRoute(), c.tokenVerify())
}

func (c *cli) tokenCreate() *cobra.Command {
	var pins pinFlags
	var provider string
	var noLogin bool
	command := &cobra.Command{
		Use:   "create LABEL",
		Short: "Make a token",
		Long: `Make an initialised token. Its keys will live in --provider.

The user PIN is what applications give to C_Login; it is asked on the terminal unless --user-pin or --pin-file says
where it is. With --no-login the keys are usable without C_Login: the caller's identity is enough. The security
officer's PIN is needed only by applications that set PINs through PKCS#11.`,
		Example: `  anyhsm token create web
  anyhsm token create web --user-pin file:/etc/anyhsm/web.pin
  anyhsm token create vault --provider softhsm --user-pin env:WEB_PIN --so-pin prompt
  anyhsm token create ci --no-login`,
		Args: arguments(1, 1, "LABEL"),
	}
	pins.add(command, true)
	command.Flags().StringVar(&provider, "provider", "software", "`NAME` of the provider where the keys live")
	command.Flags().BoolVar(&noLogin, "no-login", false, "let applications use the keys without a PIN")
	command.RunE = func(command *cobra.Command, args []string) error {
		user, so, err := pins.references(command)
		if err != nil {
			return err
		}
		if !noLogin {
			if user, err = askIfPossible(command, user, ", or --no-login"); err != nil {
				return err
			}
		}
		request := &anyhsmv1.CreateTokenRequest{RequestId: newRequestID(), Label: args[0], Provider: provider, NoLogin: noLogin}
		if request.UserPin, err = c.newPIN(command.Context(), user, "User PIN of "+args[0]); err != nil {
			return err
		}
		if request.SoPin, err = c.newPIN(command.Context(), so, "SO PIN of "+args[0]); err != nil {
			return err
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).CreateToken(ctx, request)
			if err != nil {
				return err
			}
			view := viewToken(response.GetToken())
			return c.show(view, func(w io.Writer) {
				fmt.Fprintf(w, "Created token %s (slot %d, provider %s).\n", clean(view.Label), view.Slot, clean(view.Provider))
				fmt.Fprintf(w, "Next: anyhsm key create LABEL --token %s; anyhsm app add NAME --user USER --grant %[1]s\n", word(view.Label))
			})
		})
	}
	return command
}

func (c *cli) tokenList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List tokens", Long: "List all tokens of the daemon.",
		Example: "  anyhsm token list\n  anyhsm token list --json",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).ListTokens(ctx, &anyhsmv1.ListTokensRequest{})
				if err != nil {
					return err
				}
				views := make([]tokenView, 0, len(response.GetTokens()))
				for _, token := range response.GetTokens() {
					views = append(views, viewToken(token))
				}
				return c.show(views, func(w io.Writer) { tokenTable(w, views) })
			})
		},
	}
}

func tokenTable(w io.Writer, views []tokenView) {
	if len(views) == 0 {
		fmt.Fprintln(w, "No tokens. Make one: anyhsm token create LABEL")
		return
	}
	rows := make([][]string, 0, len(views))
	for _, v := range views {
		rows = append(rows, []string{
			v.Label, strconv.FormatUint(v.Slot, 10), v.Provider, strconv.FormatUint(v.Objects, 10), v.login(), v.SerialNumber, local(v.Created),
		})
	}
	table(w, []string{"TOKEN", "SLOT", "PROVIDER", "OBJECTS", "LOGIN", "SERIAL", "CREATED"}, rows)
}

func local(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func (c *cli) tokenShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TOKEN", Short: "Show one token", Long: "Show one token, named by its label or uid.",
		Example: "  anyhsm token show web",
		Args:    arguments(1, 1, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).GetToken(ctx, &anyhsmv1.GetTokenRequest{Token: args[0]})
				if err != nil {
					return err
				}
				return c.showToken(viewToken(response.GetToken()))
			})
		},
	}
}

func (c *cli) showToken(v tokenView) error {
	return c.show(v, func(w io.Writer) {
		fields(w, "Token", v.Label, "UID", v.UID, "Slot", strconv.FormatUint(v.Slot, 10), "Provider", v.Provider,
			"Serial number", v.SerialNumber, "Model", v.Model, "Objects", strconv.FormatUint(v.Objects, 10),
			"Login", v.login(), "Created", local(v.Created), "PKCS#11 URI", "pkcs11:token="+uriEscape(v.Label))
	})
}

func (c *cli) tokenDelete() *cobra.Command {
	var force, leave, yes bool
	command := &cobra.Command{
		Use:   "delete TOKEN",
		Short: "Delete a token",
		Long: `Delete a token. One that has keys or certificates in it is deleted only with --force, together with them: keys of
the provider software are gone for ever. Without --yes the terminal asks. While one of the providers is away nothing is deleted, unless
--leave-behind says that keys may stay there.`,
		Example: `  anyhsm token delete old --yes
  anyhsm token delete old --force
  anyhsm token delete old --force --leave-behind`,
		Args: arguments(1, 1, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			question := "Delete token " + clean(args[0])
			if force {
				question += " with all its keys"
			}
			if err := c.confirm(command, yes, question+"?"); err != nil {
				return err
			}
			request := &anyhsmv1.DeleteTokenRequest{RequestId: newRequestID(), Token: args[0], Force: force, LeaveBehind: leave}
			return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).DeleteToken(ctx, request)
				if err != nil {
					return err
				}
				view := struct {
					Token   string     `json:"token"`
					Objects uint64     `json:"objects_destroyed"`
					Left    []leftView `json:"left_behind,omitempty"`
				}{args[0], response.GetObjectsDestroyed(), viewLeft(response.GetLeft())}
				return c.show(view, func(w io.Writer) {
					fmt.Fprintf(w, "Deleted token %s and %s in it.\n", clean(view.Token), count(view.Objects, "object"))
					leftTable(w, view.Left)
				})
			})
		},
	}
	command.Flags().BoolVar(&force, "force", false, "delete the keys and certificates in it as well")
	leaveFlag(command, &leave)
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

func (c *cli) tokenUnlock() *cobra.Command {
	var pins pinFlags
	command := &cobra.Command{
		Use:   "unlock TOKEN",
		Short: "Unlock a token whose PIN was wrong too often",
		Long:  "Set the tries of a token's PINs back and, with --user-pin or --pin-file, give it a new user PIN.",
		Example: `  anyhsm token unlock web
  anyhsm token unlock web --user-pin prompt`,
		Args: arguments(1, 1, "TOKEN"),
	}
	pins.add(command, false)
	command.RunE = func(command *cobra.Command, args []string) error {
		var user secret.Reference
		user, _, err := pins.references(command)
		if err != nil {
			return err
		}
		request := &anyhsmv1.UnlockTokenRequest{RequestId: newRequestID(), Token: args[0]}
		if request.UserPin, err = c.newPIN(command.Context(), user, "New user PIN of "+args[0]); err != nil {
			return err
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).UnlockToken(ctx, request)
			if err != nil {
				return err
			}
			view := viewToken(response.GetToken())
			return c.show(view, func(w io.Writer) { fmt.Fprintf(w, "Unlocked token %s.\n", clean(view.Label)) })
		})
	}
	return command
}
