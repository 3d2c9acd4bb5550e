package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) tokenVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify TOKEN [adopted|all|none]",
		Short: "Say which signatures are verified before they are answered",
		Long: `Say of which keys of a token the daemon verifies each signature with the public half before an application gets it:
those that were adopted (the default), all, or none. So a provider that answers with another key's signature, or a
damaged one, is noticed before anybody relies on it; the call fails and the daemon's log names the provider. It costs no
call to the provider. Without a choice the one that holds is shown.`,
		Example: `  anyhsm token verify web
  anyhsm token verify web all`,
		Args: arguments(1, 2, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			request := &anyhsmv1.SetVerificationRequest{RequestId: newRequestID(), Token: args[0]}
			if len(args) > 1 {
				switch request.Signatures = args[1]; args[1] {
				case "adopted", "all", "none":
				default:
					return usage(command, "%q is no choice; choose adopted, all or none", args[1])
				}
			}
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewSyncServiceClient(daemon).SetVerification(ctx, request)
				if err != nil {
					return err
				}
				view := struct {
					Token      string `json:"token"`
					Signatures string `json:"verify_signatures"`
				}{args[0], response.GetSignatures()}
				return c.show(view, func(w io.Writer) {
					fmt.Fprintf(w, "Signatures of token %s that are verified: %s.\n", clean(args[0]), view.Signatures)
				})
			})
		},
	}
}
