// Package command is the command tree of anyhsm: one file per noun, each command a thin translation between words,
// one request and a table or JSON.
package command

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/version"
)

// Streams are a command's input and outputs.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

const (
	// shortWork is the deadline of commands that read or change the store.
	shortWork = 30 * time.Second
	// longWork is the deadline of commands that make a provider work: a large RSA key takes minutes on a small HSM.
	longWork = 10 * time.Minute
)

// cli is what all commands of one process share.
type cli struct {
	Streams
	daemon  connection.Options
	json    bool
	timeout time.Duration
}

// Root returns the command tree.
func Root(streams Streams) *cobra.Command {
	root, _ := tree(streams)
	return root
}

func tree(streams Streams) (*cobra.Command, *cli) {
	c := &cli{Streams: streams}
	root := &cobra.Command{
		Use:   "anyhsm",
		Short: "Administer AnyHSM: any HSM, any cloud, behind one local PKCS#11 module",
		Long: `anyhsm administers the AnyHSM daemon (anyhsmd): tokens, keys, certificates, the applications that may use
them, providers and the audit log.

It finds the daemon as the PKCS#11 module of the same user does: --endpoint or --socket, then ANYHSM_SOCKET, then the
endpoints of the module's configuration (ANYHSM_CONFIG, ~/.config/anyhsm/module.toml, /etc/anyhsm/module.toml), then
$XDG_RUNTIME_DIR/anyhsm/anyhsmd.sock and /run/anyhsm/anyhsmd.sock.

PINs are asked on the terminal, or come from references: file:PATH, env:NAME, or - for standard input.

Exit codes: 0 done, 1 failed or something is wrong, 2 the command line is wrong.`,
		Example: `  anyhsm init --dir ~/anyhsm
  anyhsm token create web --user-pin file:/etc/anyhsm/web.pin
  anyhsm key create tls --token web --type ec:p256
  anyhsm app add nginx --user www-data --grant web
  anyhsm doctor --as nginx`,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noSuchCommand,
		RunE:              showHelp,
		Version:           version.Version,
		PersistentPreRunE: func(command *cobra.Command, _ []string) error {
			if err := c.daemon.Check(); err != nil {
				return usage(command, "--endpoint: %w", err)
			}
			return nil
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error { return usage(command, "%w", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&c.daemon.Socket, "socket", "", "Unix `PATH` where the daemon listens")
	flags.StringVar(&c.daemon.Endpoint, "endpoint", "", "where the daemon listens: unix:///PATH or tcp://HOST:PORT as `URL`")
	flags.StringVar(&c.daemon.TLSDir, "tls-dir", "", "`DIR` with app.crt, app.key and ca.crt from `anyhsm enroll`")
	flags.BoolVar(&c.json, "json", false, "print JSON for machines")
	flags.DurationVar(&c.timeout, "timeout", 0, "give up after this `DURATION` (default 30s; 10m where a provider works)")
	root.MarkFlagsMutuallyExclusive("socket", "endpoint")
	root.AddCommand(c.initCommand(), c.statusCommand(), c.doctorCommand(), c.tokenCommand(), c.keyCommand(),
		c.certCommand(), c.appCommand(), c.enrollCommand(), c.providerCommand(), c.auditCommand(), c.backupCommand(), c.rootKeyCommand(), c.versionCommand(),
		c.completionCommand())
	return root, c
}

// group makes a command that only holds others.
func group(name, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	parent := &cobra.Command{Use: name, Short: short, Long: long, Example: example, Args: noSuchCommand, RunE: showHelp}
	parent.AddCommand(commands...)
	return parent
}

// helpCommand is for those who write `anyhsm help token`.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Show the help of a command", Long: "Show the help of a command, as COMMAND --help does.",
		Example: "  anyhsm help\n  anyhsm help token create",
		RunE: func(command *cobra.Command, words []string) error {
			target, rest, err := command.Root().Find(words)
			if err == nil {
				err = noSuchCommand(target, rest)
			}
			if err != nil {
				return usage(command, "there is no command %q", strings.Join(words, " "))
			}
			return target.Help()
		},
	}
}

func showHelp(command *cobra.Command, _ []string) error { return command.Help() }

// work runs a command's calls within its deadline.
func (c *cli) work(ctx context.Context, limit time.Duration, do func(ctx context.Context, daemon *connection.Connection) error) error {
	if c.timeout > 0 {
		limit = c.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	daemon, err := connection.Open(ctx, c.daemon)
	if err != nil {
		return err
	}
	defer daemon.Close()
	return do(ctx, daemon)
}

// newRequestID makes the id by which the store knows a repeated change.
func newRequestID() string {
	id := make([]byte, 16)
	rand.Read(id) // never fails: it ends the process instead
	return hex.EncodeToString(id)
}
