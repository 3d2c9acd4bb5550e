package command

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const operationsHelp = "use (C_Sign and its like), create, modify, destroy, so"

func (c *cli) appCommand() *cobra.Command {
	return group("app", "Say which applications may use which tokens",
		`An application is an authenticated caller: a Unix user on this host, or the holder of a certificate that anyhsm enroll
got. Its PKCS#11 module shows the tokens that are granted to it, and no others.`,
		`  anyhsm app add nginx --user www-data --grant web
  anyhsm app grant nginx web --operations use
  anyhsm app revoke nginx web`,
		c.appAdd(), c.appList(), c.appGrant(), c.appRevoke(), c.appCode())
}

func (c *cli) appAdd() *cobra.Command {
	var users, identities, grants []string
	var createTokens bool
	command := &cobra.Command{
		Use:   "add NAME",
		Short: "Register an application",
		Long: `Register an application. --user names the Unix user that it runs as; one without a user enrolls with a code
(anyhsm app code).
One that exists already gets the users and identities added. --grant gives it tokens at once: TOKEN, or TOKEN:OPERATION+OPERATION. Operations:
` + operationsHelp + `.`,
		Example: `  anyhsm app add nginx --user www-data --grant web
  anyhsm app add keytool --user 1000 --grant web:use+create+modify+destroy
  anyhsm app add remote --grant web`,
		Args: arguments(1, 1, "NAME"),
	}
	flags := command.Flags()
	flags.StringSliceVar(&users, "user", nil, "Unix `USER` (name or number) that the application runs as")
	flags.StringSliceVar(&identities, "identity", nil, "`IDENTITY` as uid:N or cert:HEX (SHA-256 of a certificate's public key)")
	flags.StringSliceVar(&grants, "grant", nil, "grant `TOKEN[:OPERATIONS]`")
	flags.BoolVar(&createTokens, "create-tokens", false, "let it make tokens of its own with C_InitToken")
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &anyhsmv1.AddApplicationRequest{RequestId: newRequestID(), Name: args[0], CreateTokens: createTokens}
		for _, name := range users {
			identity, err := identityOf(name)
			if err != nil {
				return usage(command, "--user: %w", err)
			}
			request.Identities = append(request.Identities, identity)
		}
		for _, identity := range identities {
			if err := checkIdentity(identity); err != nil {
				return usage(command, "--identity: %w", err)
			}
			request.Identities = append(request.Identities, identity)
		}
		parsed := make([]*anyhsmv1.Grant, 0, len(grants))
		for _, text := range grants {
			token, operations, _ := strings.Cut(text, ":")
			parsed = append(parsed, grant(token, strings.FieldsFunc(operations, func(r rune) bool { return r == '+' })))
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			client := anyhsmv1.NewApplicationServiceClient(daemon)
			response, err := client.AddApplication(ctx, request)
			if err != nil {
				return err
			}
			application := response.GetApplication()
			for _, g := range parsed {
				request := &anyhsmv1.GrantTokenRequest{RequestId: newRequestID(), Application: args[0], Grant: g}
				granted, err := client.GrantToken(ctx, request)
				if err != nil {
					return fmt.Errorf("application %s is registered, but token %s could not be granted: %w", args[0], g.GetToken(), err)
				}
				application = granted.GetApplication()
			}
			return c.showApplication("Registered", application)
		})
	}
	return command
}

// grant fills in the operation that each grant is for.
func grant(token string, operations []string) *anyhsmv1.Grant {
	if len(operations) == 0 {
		operations = []string{"use"}
	}
	return &anyhsmv1.Grant{Token: token, Operations: operations}
}

// identityOf finds the identity of a Unix user, given by name or number.
func identityOf(name string) (string, error) {
	if uid, err := strconv.ParseUint(name, 10, 32); err == nil {
		return "uid:" + strconv.FormatUint(uid, 10), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return "", fmt.Errorf("this host has no user %q; give the number if it is another host's", name)
	}
	return "uid:" + u.Uid, nil
}

func checkIdentity(identity string) error {
	if uid, ok := strings.CutPrefix(identity, "uid:"); ok {
		if _, err := strconv.ParseUint(uid, 10, 32); err == nil {
			return nil
		}
	}
	if sum, ok := strings.CutPrefix(identity, "cert:"); ok {
		if raw, err := hex.DecodeString(sum); err == nil && len(raw) == 32 {
			return nil
		}
	}
	return fmt.Errorf("%q is neither uid:NUMBER nor cert: with 64 hexadecimal digits", identity)
}

func (c *cli) appList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List applications", Long: "List all applications with their identities and grants.",
		Example: "  anyhsm app list\n  anyhsm app list --json",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewApplicationServiceClient(daemon).ListApplications(ctx, &anyhsmv1.ListApplicationsRequest{})
				if err != nil {
					return err
				}
				views := make([]applicationView, 0, len(response.GetApplications()))
				for _, application := range response.GetApplications() {
					views = append(views, viewApplication(application))
				}
				return c.show(views, func(w io.Writer) {
					if len(views) == 0 {
						fmt.Fprintln(w, "No applications. Register one: anyhsm app add NAME --user USER --grant TOKEN")
						return
					}
					applicationTable(w, views)
				})
			})
		},
	}
}

