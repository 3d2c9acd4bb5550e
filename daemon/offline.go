package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/backup"
	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
)

// offline are the commands that need the store to themselves. They belong to anyhsmd and not to anyhsm, because they
// open the database and the root key, which the CLI never does: it speaks the protocol, and here nobody answers.
var offline = map[string]func(arguments []string, stdout, stderr io.Writer) error{"restore": restore, "migrate": migrate}

// command is what both have in common.
type command struct {
	*flag.FlagSet
	config *string
	force  *bool
}

func newCommand(name, usage string, stderr io.Writer) command {
	flags := flag.NewFlagSet("anyhsmd "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, usage)
		flags.PrintDefaults()
	}
	return command{
		flags, flags.String("config", "", "the daemon's configuration `FILE` (default as for the daemon)"),
		flags.Bool("force", false, "replace a store that is there; a file is kept beside the new one"),
	}
}

// parse reads the command line and the configuration.
func (c command) parse(arguments []string, words int) (config.Config, error) {
	if err := c.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return config.Config{}, err
	} else if err != nil {
		return config.Config{}, errUsage
	}
	if c.NArg() != words {
		c.Usage()
		return config.Config{}, errUsage
	}
	if err := harden(); err != nil {
		return config.Config{}, err
	}
	return config.Load(*c.config)
}

func restore(arguments []string, stdout, stderr io.Writer) error {
	c := newCommand("restore", `anyhsmd restore makes the store of a backup that anyhsm backup has written, while no daemon runs on the store. Store and root key
are those of the configuration; the root key must be the one that the store had when the backup was made.
All is verified before it counts: after an error the store is as it was.
Usage: anyhsmd restore [--config FILE] [--force] BACKUP`, stderr)
	settings, err := c.parse(arguments, 1)
	if err != nil {
		return err
	}
	unlock, err := lockStore(settings.StorePath())
	if err != nil {
		return err
	}
	defer unlock()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	rootKey, _ := rootSources(settings)
	said := time.Now()
	summary, kept, err := backup.RestoreFile(ctx, c.Arg(0), backup.Target{
		Store: settings.Store, Settings: storeSettings(settings), Replace: *c.force, RootKey: rootKey,
	}, func(read, size int64) {
		if size > 0 && time.Since(said) > time.Second {
			said = time.Now()
			_, _ = fmt.Fprintf(stderr, "anyhsmd: %d%% read\n", read*100/size)
		}
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "Restored the backup of %s, made of %s: %s.\nThe audit's chain is intact. The root key is %s.\n",
		summary.Created.Format(time.RFC3339), summary.Store, counts(summary.Rows), summary.RootKey)
	if kept != "" {
		_, _ = fmt.Fprintf(stdout, "The old store is %s; remove it when you need it no more.\n", kept)
	}
	return nil
}

func migrate(arguments []string, stdout, stderr io.Writer) error {
	c := newCommand("migrate", `anyhsmd migrate copies a store into another database, while no daemon runs on either. All is counted and verified before it
counts: after an error the destination is as it was, and the source is never changed.
Root key and the database's password are those of the configuration.
Usage: anyhsmd migrate [--config FILE] [--force] --from sqlite:/PATH --to postgres://USER@HOST/DATABASE`, stderr)
	from := c.String("from", "", "the `STORE` to copy: sqlite:/path, or postgres://user@host/database")
	to := c.String("to", "", "the `STORE` to make")
	settings, err := c.parse(arguments, 0)
	if err != nil {
		return err
	}
	if *from == "" || *to == "" || *from == *to {
		c.Usage()
		return errUsage
	}
	for _, dsn := range []string{*from, *to} {
		s := config.Config{Store: dsn}
		unlock, err := lockStore(s.StorePath())
		if err != nil {
			return err
		}
		defer unlock()
	}
	if s := (config.Config{Store: *from}); s.StorePath() != "" {
		if _, err := os.Stat(s.StorePath()); err != nil {
			return fmt.Errorf("--from: %w; give the path of a store", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	source, err := keystore.Open(ctx, *from, storeSettings(settings)...)
	if err != nil {
		return err
	}
	defer source.Close()
	rootKey, _ := rootSources(settings)
	said := time.Now()
	rows, kept, err := backup.Migrate(ctx, source, backup.Target{
		Store: *to, Settings: storeSettings(settings), Replace: *c.force, RootKey: rootKey,
	}, func(table string, rows int64) {
		if time.Since(said) > time.Second {
			said = time.Now()
			_, _ = fmt.Fprintf(stderr, "anyhsmd: %s: %d rows\n", table, rows)
		}
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "Copied %s: %s.\nThe destination has as many rows of each table, and its audit's chain is intact.\nWrite store = %q into anyhsmd.toml and start the daemon; do not start one on the old store again.\n",
		source.Name(), counts(rows), *to)
	if kept != "" {
		_, _ = fmt.Fprintf(stdout, "What was at the destination is %s.\n", kept)
	}
	return nil
}

// counts tells how many rows of each table there are, for people.
func counts(rows map[string]int64) string {
	var words []string
	for _, table := range slices.Sorted(maps.Keys(rows)) {
		if rows[table] > 0 {
			words = append(words, fmt.Sprintf("%s %d", table, rows[table]))
		}
	}
	return strings.Join(words, ", ")
}
