package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) keyAdopt() *cobra.Command {
	var token, provider string
	var all bool
	command := &cobra.Command{
		Use:   "adopt [REFERENCE...]",
		Short: "Take keys that already are in a provider into a token",
		Long: `Take keys that already sit in a provider (an HSM that was in use before) into a token, with their labels and ids.
The keys stay where they are. REFERENCE is what anyhsm provider keys shows; --all takes every key.`,
		Example: `  anyhsm provider keys softhsm
  anyhsm key adopt --token web --provider softhsm --all`,
		Args: arguments(0, -1),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&provider, "provider", "", "`NAME` of the provider that has the keys (default: the token's)")
	command.Flags().BoolVar(&all, "all", false, "adopt all keys of the provider")
	command.RunE = func(command *cobra.Command, references []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		if all == (len(references) > 0) {
			return usage(command, "give either the references of keys or --all; anyhsm provider keys NAME shows them")
		}
		request := &anyhsmv1.AdoptKeysRequest{
			RequestId: newRequestID(), Token: token, Provider: provider, References: references, All: all,
		}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			if request.Provider == "" {
				response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).GetToken(ctx, &anyhsmv1.GetTokenRequest{Token: token})
				if err != nil {
					return err
				}
				request.Provider = response.GetToken().GetProvider()
			}
			done := terminal.Progress(c.Err, "Adopting keys of "+request.Provider)
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).AdoptKeys(ctx, request)
			done()
			if err != nil {
				return err
			}
			return c.showAdopted(token, response)
		})
	}
	return command
}

func (c *cli) showAdopted(token string, response *anyhsmv1.AdoptKeysResponse) error {
	view := struct {
		Adopted []keyView `json:"adopted"`
		Known   []string  `json:"known"`
	}{viewKeys(token, response.GetKeys()), list(response.GetKnown())}
	return c.show(view, func(w io.Writer) {
		fmt.Fprintf(w, "Adopted %s into token %s.\n", count(uint64(len(view.Adopted)), "object"), clean(token))
		if len(view.Known) > 0 {
			fmt.Fprintf(w, "Known already: %s.\n", count(uint64(len(view.Known)), "key"))
		}
		if len(view.Adopted) > 0 {
			keyTable(w, view.Adopted, false)
		}
	})
}
