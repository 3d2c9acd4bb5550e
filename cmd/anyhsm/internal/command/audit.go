package command

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// followWait is how long the daemon holds a request for new events.
	followWait = 20
	eventsPage = 1000
)

func (c *cli) auditCommand() *cobra.Command {
	return group("audit", "Read and verify the audit log",
		"Each management operation and each use of a key is an event of a hash chain.",
		`  anyhsm audit tail -f
  anyhsm audit verify`,
		c.auditTail(), c.auditVerify())
}

type eventView struct {
	Sequence    uint64     `json:"sequence"`
	Time        *time.Time `json:"time"`
	Application string     `json:"application,omitempty"`
	Identity    string     `json:"identity,omitempty"`
	Operation   string     `json:"operation"`
	Token       string     `json:"token,omitempty"`
	Object      string     `json:"object,omitempty"`
	Mechanism   string     `json:"mechanism,omitempty"`
	Outcome     string     `json:"outcome"`
	Detail      string     `json:"detail,omitempty"`
	Hash        string     `json:"hash"`
}

func viewEvent(e *anyhsmv1.AuditEvent) eventView {
	return eventView{
		e.GetSequence(), stamp(e.GetTime()), e.GetApplication(), e.GetIdentity(), e.GetOperation(), e.GetToken(), e.GetObject(),
		e.GetMechanism(), e.GetOutcome(), e.GetDetail(), hex.EncodeToString(e.GetHash()),
	}
}

func (c *cli) auditTail() *cobra.Command {
	var lines uint32
	var follow bool
	command := &cobra.Command{
		Use:   "tail",
		Short: "Show the newest events",
		Long:  "Show the newest events; with --follow go on as they come, until interrupted. --json prints one event a line.",
		Example: `  anyhsm audit tail -n 50
  anyhsm audit tail -f
  anyhsm audit tail -f --json | jq -r 'select(.outcome != "OK")'`,
		Args: arguments(0, 0),
	}
	command.Flags().Uint32VarP(&lines, "lines", "n", 20, "how many events, as `NUMBER`")
	command.Flags().BoolVarP(&follow, "follow", "f", false, "wait for new events")
	command.RunE = func(command *cobra.Command, _ []string) error {
		if lines == 0 && !follow {
			return usage(command, "--lines 0 shows nothing without --follow")
		}
		print := c.eventPrinter()
		var last uint64
		newest := &anyhsmv1.ListEventsRequest{Newest: true, Limit: max(lines, 1)}
		last, err := c.fetchEvents(command.Context(), newest, last, func(e eventView) {
			if lines > 0 {
				print(e)
			}
		})
		for err == nil && follow {
			next := &anyhsmv1.ListEventsRequest{After: last, Limit: eventsPage, WaitSeconds: followWait}
			last, err = c.fetchEvents(command.Context(), next, last, print)
		}
		if follow && (errors.Is(err, context.Canceled) || fault.Is(err, fault.FunctionCanceled)) {
			return nil
		}
		return err
	}
	return command
}

// fetchEvents asks once, with a deadline of its own, and returns the last sequence number seen.
func (c *cli) fetchEvents(ctx context.Context, request *anyhsmv1.ListEventsRequest, last uint64, print func(eventView)) (uint64, error) {
	err := c.work(ctx, shortWork+followWait*time.Second, func(ctx context.Context, daemon *connection.Connection) error {
		response, err := anyhsmv1.NewAuditServiceClient(daemon).ListEvents(ctx, request)
		for _, e := range response.GetEvents() {
			print(viewEvent(e))
			last = max(last, e.GetSequence())
		}
		return err
	})
	return last, err
}

// eventPrinter prints one event a line, in columns of fixed width because the next ones are not known yet.
func (c *cli) eventPrinter() func(eventView) {
	if c.json {
		encoder := json.NewEncoder(c.Out)
		encoder.SetEscapeHTML(false)
		return func(e eventView) { _ = encoder.Encode(e) }
	}
	header := []string{"SEQ", "TIME", "CALLER", "OPERATION", "TOKEN", "OBJECT", "MECHANISM", "OUTCOME", "DETAIL"}
	w := tabwriter.NewWriter(c.Out, 12, 0, 2, ' ', 0)
	return func(e eventView) {
		if header != nil {
			writeRow(w, header)
			header = nil
		}
		caller := e.Application
		if caller == "" {
			caller = e.Identity
		}
		writeRow(w, []string{
			strconv.FormatUint(e.Sequence, 10), local(e.Time), caller, e.Operation, e.Token, e.Object, e.Mechanism, e.Outcome, e.Detail,
		})
		_ = w.Flush()
	}
}

func (c *cli) auditVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Recompute the hash chain",
		Long:  "Recompute the hash chain of the audit log. The exit code is 1 if an event was changed, removed or cut off.",
		Example: `  anyhsm audit verify
  anyhsm audit verify --json`,
		Args: arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewAuditServiceClient(daemon).VerifyChain(ctx, &anyhsmv1.VerifyChainRequest{})
				if err != nil {
					return err
				}
				view := struct {
					Intact   bool   `json:"intact"`
					Events   uint64 `json:"events"`
					BrokenAt uint64 `json:"broken_at,omitempty"`
					Detail   string `json:"detail,omitempty"`
					Head     string `json:"head"`
				}{
					response.GetIntact(), response.GetEvents(), response.GetBrokenAt(), response.GetDetail(),
					hex.EncodeToString(response.GetHead()),
				}
				err = c.show(view, func(w io.Writer) {
					if view.Intact {
						fmt.Fprintf(w, "Intact: %s. Head %s\n", count(view.Events, "event"), view.Head)
					}
				})
				if err == nil && !view.Intact {
					err = fmt.Errorf("the audit log is damaged at event %d: %s; keep the store as it is and find out who can write to it",
						view.BrokenAt, view.Detail)
				}
				return err
			})
		},
	}
}
