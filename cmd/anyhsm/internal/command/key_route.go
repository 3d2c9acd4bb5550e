package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// policies describes the routing policies.
const policies = `  prefer    the first place, in the order given
  any       each place in turn
  failover  the first place until its provider is broken, then the next, until the first is healthy again`

type placeView struct {
	Provider   string   `json:"provider"`
	State      string   `json:"state"`
	Mechanisms []string `json:"mechanisms,omitempty"`
	Detail     string   `json:"detail,omitempty"`
}

type routingView struct {
	Own       string      `json:"own,omitempty"`
	Effective string      `json:"effective"`
	Places    []placeView `json:"places"`
}

func viewRouting(r *anyhsmv1.KeyRouting) routingView {
	v := routingView{Own: r.GetOwn(), Effective: r.GetEffective(), Places: []placeView{}}
	for _, p := range r.GetPlaces() {
		place := placeView{Provider: p.GetProvider(), State: p.GetState(), Detail: p.GetDetail()}
		for _, m := range p.GetMechanisms() {
			place.Mechanisms = append(place.Mechanisms, cryptoki.MechanismType(m).String())
		}
		v.Places = append(v.Places, place)
	}
	return v
}

func (c *cli) showRouting(v routingView) error {
	return c.show(v, func(w io.Writer) {
		whose := "its token's"
		if v.Own != "" {
			whose = "its own"
		}
		fmt.Fprintf(w, "Routing: %s (%s)\n\n", clean(v.Effective), whose)
		var rows [][]string
		for _, p := range v.Places {
			rows = append(rows, []string{p.Provider, p.State, strings.Join(p.Mechanisms, ","), p.Detail})
		}
		table(w, []string{"PROVIDER", "BREAKER", "MECHANISMS", "DETAIL"}, rows)
	})
}

func (c *cli) keyRoute() *cobra.Command {
	var token string
	var order []string
	command := &cobra.Command{
		Use: "route KEY [POLICY]", Short: "Show or set where a key is used that is in several places",
		Long: `Show in which providers a key is and which of them serves, or set the policy that chooses:
` + policies + `
  token     what the token says (anyhsm token route)
Whatever the policy, a provider that is unavailable, throttles or hangs is passed over within the call. --order says in
which order the places are. ` + selectors + `.`,
		Example: `  anyhsm key route tls --token web
  anyhsm key route tls failover --order softhsm,software --token web`,
		Args: arguments(1, 2, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().StringSliceVar(&order, "order", nil, "`PROVIDERS` that come first, in this order")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		request := &anyhsmv1.SetKeyRoutingRequest{RequestId: newRequestID(), Token: token, Key: args[0], Order: order}
		if len(args) > 1 {
			request.Routing = args[1]
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			client := anyhsmv1.NewRouteServiceClient(daemon)
			if request.Routing == "" && len(order) == 0 {
				response, err := client.GetKeyRouting(ctx, &anyhsmv1.GetKeyRoutingRequest{Token: token, Key: args[0]})
				if err != nil {
					return err
				}
				return c.showRouting(viewRouting(response.GetRouting()))
			}
			response, err := client.SetKeyRouting(ctx, request)
			if err != nil {
				return err
			}
			return c.showRouting(viewRouting(response.GetRouting()))
		})
	}
	return command
}

func (c *cli) keyJoin() *cobra.Command {
	var token, provider string
	command := &cobra.Command{
		Use: "join KEY REFERENCE", Short: "Make a key that is in a provider another place of a key",
		Long: `Take a key that already is in a provider as another place of a key of a token: the same key once more, or its twin for
other mechanisms, where a service has one key for PSS and one for PKCS#1. The public keys must be equal. REFERENCE is
what anyhsm provider keys shows; ` + selectors + `.`,
		Example: `  anyhsm provider keys google
  anyhsm key join tls projects/p/locations/l/keyRings/r/cryptoKeys/tls-pss/cryptoKeyVersions/1 --provider google --token web`,
		Args: arguments(2, 2, "KEY", "REFERENCE"),
	}
	tokenFlag(command, &token)
	command.Flags().StringVar(&provider, "provider", "", "`NAME` of the provider that has the key")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		if provider == "" {
			return usage(command, "which provider has the key? give --provider NAME; anyhsm provider list shows them")
		}
		request := &anyhsmv1.JoinKeyRequest{RequestId: newRequestID(), Token: token, Key: args[0], Provider: provider, Reference: args[1]}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewRouteServiceClient(daemon).JoinKey(ctx, request)
			if err != nil {
				return err
			}
			return c.showRouting(viewRouting(response.GetRouting()))
		})
	}
	return command
}

func (c *cli) tokenRoute() *cobra.Command {
	return &cobra.Command{
		Use: "route TOKEN [POLICY]", Short: "Show or set where keys of a token are used that are in several places",
		Long: `Show or set the policy that chooses between the places of a key that is in several providers:
` + policies + `
A key can have a policy of its own: anyhsm key route.`,
		Example: "  anyhsm token route web\n  anyhsm token route web failover",
		Args:    arguments(1, 2, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				client := anyhsmv1.NewRouteServiceClient(daemon)
				if len(args) > 1 {
					request := &anyhsmv1.SetTokenRoutingRequest{RequestId: newRequestID(), Token: args[0], Routing: args[1]}
					if _, err := client.SetTokenRouting(ctx, request); err != nil {
						return err
					}
				}
				response, err := client.GetTokenRouting(ctx, &anyhsmv1.GetTokenRoutingRequest{Token: args[0]})
				if err != nil {
					return err
				}
				view := struct {
					Routing string `json:"routing"`
				}{response.GetRouting()}
				return c.show(view, func(w io.Writer) { fmt.Fprintf(w, "Routing: %s\n", clean(view.Routing)) })
			})
		},
	}
}
