package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// placedView is where a key is after a change.
type placedView struct {
	Key       keyView        `json:"key"`
	Places    []locationView `json:"places"`
	Known     bool           `json:"known"`
	Proof     string         `json:"proof,omitempty"`
	Destroyed []string       `json:"destroyed"`
	Left      []leftView     `json:"left_behind,omitempty"`
}

type locationView struct {
	Provider string   `json:"provider"`
	Kind     string   `json:"kind"`
	Retired  bool     `json:"retired"`
	Cannot   []string `json:"cannot"`
}

func viewLocations(places []*anyhsmv1.KeyPlace) []locationView {
	views := make([]locationView, 0, len(places))
	for _, p := range places {
		views = append(views, locationView{p.GetProvider(), p.GetKind(), p.GetRetired(), list(p.GetCannot())})
	}
	return views
}

func locationTable(w io.Writer, places []locationView) {
	var rows [][]string
	for _, p := range places {
		state := "in use"
		if p.Retired {
			state = "retired"
		}
		rows = append(rows, []string{p.Provider, p.Kind, state, orDash(strings.Join(p.Cannot, ","))})
	}
	table(w, []string{"PROVIDER", "KIND", "STATE", "CANNOT"}, rows)
}

// destroyHints tells how to destroy what was retired.
func (v placedView) destroyHints(w io.Writer, key, token string) {
	for _, p := range v.Places {
		if p.Retired {
			fmt.Fprintf(w, "Still in %s, not used. To destroy it there: anyhsm key retire %s --from %s --destroy --token %s\n",
				p.Provider, shellWord(key), p.Provider, shellWord(token))
		}
	}
}

// shellWord quotes an argument if it must be.
func shellWord(text string) string {
	text = clean(text)
	if text != "" && !strings.ContainsAny(text, " \t'\"\\$`()[]{}*?<>|&;~#!") {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func (v placedView) proved(w io.Writer) {
	if v.Proof != "" {
		fmt.Fprintf(w, "It proved to be the same key with %s.\n", v.Proof)
	}
}

func (c *cli) keyCopy() *cobra.Command {
	var token, to string
	command := &cobra.Command{
		Use:   "copy KEY",
		Short: "Bring a key into another provider as well",
		Long: `Bring the key itself, not a new one, into another provider. The certificate stays valid, applications see no change,
and the key can be used in either place. It travels wrapped where both sides can, and proves to be the same key before it
is recorded. A key that was made to stay in its HSM or service is refused.
` + selectors + ".",
		Example: `  anyhsm key copy tls --to softhsm --token web
  anyhsm key copy tls --to aws --token web`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&to, "to", "", "`PROVIDER` that is to have the key as well (required)")
	_ = command.MarkFlagRequired("to")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		request := &anyhsmv1.CopyKeyRequest{RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, Provider: to}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			done := terminal.Progress(c.Err, "Copying "+clean(args[0])+" to "+clean(to))
			response, err := anyhsmv1.NewPlacementServiceClient(daemon).CopyKey(ctx, request)
			done()
			if err != nil {
				return err
			}
			view := placedView{viewKey(token, response.GetKey()), viewLocations(response.GetPlaces()), response.GetKnown(), response.GetProof(), []string{}, nil}
			return c.show(view, func(w io.Writer) {
				if view.Known {
					fmt.Fprintf(w, "Provider %s has key %s already.\n", clean(to), clean(view.Key.Label))
				} else {
					fmt.Fprintf(w, "Copied key %s to %s.\n", clean(view.Key.Label), clean(to))
				}
				view.proved(w)
				locationTable(w, view.Places)
			})
		})
	}
	return command
}

