package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// tokenVariable names the environment variable that --token overrides.
const tokenVariable = "ANYHSM_TOKEN"

// selectors describes how a key is named.
const selectors = "KEY is a label, id:HEX (CKA_ID), a uid or an object's number"

func (c *cli) keyCommand() *cobra.Command {
	return group("key", "Make, import, adopt, move, rotate and delete keys",
		`Keys live in tokens. The token is named by --token or by the environment variable ANYHSM_TOKEN.`,
		`  anyhsm key create tls --token web --type ec:p256
  anyhsm key list --token web`,
		c.keyCreate(), c.keyImport(), c.keyAdopt(), c.keyList(), c.keyShow(), c.keyLabel(), c.keyRoute(), c.keyJoin(),
		c.keyCopy(), c.keyMove(), c.keyRetire(), c.keyRotate(), c.keyDelete())
}

// tokenFlag adds --token to a command.
func tokenFlag(command *cobra.Command, token *string) {
	command.Flags().StringVarP(token, "token", "t", "", "label or uid of the `TOKEN` (default $ANYHSM_TOKEN)")
}

// chosenToken is the token that the command line or the environment names.
func chosenToken(command *cobra.Command, token string) (string, error) {
	if token == "" {
		token = os.Getenv(tokenVariable)
	}
	if token == "" {
		return "", usage(command, "which token? give --token TOKEN or set %s; anyhsm token list shows them", tokenVariable)
	}
	return token, nil
}

// keyIDFlag adds --id to a command.
func keyIDFlag(command *cobra.Command, id *string, help string) {
	command.Flags().StringVar(id, "id", "", "CKA_ID in `HEX` "+help)
}

func keyID(command *cobra.Command, text string) ([]byte, error) {
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(text, "0x"), ":", ""))
	if err != nil {
		return nil, usage(command, "--id %q is not hexadecimal; write for example --id 01ab", text)
	}
	return id, nil
}

// template are the flags that shape a new key.
type template struct {
	token, label, id string
	usage            []string
	extractable      bool
}

func (t *template) add(command *cobra.Command) {
	tokenFlag(command, &t.token)
	keyIDFlag(command, &t.id, "(default: SHA-1 of the public key)")
	command.Flags().StringSliceVar(&t.usage, "usage", nil,
		"what the key may do, as `LIST` of sign, verify, encrypt, decrypt, derive, wrap, unwrap (default: what its type is for)")
	command.Flags().BoolVar(&t.extractable, "extractable", false, "let the key's value leave the token (CKA_EXTRACTABLE)")
}

func (c *cli) keyCreate() *cobra.Command {
	var t template
	var spec string
	var twin bool
	command := &cobra.Command{
		Use:   "create LABEL",
		Short: "Generate a key or a key pair",
		Long: `Generate a key in the token's provider. TYPE is rsa:2048 (to rsa:8192), ec:p224, ec:p256, ec:p384, ec:p521,
ed25519, ml-dsa:44, ml-dsa:65, ml-dsa:87, aes:128, aes:192, aes:256 or hmac:256 (bits).

Where a service's RSA keys have one padding each (Google Cloud KMS), a key does either PKCS#1 v1.5 (TLS 1.2, certificates)
or PSS (TLS 1.3). --twin makes one key that does both: the daemon generates it and imports it twice, so it is not born in
the service (CKA_LOCAL is false).`,
		Example: `  anyhsm key create tls --token web --type ec:p256
  anyhsm key create signing --token web --type rsa:3072 --usage sign --id 01
  anyhsm key create tls --token google --type rsa:2048 --twin
  anyhsm key create data --token web --type aes:256`,
		Args: arguments(1, 1, "LABEL"),
	}
	t.add(command)
	command.Flags().StringVar(&spec, "type", "ec:p256", "`TYPE` and size of the key")
	command.Flags().BoolVar(&twin, "twin", false, "an RSA key for both paddings where a service's keys have one")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, t.token)
		if err != nil {
			return err
		}
		id, err := keyID(command, t.id)
		if err != nil {
			return err
		}
		request := &anyhsmv1.CreateKeyRequest{
			RequestId: newRequestID(), Token: token, KeySpec: spec, Label: args[0], KeyId: id, Usage: t.usage, Extractable: t.extractable, Twin: twin,
		}
		return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
			done := terminal.Progress(c.Err, "Generating "+spec)
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).CreateKey(ctx, request)
			done()
			if err != nil {
				return err
			}
			return c.showNewKey("Created", token, response.GetKey())
		})
	}
	return command
}

