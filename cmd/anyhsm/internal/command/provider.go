package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) providerCommand() *cobra.Command {
	return group("provider", "Look at the providers, where keys live",
		`A provider is where key material lives and is used: AnyHSM's own encrypted keystore (software), or an HSM behind its
PKCS#11 library (hsm). Providers are set up in the daemon's configuration.`,
		`  anyhsm provider list
  anyhsm provider check softhsm`,
		c.providerList(), c.providerCheck(), c.providerKeys(), c.providerSync(), c.providerCost())
}

type mechanismView struct {
	Type    string `json:"type"`
	MinSize uint64 `json:"min_key_size"`
	MaxSize uint64 `json:"max_key_size"`
	Flags   uint64 `json:"flags"`
}

type providerView struct {
	Name       string          `json:"name"`
	Kind       string          `json:"kind"`
	Healthy    bool            `json:"healthy"`
	Detail     string          `json:"detail,omitempty"`
	Curves     []string        `json:"curves"`
	Abilities  []string        `json:"abilities"`
	Mechanisms []mechanismView `json:"mechanisms"`
}

func viewProvider(p *anyhsmv1.ProviderSummary) providerView {
	v := providerView{
		Name: p.GetName(), Kind: p.GetKind(), Healthy: p.GetHealthy(), Detail: p.GetDetail(), Curves: list(p.GetCurves()),
		Abilities: list(p.GetAbilities()), Mechanisms: []mechanismView{},
	}
	for _, m := range p.GetMechanisms() {
		v.Mechanisms = append(v.Mechanisms, mechanismView{
			cryptoki.MechanismType(m.GetType()).String(), m.GetMinKeySize(), m.GetMaxKeySize(), m.GetFlags(),
		})
	}
	return v
}

func (c *cli) providerList() *cobra.Command {
	var mechanisms bool
	command := &cobra.Command{
		Use: "list", Short: "List providers", Long: "List the configured providers, their health and what they can do.",
		Example: "  anyhsm provider list\n  anyhsm provider list --mechanisms",
		Args:    arguments(0, 0),
	}
	command.Flags().BoolVar(&mechanisms, "mechanisms", false, "list the mechanisms of each provider as well")
	command.RunE = func(command *cobra.Command, _ []string) error {
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewProviderServiceClient(daemon).ListProviders(ctx, &anyhsmv1.ListProvidersRequest{})
			if err != nil {
				return err
			}
			views := make([]providerView, 0, len(response.GetProviders()))
			for _, p := range response.GetProviders() {
				views = append(views, viewProvider(p))
			}
			return c.show(views, func(w io.Writer) { providerTables(w, views, mechanisms) })
		})
	}
	return command
}

func providerTables(w io.Writer, views []providerView, mechanisms bool) {
	var rows [][]string
	for _, v := range views {
		rows = append(rows, []string{
			v.Name, v.Kind, health(v.Healthy), strconv.Itoa(len(v.Mechanisms)), strings.Join(v.Curves, ","),
			strings.Join(v.Abilities, ","), v.Detail,
		})
	}
	table(w, []string{"PROVIDER", "KIND", "HEALTH", "MECHANISMS", "CURVES", "ABILITIES", "DETAIL"}, rows)
	if !mechanisms {
		return
	}
	for _, v := range views {
		rows = nil
		for _, m := range v.Mechanisms {
			rows = append(rows, []string{m.Type, strconv.FormatUint(m.MinSize, 10), strconv.FormatUint(m.MaxSize, 10)})
		}
		fmt.Fprintf(w, "\n%s\n", clean(v.Name))
		table(w, []string{"MECHANISM", "MIN", "MAX"}, rows)
	}
}

func health(ok bool) string {
	if ok {
		return "healthy"
	}
	return "FAILING"
}

type checkView struct {
	Provider     string `json:"provider"`
	Name         string `json:"name"`
	Passed       bool   `json:"passed"`
	Detail       string `json:"detail,omitempty"`
	Microseconds uint64 `json:"microseconds"`
}

