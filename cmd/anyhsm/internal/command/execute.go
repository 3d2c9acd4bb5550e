package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// The exit codes of the process.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a wrong command line.
type usageError struct {
	err     error
	command string
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see: %s --help", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// usage makes the error of a wrong command line.
func usage(command *cobra.Command, format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...), command.CommandPath()}
}

// reported is a failure that the command has shown already, as doctor does.
type reported struct{ what string }

func (e *reported) Error() string { return e.what }

// Execute runs a command line and returns the exit code.
func Execute(ctx context.Context, args []string, streams Streams) int {
	root, c := tree(streams)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var wrong *usageError
	if !errors.As(err, &wrong) && isCobraUsage(err) {
		err = usage(command, "%w", err)
	}
	return c.fail(err)
}

// isCobraUsage recognises the two checks that cobra makes itself and for which it has no error type.
func isCobraUsage(err error) bool {
	return strings.HasPrefix(err.Error(), "required flag(s)") || strings.HasPrefix(err.Error(), "if any flags in the group") ||
		strings.HasPrefix(err.Error(), "at least one of the flags")
}

func (c *cli) fail(err error) int {
	code := exitFailed
	var wrong *usageError
	if errors.As(err, &wrong) {
		code = exitUsage
	}
	var shown *reported
	if errors.As(err, &shown) {
		return code
	}
	if !c.json {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(c.Err, "anyhsm: %s\n", clean(strings.TrimSuffix(line, "\n")))
		}
		return code
	}
	failure := struct {
		Error string `json:"error"`
		Usage bool   `json:"usage,omitempty"`
		RV    string `json:"ck_rv,omitempty"`
	}{Error: err.Error(), Usage: code == exitUsage}
	var f *fault.Error
	if errors.As(err, &f) {
		failure.RV = f.RV().String()
	}
	_ = json.NewEncoder(c.Err).Encode(failure)
	return code
}

// noSuchCommand is the check of commands that only hold others.
func noSuchCommand(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("%s has no command %q", command.CommandPath(), args[0])
	if command.SuggestionsMinimumDistance <= 0 {
		command.SuggestionsMinimumDistance = 2
	}
	if near := command.SuggestionsFor(args[0]); len(near) > 0 {
		message += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage(command, "%s", message)
}

// arguments checks the number of words and names the ones that are missing.
func arguments(least, most int, names ...string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) < least {
			return usage(command, "%s is missing", strings.Join(names[len(args):least], " and "))
		}
		if most >= 0 && len(args) > most {
			return usage(command, "unexpected argument %q", args[most])
		}
		return nil
	}
}
