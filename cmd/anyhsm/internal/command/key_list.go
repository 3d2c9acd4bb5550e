package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) keyList() *cobra.Command {
	var token string
	var all bool
	command := &cobra.Command{
		Use:   "list",
		Short: "List keys",
		Long: `List the keys of a token, or of all tokens without --token. A key pair is one line; --all lists every object:
public halves, certificates and data as well.`,
		Example: `  anyhsm key list
  anyhsm key list --token web --all
  anyhsm key list --token web --json`,
		Args: arguments(0, 0),
	}
	command.Flags().StringVarP(&token, "token", "t", "", "label or uid of the `TOKEN` (default $ANYHSM_TOKEN, else all)")
	command.Flags().BoolVar(&all, "all", false, "list every object")
	command.RunE = func(command *cobra.Command, _ []string) error {
		keep := onePerKey
		if all {
			keep = func(views []keyView) []keyView { return views }
		}
		if token == "" {
			token = os.Getenv(tokenVariable)
		}
		return c.listObjects(command.Context(), token, 0, keep, "No keys. Make one: anyhsm key create LABEL --token TOKEN")
	}
	return command
}

// listObjects prints the objects of one class, or of all, of one token or of all.
func (c *cli) listObjects(ctx context.Context, token string, classPlusOne uint64, keep func([]keyView) []keyView, none string) error {
	return c.work(ctx, shortWork, func(ctx context.Context, daemon *connection.Connection) error {
		tokens, err := tokensToList(ctx, daemon, token)
		if err != nil {
			return err
		}
		views := []keyView{}
		for _, token := range tokens {
			objects, err := fetchObjects(ctx, daemon, token, classPlusOne)
			if err != nil {
				return err
			}
			views = append(views, keep(objects)...)
		}
		return c.show(views, func(w io.Writer) {
			if len(views) == 0 {
				fmt.Fprintln(w, none)
				return
			}
			if classPlusOne == uint64(cryptoki.CKO_CERTIFICATE)+1 {
				certificateTable(w, views, token == "")
			} else {
				keyTable(w, views, token == "")
			}
		})
	})
}

func tokensToList(ctx context.Context, daemon *connection.Connection, token string) ([]string, error) {
	if token != "" {
		return []string{token}, nil
	}
	response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).ListTokens(ctx, &anyhsmv1.ListTokensRequest{})
	if err != nil {
		return nil, err
	}
	var labels []string
	seen := map[string]bool{}
	for _, t := range response.GetTokens() {
		name := t.GetToken().GetLabel()
		if name == "" || seen[name] {
			name = t.GetToken().GetUid()
		}
		seen[name] = true
		labels = append(labels, name)
	}
	return labels, nil
}

// fetchObjects fetches all pages of a listing.
func fetchObjects(ctx context.Context, daemon *connection.Connection, token string, classPlusOne uint64) ([]keyView, error) {
	var views []keyView
	request := &anyhsmv1.ListKeysRequest{Token: token, ObjectClassPlusOne: classPlusOne}
	for {
		response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).ListKeys(ctx, request)
		if err != nil {
			return nil, err
		}
		views = append(views, viewKeys(token, response.GetKeys())...)
		if request.Page = response.GetNextPage(); request.Page == "" {
			return views, nil
		}
	}
}

// onePerKey drops what is not a key, and public keys whose private half is listed.
func onePerKey(views []keyView) []keyView {
	pairs := map[string]bool{}
	for _, v := range views {
		if v.class == cryptoki.CKO_PRIVATE_KEY {
			pairs[v.KeyID+"/"+v.KeyType] = true
		}
	}
	kept := []keyView{}
	for _, v := range views {
		half := v.class == cryptoki.CKO_PUBLIC_KEY && pairs[v.KeyID+"/"+v.KeyType]
		if v.isKey() && !half {
			kept = append(kept, v)
		}
	}
	return kept
}

func (c *cli) keyShow() *cobra.Command {
	var token string
	var public bool
	command := &cobra.Command{
		Use:   "show KEY",
		Short: "Show a key with its attributes",
		Long: "Show the objects of a key with all attributes that are not secret; with --public-key only the public key, as PEM.\n" +
			selectors + ".",
		Example: `  anyhsm key show tls --token web
  anyhsm key show tls --token web --public-key > tls.pub`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	command.Flags().BoolVar(&public, "public-key", false, "print the public key and nothing else")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		request := &anyhsmv1.GetKeyRequest{Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).GetKey(ctx, request)
			if err != nil {
				return err
			}
			views := viewKeys(token, response.GetObjects())
			if public {
				return c.showPublicKey(args[0], views)
			}
			return c.show(views, func(w io.Writer) {
				for i, v := range views {
					if i > 0 {
						fmt.Fprintln(w)
					}
					showObject(w, v)
				}
			})
		})
	}
	return command
}

func (c *cli) showPublicKey(name string, views []keyView) error {
	for _, v := range views {
		if v.PublicKey != "" {
			view := struct {
				PublicKey string `json:"public_key"`
			}{v.PublicKey}
			return c.show(view, func(w io.Writer) { _, _ = io.WriteString(w, v.PublicKey) })
		}
	}
	return fmt.Errorf("%s has no public key: it is a secret key or a certificate", name)
}

func showObject(w io.Writer, v keyView) {
	fields(w, "Object", strconv.FormatUint(v.Object, 10)+" ("+v.className()+")", "Label", v.Label, "ID", v.KeyID, "Type", v.kind(),
		"Usage", strings.Join(v.Usage, ", "), "Extractable", extractable(v), "Subject", v.Subject, "Provider", v.Provider,
		"UID", v.UID, "Created", local(v.Created), "PKCS#11 URI", v.uri())
	for _, a := range v.Attributes {
		fmt.Fprintf(w, "  %-28s %s\n", a.Type, a.Value)
	}
	if v.PublicKey != "" {
		_, _ = io.WriteString(w, v.PublicKey)
	}
	if v.Certificate != "" {
		_, _ = io.WriteString(w, v.Certificate)
	}
}

func extractable(v keyView) string {
	if v.class == cryptoki.CKO_PRIVATE_KEY || v.class == cryptoki.CKO_SECRET_KEY {
		return yesNo(v.Extractable)
	}
	return ""
}
