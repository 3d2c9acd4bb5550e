package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/diagnosis"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/version"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// doctor is one examination.
type doctor struct {
	*cli
	application string // name or identity to ask the daemon about; empty for the caller
	config      string // the module.toml that the application is known to use
	user        *diagnosis.User
	view        doctorView
}

func (c *cli) doctorCommand() *cobra.Command {
	var as, uid, module, config string
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Show what an application's module would see, and why not",
		Long: `Follow the way of an application from the module's file over its configuration and the socket to the daemon, and show
the tokens and keys that it sees there, and why it does not see the others. Without --as or --uid the application is
this user's. The exit code is 1 if something keeps the application from its keys.`,
		Example: `  anyhsm doctor
  anyhsm doctor --as nginx
  anyhsm doctor --as nginx --config /srv/web/module.toml
  anyhsm doctor --uid www-data --module /usr/lib/anyhsm/anyhsm-pkcs11.so`,
		Args: arguments(0, 0),
	}
	command.Flags().StringVar(&as, "as", "", "the application `NAME`")
	command.Flags().StringVar(&uid, "uid", "", "the applications of the Unix user `USER` (name or number)")
	command.Flags().StringVar(&module, "module", "", "the module's `FILE`, as the application names it")
	command.Flags().StringVar(&config, "config", "", "the `FILE` that ANYHSM_CONFIG names in the application's environment")
	command.MarkFlagsMutuallyExclusive("as", "uid")
	command.RunE = func(command *cobra.Command, _ []string) error {
		d := &doctor{cli: c, application: as, config: config}
		switch {
		case uid != "":
			identity, err := identityOf(uid)
			if err != nil {
				return usage(command, "--uid: %w", err)
			}
			d.setUser(identity)
			d.application = identity
		case as == "":
			d.setUser("uid:" + strconv.Itoa(os.Geteuid()))
		}
		d.add(diagnosis.Module(module))
		d.examine(command.Context())
		return d.show()
	}
	return command
}

func (d *doctor) add(f diagnosis.Finding) { d.view.Findings = append(d.view.Findings, f) }

func (d *doctor) setUser(identity string) {
	number, ok := strings.CutPrefix(identity, "uid:")
	if uid, err := strconv.ParseUint(number, 10, 32); ok && err == nil {
		u := diagnosis.NewUser(uint32(uid))
		d.user = &u
	}
}

// examine goes the application's way. For a named application the daemon has to say first which user it is.
func (d *doctor) examine(ctx context.Context) {
	if d.user == nil {
		targets, err := d.daemon.Targets()
		if err != nil {
			d.problem("daemon", err)
			return
		}
		d.askDaemon(ctx, targets)
		if d.user == nil {
			return
		}
	}
	targets := slices.DeleteFunc(d.configuration(), func(t connection.Target) bool { return !d.way(t) })
	if d.view.Asked {
		return
	}
	if d.daemon != (connection.Options{}) {
		own, err := d.daemon.Targets()
		if err != nil {
			d.problem("daemon", err)
			return
		}
		targets = own
	}
	if len(targets) > 0 {
		d.askDaemon(ctx, targets)
	}
}

// configuration finds the module's configuration as the user's processes do.
func (d *doctor) configuration() []connection.Target {
	place := d.user.Place()
	if d.config != "" {
		place.Config = d.config
	}
	found, err := place.Find()
	if err != nil {
		d.add(diagnosis.Finding{
			Check: "configuration", Result: diagnosis.Problem, Detail: err.Error(),
			Step: "correct the file; the module refuses to start with it",
		})
		return nil
	}
	endpoints := strings.Join(found.Config.Endpoints, ", ")
	if found.Path == "" {
		d.add(diagnosis.Finding{
			Check: "configuration", Result: diagnosis.OK,
			Detail: "no file (" + strings.Join(found.Looked, ", ") + "), so the default: " + endpoints,
		})
	} else if err := d.user.CanRead(found.Path); err != nil {
		d.add(diagnosis.Finding{
			Check: "configuration", Result: diagnosis.Problem, Detail: err.Error(), Step: "make it readable: chmod a+r " + word(found.Path),
		})
	} else {
		d.add(diagnosis.Finding{Check: "configuration", Result: diagnosis.OK, Detail: found.Path + ": " + endpoints})
	}
	if !d.user.Self && d.config == "" {
		d.add(diagnosis.Finding{
			Check: "configuration", Result: diagnosis.Note,
			Detail: "the environment of " + d.user.Name + " is not known here; its " + modulefile.Environment + " would come first",
			Step:   "if it has one, name that file with --config",
		})
	}
	targets, err := connection.FromConfig(found.Config)
	if err != nil {
		d.problem("configuration", err)
	}
	return targets
}