func (c *cli) keyMove() *cobra.Command {
	var token, to string
	var keep, destroy, yes bool
	command := &cobra.Command{
		Use:   "move KEY",
		Short: "Bring a key into another provider and use it there",
		Long: `Copy the key to another provider, see that it is the same key there, and use it there from then on. Applications see no
change and the certificate stays valid. The old key is retired: it is not used any more, and stays where it was until you
destroy it. --keep-old goes on using it after the new one; --destroy-old destroys it at once, which cannot be undone.
` + selectors + ".",
		Example: `  anyhsm key move tls --to aws --token web
  anyhsm key move tls --to softhsm --token web --keep-old
  anyhsm key move tls --to softhsm --token web --destroy-old --yes`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&to, "to", "", "`PROVIDER` that is to have the key (required)")
	_ = command.MarkFlagRequired("to")
	command.Flags().BoolVar(&keep, "keep-old", false, "leave the old key in use, after the new one")
	command.Flags().BoolVar(&destroy, "destroy-old", false, "destroy the old key in its provider")
	command.MarkFlagsMutuallyExclusive("keep-old", "destroy-old")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask before destroying")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		if destroy {
			if err := c.confirm(command, yes, "Destroy key "+clean(args[0])+" everywhere but in "+clean(to)+" for ever?"); err != nil {
				return err
			}
		}
		request := &anyhsmv1.MoveKeyRequest{
			RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, Provider: to, KeepOld: keep, DestroyOld: destroy,
		}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			done := terminal.Progress(c.Err, "Moving "+clean(args[0])+" to "+clean(to))
			response, err := anyhsmv1.NewPlacementServiceClient(daemon).MoveKey(ctx, request)
			done()
			if err != nil {
				return err
			}
			view := placedView{
				viewKey(token, response.GetKey()), viewLocations(response.GetPlaces()), response.GetKnown(), response.GetProof(), list(response.GetDestroyed()), nil,
			}
			return c.show(view, func(w io.Writer) {
				fmt.Fprintf(w, "Moved key %s to %s.\n", clean(view.Key.Label), clean(to))
				view.proved(w)
				if len(view.Destroyed) > 0 {
					fmt.Fprintf(w, "Destroyed it in %s.\n", clean(strings.Join(view.Destroyed, ", ")))
				}
				locationTable(w, view.Places)
				view.destroyHints(w, args[0], token)
			})
		})
	}
	return command
}

func (c *cli) keyRetire() *cobra.Command {
	var token, from string
	var destroy, leave, yes bool
	command := &cobra.Command{
		Use:   "retire KEY",
		Short: "Stop using a key in one of its providers",
		Long: `Stop using a key in a provider, where another one has it. The key stays there, and anyhsm key copy takes it into use
again; --destroy destroys it there, also one that was retired before. If the provider is away for ever, --leave-behind
forgets the key there.
` + selectors + ".",
		Example: `  anyhsm key retire tls --from software --token web
  anyhsm key retire tls --from software --destroy --token web --yes`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&from, "from", "", "`PROVIDER` that is not to be used any more (required)")
	_ = command.MarkFlagRequired("from")
	command.Flags().BoolVar(&destroy, "destroy", false, "destroy the key there; this cannot be undone")
	command.Flags().BoolVar(&leave, "leave-behind", false, "with --destroy, forget the key if the provider cannot destroy it now")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask before destroying")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		if destroy {
			if err := c.confirm(command, yes, "Destroy key "+clean(args[0])+" in "+clean(from)+" for ever?"); err != nil {
				return err
			}
		}
		request := &anyhsmv1.RetireKeyRequest{
			RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, Provider: from, Destroy: destroy, LeaveBehind: leave,
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewPlacementServiceClient(daemon).RetireKey(ctx, request)
			if err != nil {
				return err
			}
			view := placedView{
				Key: viewKey(token, response.GetKey()), Places: viewLocations(response.GetPlaces()), Destroyed: []string{}, Left: viewLeft(response.GetLeft()),
			}
			did := "Retired"
			if response.GetDestroyed() {
				view.Destroyed, did = []string{from}, "Destroyed"
			}
			return c.show(view, func(w io.Writer) {
				fmt.Fprintf(w, "%s key %s in %s.\n", did, clean(view.Key.Label), clean(from))
				leftTable(w, view.Left)
				locationTable(w, view.Places)
				view.destroyHints(w, args[0], token)
			})
		})
	}
	return command
}