func (c *cli) appGrant() *cobra.Command {
	var operations []string
	command := &cobra.Command{
		Use:   "grant NAME TOKEN",
		Short: "Let an application use a token",
		Long:  "Let an application do OPERATIONS on a token. The list replaces what was granted on that token before.",
		Example: `  anyhsm app grant nginx web
  anyhsm app grant keytool web --operations use,create,modify,destroy`,
		Args: arguments(2, 2, "NAME", "TOKEN"),
	}
	command.Flags().StringSliceVar(&operations, "operations", []string{"use"}, "`LIST` of "+operationsHelp)
	command.RunE = func(command *cobra.Command, args []string) error {
		request := &anyhsmv1.GrantTokenRequest{RequestId: newRequestID(), Application: args[0], Grant: grant(args[1], operations)}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewApplicationServiceClient(daemon).GrantToken(ctx, request)
			if err != nil {
				return err
			}
			return c.showApplication("Granted", response.GetApplication())
		})
	}
	return command
}

func (c *cli) appRevoke() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:   "revoke NAME [TOKEN]",
		Short: "Take a grant, or a whole application, back",
		Long:  "Take the grant of one token back, or with --all remove the application with its grants, identities and certificates.",
		Example: `  anyhsm app revoke nginx web
  anyhsm app revoke nginx --all`,
		Args: arguments(1, 2, "NAME"),
	}
	command.Flags().BoolVar(&all, "all", false, "remove the application itself")
	command.RunE = func(command *cobra.Command, args []string) error {
		if all == (len(args) == 2) {
			return usage(command, "give either the TOKEN or --all, which removes the application itself")
		}
		request := &anyhsmv1.RevokeGrantRequest{RequestId: newRequestID(), Application: args[0]}
		if !all {
			request.Token = args[1]
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewApplicationServiceClient(daemon).RevokeGrant(ctx, request)
			if err != nil {
				return err
			}
			if !all {
				return c.showApplication("Revoked", response.GetApplication())
			}
			view := struct {
				Removed string `json:"removed"`
			}{args[0]}
			return c.show(view, func(w io.Writer) { fmt.Fprintf(w, "Removed application %s.\n", clean(args[0])) })
		})
	}
	return command
}

func (c *cli) appCode() *cobra.Command {
	var lifetime time.Duration
	command := &cobra.Command{
		Use:   "code NAME",
		Short: "Make a one-time code for anyhsm enroll",
		Long: `Make a code with which an application on another host gets its certificate, once. The code holds the fingerprint of
the daemon's CA, so the applicant knows whom it talks to; hand it over where only the applicant reads it.`,
		Example: `  anyhsm app code remote
  anyhsm app code remote --lifetime 10m`,
		Args: arguments(1, 1, "NAME"),
	}
	command.Flags().DurationVar(&lifetime, "lifetime", time.Hour, "how long the code is good, as `DURATION`")
	command.RunE = func(command *cobra.Command, args []string) error {
		if lifetime < time.Second {
			return usage(command, "--lifetime %s is too short; write for example 1h", lifetime)
		}
		request := &anyhsmv1.CreateEnrollmentCodeRequest{
			RequestId: newRequestID(), Application: args[0], LifetimeSeconds: uint64(lifetime / time.Second),
		}
		return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
			response, err := anyhsmv1.NewApplicationServiceClient(daemon).CreateEnrollmentCode(ctx, request)
			if err != nil {
				return err
			}
			return c.showCode(args[0], response)
		})
	}
	return command
}

func (c *cli) showCode(application string, response *anyhsmv1.CreateEnrollmentCodeResponse) error {
	view := struct {
		Application string     `json:"application"`
		Code        string     `json:"code"`
		Expires     *time.Time `json:"expires,omitempty"`
		Endpoints   []string   `json:"endpoints"`
	}{application, response.GetCode(), stamp(response.GetExpires()), list(response.GetEndpoints())}
	return c.show(view, func(w io.Writer) {
		endpoint := "tcp://HOST:PORT"
		if len(view.Endpoints) > 0 {
			endpoint = view.Endpoints[0]
		}
		fmt.Fprintln(w, view.Code)
		fmt.Fprintf(c.Err, "Good once, until %s. On the application's host, and give the code there when asked:\n"+
			"  anyhsm enroll --endpoint %s --dir /etc/anyhsm\n", local(view.Expires), word(endpoint))
		if len(view.Endpoints) == 0 {
			fmt.Fprintln(c.Err, "The daemon does not listen on TCP yet: set listen.tcp in its configuration.")
		}
	})
}
