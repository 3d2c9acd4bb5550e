package command

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// followWait is how long the daemon holds a request for new events, in seconds. A daemon that is to end waits for
	// its requests, so it is short.
	followWait = 2
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
	TokenLabel  string     `json:"token_label,omitempty"`
	Object      string     `json:"object,omitempty"`
	Mechanism   string     `json:"mechanism,omitempty"`
	Outcome     string     `json:"outcome"`
	Detail      string     `json:"detail,omitempty"`
	Hash        string     `json:"hash"`
}

func viewEvent(e *anyhsmv1.AuditEvent) eventView {
	return eventView{
		e.GetSequence(), stamp(e.GetTime()), e.GetApplication(), e.GetIdentity(), e.GetOperation(), e.GetToken(), "", e.GetObject(),
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
		t := &tail{cli: c, labels: map[string]string{}}
		newest := &anyhsmv1.ListEventsRequest{Newest: true, Limit: max(lines, 1)}
		err := t.fetch(command.Context(), newest, lines > 0)
		if err != nil {
			return err
		}
		for follow && (err == nil || fault.Is(err, fault.DeviceError) && c.daemonAway(command.Context(), err)) {
			next := &anyhsmv1.ListEventsRequest{After: t.last, Limit: eventsPage, WaitSeconds: followWait}
			err = t.fetch(command.Context(), next, true)
		}
		if follow && (errors.Is(err, context.Canceled) || fault.Is(err, fault.FunctionCanceled)) {
			return nil
		}
		return err
	}
	return command
}

// daemonAway waits a little for a daemon that restarts, until interrupted.
func (c *cli) daemonAway(ctx context.Context, err error) bool {
	fmt.Fprintf(c.Err, "anyhsm: %s\n", clean(err.Error()))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(2 * time.Second):
		return true
	}
}

// tail prints events as they come.
type tail struct {
	*cli
	last   uint64
	labels map[string]string
	begun  bool
}

// fetch asks once, with a deadline of its own.
func (t *tail) fetch(ctx context.Context, request *anyhsmv1.ListEventsRequest, print bool) error {
	return t.work(ctx, shortWork+followWait*time.Second, func(ctx context.Context, daemon *connection.Connection) error {
		response, err := anyhsmv1.NewAuditServiceClient(daemon).ListEvents(ctx, request)
		if err != nil {
			return err
		}
		for _, e := range response.GetEvents() {
			view := viewEvent(e)
			view.TokenLabel = t.label(ctx, daemon, view.Token)
			t.last = max(t.last, view.Sequence)
			if print {
				t.print(view)
			}
		}
		return nil
	})
}

// label finds a token's label; none for a token that is gone.
func (t *tail) label(ctx context.Context, daemon *connection.Connection, uid string) string {
	if _, known := t.labels[uid]; !known && uid != "" {
		t.labels[uid] = ""
		response, err := anyhsmv1.NewTokenAdminServiceClient(daemon).ListTokens(ctx, &anyhsmv1.ListTokensRequest{})
		if err != nil {
			return ""
		}
		for _, token := range response.GetTokens() {
			t.labels[token.GetToken().GetUid()] = token.GetToken().GetLabel()
		}
	}
	return t.labels[uid]
}

// print writes one line, in columns of fixed width because the next events are not known yet.
func (t *tail) print(e eventView) {
	if t.json {
		encoder := json.NewEncoder(t.Out)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(e)
		return
	}
	const columns = "%-6s %-19s %-12s %-16s %-12s %-8s %-20s %-10s %s\n"
	if !t.begun {
		t.begun = true
		_, _ = fmt.Fprintf(t.Out, columns, "SEQ", "TIME", "CALLER", "OPERATION", "TOKEN", "OBJECT", "MECHANISM", "OUTCOME", "DETAIL")
	}
	caller, token := e.Application, e.TokenLabel
	if caller == "" {
		caller = e.Identity
	}
	if token == "" {
		token = first(e.Token, 8)
	}
	cells := []any{strconv.FormatUint(e.Sequence, 10), local(e.Time)}
	for _, cell := range []string{caller, e.Operation, token, first(e.Object, 8), e.Mechanism, e.Outcome, e.Detail} {
		cells = append(cells, clean(orDash(cell)))
	}
	_, _ = fmt.Fprintf(t.Out, columns, cells...)
}

func first(text string, n int) string { return text[:min(n, len(text))] }

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
