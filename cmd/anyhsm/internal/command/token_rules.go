package command

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// maxRulesFile bounds what is read as rules.
const maxRulesFile = 1 << 20

// ruleView is a rule, in TOML as people write it and in JSON.
type ruleView struct {
	Provider  string   `toml:"provider" json:"provider"`
	Keys      []string `toml:"keys,omitempty" json:"keys,omitempty"`
	MinBits   uint32   `toml:"min_bits,omitempty" json:"min_bits,omitempty"`
	MaxBits   uint32   `toml:"max_bits,omitempty" json:"max_bits,omitempty"`
	Label     string   `toml:"label,omitempty" json:"label,omitempty"`
	OnRequest bool     `toml:"on_request,omitempty" json:"on_request,omitempty"`
}

type rulesView struct {
	Rules     []ruleView `toml:"rule" json:"rules"`
	Otherwise string     `toml:"-" json:"otherwise"`
}

func (c *cli) tokenRules() *cobra.Command {
	return group("rules", "Say which provider gets which new keys of a token",
		`A new key goes to the provider of the first rule that matches it, else to the token's own provider. Applications see
the mechanisms of all these providers. Keys of sessions always stay in software. Rules are about new keys: those that
there are stay where they are.

Each rule is a [[rule]] in TOML: provider, and any of
  keys        kinds of keys: rsa, ec, ed25519, ml-dsa, aes, hmac
  min_bits    the least size
  max_bits    the greatest size
  label       a pattern for the label with * and ?
  on_request  true: only keys whose template names the provider in CKA_ANYHSM_PROVIDER (include/anyhsm.h)`,
		`  anyhsm token rules set web rules.toml
  anyhsm token rules show web
  anyhsm token rules clear web`,
		c.tokenRulesSet(), c.tokenRulesShow(), c.tokenRulesClear())
}

func (c *cli) tokenRulesSet() *cobra.Command {
	return &cobra.Command{
		Use: "set TOKEN FILE", Short: "Give a token its rules",
		Long: `Give a token the rules of a TOML file, instead of those that it has; - reads standard input. A provider that is not
configured, or that cannot make such keys, is refused.`,
		Example: `  anyhsm token rules set web rules.toml
  printf '[[rule]]\nprovider = "softhsm"\nkeys = ["rsa"]\n' | anyhsm token rules set web -`,
		Args: arguments(2, 2, "TOKEN", "FILE"),
		RunE: func(command *cobra.Command, args []string) error {
			view, err := readRules(command, args[1])
			if err != nil {
				return err
			}
			if len(view.Rules) == 0 {
				return usage(command, "%s has no [[rule]]; to take the rules away: anyhsm token rules clear %s", args[1], args[0])
			}
			return c.setRules(command.Context(), args[0], view)
		},
	}
}

// readRules reads rules and refuses what it does not know.
func readRules(command *cobra.Command, name string) (view rulesView, err error) {
	in := command.InOrStdin()
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return view, fmt.Errorf("cannot read the rules: %w", err)
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, maxRulesFile))
	if err != nil {
		return view, fmt.Errorf("cannot read the rules: %w", err)
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&view); err != nil {
		return view, fmt.Errorf("%s holds no rules: %w; see anyhsm token rules --help", name, err)
	}
	return view, nil
}

func (c *cli) setRules(ctx context.Context, token string, view rulesView) error {
	request := &anyhsmv1.SetRulesRequest{RequestId: newRequestID(), Token: token}
	for _, r := range view.Rules {
		request.Rules = append(request.Rules, &anyhsmv1.PlacementRule{
			Provider: r.Provider, Keys: r.Keys, MinBits: r.MinBits, MaxBits: r.MaxBits, Label: r.Label, OnRequest: r.OnRequest,
		})
	}
	return c.work(ctx, shortWork, func(ctx context.Context, daemon *connection.Connection) error {
		if _, err := anyhsmv1.NewRouteServiceClient(daemon).SetRules(ctx, request); err != nil {
			return err
		}
		view.Rules = list(view.Rules)
		return c.show(view, func(w io.Writer) {
			fmt.Fprintf(w, "Token %s has %s now.\n", clean(token), count(uint64(len(view.Rules)), "rule"))
		})
	})
}

func (c *cli) tokenRulesShow() *cobra.Command {
	return &cobra.Command{
		Use: "show TOKEN", Short: "Show the rules of a token",
		Long:    "Show the rules of a token, as anyhsm token rules set takes them.",
		Example: "  anyhsm token rules show web\n  anyhsm token rules show web > rules.toml",
		Args:    arguments(1, 1, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewRouteServiceClient(daemon).GetRules(ctx, &anyhsmv1.GetRulesRequest{Token: args[0]})
				if err != nil {
					return err
				}
				view := rulesView{Rules: []ruleView{}, Otherwise: response.GetOtherwise()}
				for _, r := range response.GetRules() {
					view.Rules = append(view.Rules, ruleView{r.GetProvider(), r.GetKeys(), r.GetMinBits(), r.GetMaxBits(), r.GetLabel(), r.GetOnRequest()})
				}
				text, err := toml.Marshal(view)
				if err != nil {
					return err
				}
				return c.show(view, func(w io.Writer) {
					if len(view.Rules) > 0 {
						_, _ = w.Write(text)
					}
					fmt.Fprintf(w, "# All other keys go to %s.\n", clean(view.Otherwise))
				})
			})
		},
	}
}

func (c *cli) tokenRulesClear() *cobra.Command {
	return &cobra.Command{
		Use: "clear TOKEN", Short: "Take the rules of a token away",
		Long:    "Take the rules of a token away: new keys go to its own provider.",
		Example: "  anyhsm token rules clear web",
		Args:    arguments(1, 1, "TOKEN"),
		RunE: func(command *cobra.Command, args []string) error {
			return c.setRules(command.Context(), args[0], rulesView{})
		},
	}
}