func (c *cli) showNewKey(did, token string, key *anyhsmv1.KeySummary) error {
	view := viewKey(token, key)
	return c.show(view, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s key %s (id %s) in token %s.\n", did, view.kind(), clean(view.Label), orDash(view.KeyID), clean(token))
		fmt.Fprintf(w, "PKCS#11 URI: %s\n", view.uri())
	})
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (c *cli) keyLabel() *cobra.Command {
	var token, id string
	command := &cobra.Command{
		Use:   "label KEY LABEL",
		Short: "Give a key another label or id",
		Long:  "Change CKA_LABEL, and with --id CKA_ID, of a key and its public half. " + selectors + ".",
		Example: `  anyhsm key label tls tls-2026 --token web
  anyhsm key label id:01ab tls --token web --id 02`,
		Args: arguments(2, 2, "KEY", "LABEL"),
	}
	tokenFlag(command, &token)
	keyIDFlag(command, &id, "to set")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		newID, err := keyID(command, id)
		if err != nil {
			return err
		}
		request := &anyhsmv1.LabelKeyRequest{
			RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, Label: args[1], KeyId: newID,
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).LabelKey(ctx, request)
			if err != nil {
				return err
			}
			views := viewKeys(token, response.GetObjects())
			return c.show(views, func(w io.Writer) {
				fmt.Fprintf(w, "Labelled %s in token %s.\n", count(uint64(len(views)), "object"), clean(token))
				keyTable(w, views, false)
			})
		})
	}
	return command
}

func (c *cli) keyDelete() *cobra.Command {
	var token string
	var leave, yes bool
	command := &cobra.Command{
		Use:   "delete KEY",
		Short: "Destroy a key",
		Long: "Destroy a key and its public half, in all providers where it is. This cannot be undone; without --yes the terminal asks.\n" +
			"If one of several providers is away, nothing is destroyed, unless --leave-behind says that the key may stay there.\n" +
			selectors + ".",
		Example: `  anyhsm key delete tls-2025 --token web
  anyhsm key delete id:01ab --token web --yes
  anyhsm key delete tls-2025 --token web --leave-behind`,
		Args: arguments(1, 1, "KEY"),
	}
	tokenFlag(command, &token)
	leaveFlag(command, &leave)
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	command.RunE = func(command *cobra.Command, args []string) error {
		token, err := chosenToken(command, token)
		if err != nil {
			return err
		}
		if err := c.confirm(command, yes, "Destroy key "+clean(args[0])+" of token "+clean(token)+" for ever?"); err != nil {
			return err
		}
		request := &anyhsmv1.DeleteKeyRequest{
			RequestId: newRequestID(), Selector: &anyhsmv1.KeySelector{Token: token, Key: args[0]}, LeaveBehind: leave,
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewKeyAdminServiceClient(daemon).DeleteKey(ctx, request)
			if err != nil {
				return err
			}
			views, left := viewKeys(token, response.GetObjects()), viewLeft(response.GetLeft())
			var shown any = views
			if leave {
				shown = struct {
					Keys []keyView  `json:"keys"`
					Left []leftView `json:"left_behind"`
				}{views, left}
			}
			return c.show(shown, func(w io.Writer) {
				fmt.Fprintf(w, "Destroyed %s of token %s.\n", count(uint64(len(views)), "object"), clean(token))
				keyTable(w, views, false)
				leftTable(w, left)
			})
		})
	}
	return command
}