func (c *cli) providerCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [NAME...]",
		Short: "Exercise providers: make a key, sign, verify, destroy",
		Long:  "Exercise the named providers, or all, with throw-away keys. The exit code is 1 if a step failed.",
		Example: `  anyhsm provider check
  anyhsm provider check softhsm --json`,
		Args: arguments(0, -1),
		RunE: func(command *cobra.Command, names []string) error {
			return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
				client := anyhsmv1.NewProviderServiceClient(daemon)
				if len(names) == 0 {
					response, err := client.ListProviders(ctx, &anyhsmv1.ListProvidersRequest{})
					if err != nil {
						return err
					}
					for _, p := range response.GetProviders() {
						names = append(names, p.GetName())
					}
				}
				views := []checkView{}
				for _, name := range names {
					done := terminal.Progress(c.Err, "Checking "+name)
					response, err := client.CheckProvider(ctx, &anyhsmv1.CheckProviderRequest{Provider: name})
					done()
					if err != nil {
						return err
					}
					for _, r := range response.GetResults() {
						views = append(views, checkView{name, r.GetName(), r.GetPassed(), r.GetDetail(), r.GetMicroseconds()})
					}
				}
				return c.showChecks(views)
			})
		},
	}
}

func (c *cli) showChecks(views []checkView) error {
	failed := 0
	var rows [][]string
	for _, v := range views {
		result := "passed"
		if !v.Passed {
			result = "FAILED"
			failed++
		}
		took := time.Duration(v.Microseconds) * time.Microsecond
		rows = append(rows, []string{v.Provider, v.Name, result, took.Round(10 * time.Microsecond).String(), v.Detail})
	}
	err := c.show(views, func(w io.Writer) { table(w, []string{"PROVIDER", "STEP", "RESULT", "TOOK", "DETAIL"}, rows) })
	if err == nil && failed > 0 {
		err = fmt.Errorf("%s of %d failed; the daemon's log has the provider's own words", count(uint64(failed), "step"), len(views))
	}
	return err
}

type providerKeyView struct {
	Reference string `json:"reference"`
	Label     string `json:"label"`
	KeyID     string `json:"id"`
	KeyType   string `json:"key_type"`
	Bits      uint32 `json:"bits,omitempty"`
	Token     string `json:"token,omitempty"`
}

func (c *cli) providerKeys() *cobra.Command {
	return &cobra.Command{
		Use:   "keys NAME",
		Short: "List the keys that a provider holds, known to AnyHSM or not",
		Long:  "List the keys that a provider holds. Those without a token can be taken over with anyhsm key adopt.",
		Example: `  anyhsm provider keys softhsm
  anyhsm provider keys softhsm --json`,
		Args: arguments(1, 1, "NAME"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
				done := terminal.Progress(c.Err, "Listing keys of "+args[0])
				views, err := keysOfProvider(ctx, daemon, args[0])
				done()
				if err != nil {
					return err
				}
				return c.show(views, func(w io.Writer) {
					if len(views) == 0 {
						fmt.Fprintf(w, "Provider %s holds no keys.\n", clean(args[0]))
						return
					}
					var rows [][]string
					for _, v := range views {
						kind := strings.TrimPrefix(v.KeyType, "CKK_")
						if v.Bits > 0 {
							kind += " " + strconv.FormatUint(uint64(v.Bits), 10)
						}
						rows = append(rows, []string{v.Reference, v.Label, short(v.KeyID), kind, v.Token})
					}
					table(w, []string{"REFERENCE", "LABEL", "ID", "TYPE", "TOKEN"}, rows)
				})
			})
		},
	}
}

func keysOfProvider(ctx context.Context, daemon *connection.Connection, name string) ([]providerKeyView, error) {
	views := []providerKeyView{}
	request := &anyhsmv1.ListProviderKeysRequest{Provider: name}
	for {
		response, err := anyhsmv1.NewProviderServiceClient(daemon).ListProviderKeys(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, k := range response.GetKeys() {
			views = append(views, providerKeyView{
				k.GetReference(), k.GetLabel(), hex.EncodeToString(k.GetKeyId()), cryptoki.KeyType(k.GetKeyType()).String(),
				k.GetBits(), k.GetToken(),
			})
		}
		if request.Page = response.GetNextPage(); request.Page == "" {
			return views, nil
		}
	}
}