// way checks that the user gets to an endpoint. It returns whether there is something to ask.
func (d *doctor) way(t connection.Target) bool {
	if t.Socket() == "" {
		for _, path := range []string{t.Files().Certificate, t.Files().Key, t.Files().CA} {
			if err := d.user.CanRead(path); err != nil {
				d.add(diagnosis.Finding{
					Check: "credential", Result: diagnosis.Problem, Detail: err.Error(),
					Step: "let " + d.user.Name + " read it, or enroll anew: anyhsm enroll",
				})
			}
		}
		return true
	}
	err := d.user.CanConnect(t.Socket())
	switch {
	case err == nil:
		d.add(diagnosis.Finding{Check: "socket", Result: diagnosis.OK, Detail: t.String() + " is open to " + d.user.Name})
	case errors.Is(err, os.ErrNotExist):
		d.add(diagnosis.Finding{
			Check: "socket", Result: diagnosis.Problem, Detail: t.String() + ": no such file", Step: "start the daemon: " + t.StartCommand(),
		})
		return false
	default:
		d.add(diagnosis.Finding{
			Check: "socket", Result: diagnosis.Problem, Detail: err.Error(), Step: "let " + d.user.Name + " pass, or use another directory",
		})
	}
	return true
}

func (d *doctor) problem(check string, err error) {
	detail, step, _ := strings.Cut(err.Error(), "; ")
	d.add(diagnosis.Finding{Check: check, Result: diagnosis.Problem, Detail: detail, Step: step})
}

// askDaemon asks the daemon what the application sees.
func (d *doctor) askDaemon(ctx context.Context, targets []connection.Target) {
	d.view.Asked = true
	limit := shortWork
	if d.timeout > 0 {
		limit = d.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	daemon, err := connection.OpenFirst(ctx, targets)
	if err != nil {
		d.problem("daemon", err)
		return
	}
	defer daemon.Close()
	slots, err := anyhsmv1.NewTokenServiceClient(daemon).ListSlots(ctx, &anyhsmv1.ListSlotsRequest{ModuleVersion: "doctor " + version.Version})
	if err != nil && !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.NotGranted) {
		d.problem("daemon", err)
		return
	}
	d.daemonVersion(daemon.Target.String(), slots.GetDaemonVersion())
	response, err := anyhsmv1.NewApplicationServiceClient(daemon).ExplainView(ctx, &anyhsmv1.ExplainViewRequest{Application: d.application})
	switch {
	case err == nil:
		d.explained(response)
	case d.application == "" && slots != nil:
		d.add(diagnosis.Finding{
			Check: "view", Result: diagnosis.Note, Detail: err.Error(),
			Step: "these are the slots that the module shows; an administrator sees the reasons: anyhsm doctor --uid " +
				strconv.Itoa(os.Geteuid()),
		})
		d.slots(slots)
	default:
		d.problem("view", err)
	}
}

func (d *doctor) daemonVersion(where, daemon string) {
	finding := diagnosis.Finding{Check: "daemon", Result: diagnosis.OK, Detail: "anyhsmd " + daemon + " answers at " + where}
	if daemon != "" && daemon != version.Version {
		finding.Result = diagnosis.Note
		finding.Detail += fmt.Sprintf(" (this is anyhsm %s)", version.Version)
	}
	d.add(finding)
}
