// Command anyhsmd is the AnyHSM daemon: it holds tokens, objects and grants, uses keys through providers, and answers
// the PKCS#11 module and the CLI.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/anyhsm/anyhsm/daemon/internal/catalog"
	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/internal/version"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(arguments []string, stdout, stderr io.Writer) int {
	if len(arguments) > 0 && offline[arguments[0]] != nil {
		return report(stderr, offline[arguments[0]](arguments[1:], stdout, stderr))
	}
	flags := flag.NewFlagSet("anyhsmd", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "the configuration `FILE` (default $ANYHSMD_CONFIG, /etc/anyhsm/anyhsmd.toml, else built-in)")
	check := flags.Bool("check-config", false, "check the configuration, print it as it takes effect, and exit")
	showVersion := flags.Bool("version", false, "print the version and exit")
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "anyhsmd serves keys to the AnyHSM module. Usage: anyhsmd [--config FILE] [--check-config] [--version]")
		flags.PrintDefaults()
		_, _ = fmt.Fprintln(stderr, "\nWhile no daemon runs on the store:\n"+
			"  anyhsmd restore [--config FILE] [--force] BACKUP    make a store of a backup (anyhsm backup)\n"+
			"  anyhsmd migrate --from STORE --to STORE             copy a store into another database")
	}
	if err := flags.Parse(arguments); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "anyhsmd: unexpected argument %q; run anyhsmd --help\n", flags.Arg(0))
		return 2
	}
	if *showVersion {
		_, _ = fmt.Fprintln(stdout, "anyhsmd", version.Version)
		return 0
	}
	return report(stderr, serve(*file, *check, stdout, stderr))
}

// errUsage is a wrong command line, which was shown already.
var errUsage = errors.New("the command line is wrong")

// report shows an error and returns the exit code.
func report(stderr io.Writer, err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintln(stderr, "anyhsmd:", line)
	}
	return 1
}

// serve loads the configuration and either shows it or runs the daemon until a signal ends it.
func serve(file string, check bool, stdout, stderr io.Writer) error {
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	if err := errors.Join(catalog.Check(c), c.Ready()); err != nil {
		return err
	}
	if check {
		_, err := fmt.Fprint(stdout, c)
		return err
	}
	if err := harden(); err != nil {
		return err
	}
	defer calm()()
	level := new(slog.LevelVar)
	logger := newLogger(c.Log, level, stderr)
	slog.SetDefault(logger)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// A second signal ends the daemon at once.
	context.AfterFunc(ctx, stop)
	d, err := start(ctx, c, logger)
	if err != nil {
		return err
	}
	defer d.close()

	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	go d.reloadOn(ctx, reload, file, level)
	return d.serve(ctx)
}

func newLogger(c config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	setLevel(c, level)
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func setLevel(c config.Log, level *slog.LevelVar) {
	// config has checked that it is a level.
	_ = level.UnmarshalText([]byte(c.Level))
}
