package command

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type costView struct {
	Provider  string  `json:"provider"`
	Kind      string  `json:"kind"`
	Keys      uint64  `json:"keys"`
	Monthly   float64 `json:"monthly"`
	Calls     uint64  `json:"calls"`
	CallsCost float64 `json:"calls_cost"`
	Unpriced  uint64  `json:"unpriced"`
}

func (c *cli) providerCost() *cobra.Command {
	return &cobra.Command{
		Use:   "cost",
		Short: "Estimate what the providers cost",
		Long: `Estimate what the keys in each provider cost by the month, and what their uses have cost since the daemon's start. The
prices are a list with a date, built in or the file that the daemon's configuration names as prices; the services' bills
are what counts. Listing, making and deleting keys is not in the estimate, nor are keys that no token knows.`,
		Example: "  anyhsm provider cost\n  anyhsm provider cost --json",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewSyncServiceClient(daemon).ListCosts(ctx, &anyhsmv1.ListCostsRequest{})
				if err != nil {
					return err
				}
				view := struct {
					Currency  string     `json:"currency"`
					Date      string     `json:"date"`
					File      string     `json:"file,omitempty"`
					Providers []costView `json:"providers"`
				}{response.GetCurrency(), response.GetDate(), response.GetFile(), []costView{}}
				var rows [][]string
				for _, p := range response.GetCosts() {
					v := costView{p.GetProvider(), p.GetKind(), p.GetKeys(), p.GetMonthly(), p.GetCalls(), p.GetCallsCost(), p.GetUnpriced()}
					view.Providers = append(view.Providers, v)
					unpriced := ""
					if v.Unpriced > 0 {
						unpriced = strconv.FormatUint(v.Unpriced, 10)
					}
					rows = append(rows, []string{
						v.Provider, v.Kind, strconv.FormatUint(v.Keys, 10), fmt.Sprintf("%.2f", v.Monthly), strconv.FormatUint(v.Calls, 10),
						fmt.Sprintf("%.4f", v.CallsCost), unpriced,
					})
				}
				return c.show(view, func(w io.Writer) {
					table(w, []string{"PROVIDER", "KIND", "KEYS", "A MONTH", "CALLS", "CALLS COST", "UNPRICED"}, rows)
					source := "built in"
					if view.File != "" {
						source = view.File
					}
					fmt.Fprintf(w, "An estimate in %s, with prices of %s (%s). Providers without prices show no keys.\n", clean(view.Currency), clean(view.Date), clean(source))
				})
			})
		},
	}
}
