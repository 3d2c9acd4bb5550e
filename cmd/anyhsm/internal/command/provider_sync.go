package command

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/terminal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// syncWork bounds a whole comparison: a service that throttles may make it long.
	syncWork = 24 * time.Hour
	// A provider that throttles is asked again after a pause that doubles from the first to the last.
	firstThrottle, lastThrottle = time.Second, 30 * time.Second
	mostThrottles               = 20
	// inspected is how many keys one call asks about.
	inspected = 25
)

func (c *cli) providerSync() *cobra.Command {
	s := synchronization{cli: c}
	command := &cobra.Command{
		Use:   "sync NAME",
		Short: "Compare a provider's keys with the tokens, and adopt new ones",
		Long: `List all keys of a provider, page by page, and show which are new, gone or changed: disabled, about to be deleted or to
expire, of another type than recorded, with a newer version. --adopt takes new keys whose label or reference matches a
pattern (* and ? are wildcards) into a token; keys that are known already are left alone, so the command can be run at
any time, also after one that was interrupted. --page goes on with the page that such a run named; what is gone is told
only by a run over all pages.`,
		Example: `  anyhsm provider sync aws
  anyhsm provider sync aws --all --json
  anyhsm provider sync aws --adopt 'prod-*' --token web --dry-run
  anyhsm provider sync aws --adopt 'prod-*' --token web`,
		Args: arguments(1, 1, "NAME"),
	}
	tokenFlag(command, &s.token)
	command.Flags().StringArrayVar(&s.adopt, "adopt", nil, "adopt new keys whose label or reference matches `PATTERN`; may be given several times")
	command.Flags().BoolVar(&s.dryRun, "dry-run", false, "show what --adopt would do, and do nothing")
	command.Flags().BoolVar(&s.all, "all", false, "show the keys that are known and unchanged as well")
	command.Flags().StringVar(&s.page, "page", "", "go on with this `PAGE`")
	command.RunE = func(command *cobra.Command, args []string) error {
		if s.provider = args[0]; len(s.adopt) > 0 {
			token, err := chosenToken(command, s.token)
			if err != nil {
				return err
			}
			s.token = token
		} else if s.dryRun {
			return usage(command, "--dry-run is for --adopt")
		}
		return c.work(command.Context(), syncWork, s.run)
	}
	return command
}

// synchronization is one run of provider sync. It keeps what is remarkable, and 32 bytes of each key that is known.
type synchronization struct {
	*cli
	provider, token, page string
	adopt                 []string
	dryRun, all           bool

	client anyhsmv1.SyncServiceClient
	listed atomic.Uint64
	phase  atomic.Pointer[string]
	seen   map[string]bool
	view   syncView
}

type syncView struct {
	Provider string        `json:"provider"`
	Listed   uint64        `json:"listed"`
	Known    uint64        `json:"known"`
	New      uint64        `json:"new"`
	Adopted  uint64        `json:"adopted"`
	Changed  uint64        `json:"changed"`
	Gone     uint64        `json:"gone"`
	Complete bool          `json:"complete"`
	Keys     []syncKeyView `json:"keys"`
}

type syncKeyView struct {
	State     string     `json:"state"`
	Reference string     `json:"reference"`
	Label     string     `json:"label,omitempty"`
	KeyType   string     `json:"key_type,omitempty"`
	Bits      uint32     `json:"bits,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	Version   string     `json:"version,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	Token     string     `json:"token,omitempty"`
	Object    uint64     `json:"object,omitempty"`
}

func (s *synchronization) run(ctx context.Context, daemon *connection.Connection) error {
	s.client, s.seen = anyhsmv1.NewSyncServiceClient(daemon), map[string]bool{}
	s.view = syncView{Provider: s.provider, Complete: s.page == "", Keys: []syncKeyView{}}
	s.doing("Listing")
	done := terminal.ProgressOf(s.Err, func() string {
		return fmt.Sprintf("%s keys of %s: %d so far", *s.phase.Load(), s.provider, s.listed.Load())
	})
	err := s.list(ctx)
	if err == nil && s.view.Complete {
		s.doing("Looking for lost")
		err = s.missing(ctx)
	}
	done()
	if err != nil {
		return err
	}
	s.view.Listed = s.listed.Load()
	return s.show(s.view, s.people)
}

func (s *synchronization) doing(what string) { s.phase.Store(&what) }

// list goes through all pages of the provider.
func (s *synchronization) list(ctx context.Context) error {
	for page := s.page; ; {
		request := &anyhsmv1.SyncKeysRequest{
			RequestId: newRequestID(), Provider: s.provider, Page: page, Adopt: s.adopt, DryRun: s.dryRun,
		}
		if len(s.adopt) > 0 {
			request.Token = s.token
		}
		response, err := patiently(ctx, s, func(ctx context.Context) (*anyhsmv1.SyncKeysResponse, error) {
			return s.client.SyncKeys(ctx, request)
		})
		if err != nil {
			if page != "" {
				fmt.Fprintf(s.Err, "anyhsm: after %s; go on with: anyhsm provider sync %s --page %s\n", count(s.listed.Load(), "key"), word(s.provider), word(page))
			}
			return err
		}
		for _, k := range response.GetKeys() {
			if len(k.GetKnownId()) > 0 {
				s.seen[string(k.GetKnownId())] = true
			}
			s.take(k)
		}
		s.listed.Add(uint64(len(response.GetKeys())))
		if page = response.GetNextPage(); page == "" {
			return nil
		}
	}
}

// missing asks about the keys that are known and were not listed.
func (s *synchronization) missing(ctx context.Context) error {
	var lost [][]byte
	request := &anyhsmv1.ListKnownKeysRequest{Provider: s.provider}
	for {
		response, err := s.client.ListKnownKeys(ctx, request)
		if err != nil {
			return err
		}
		for _, id := range response.GetKnownIds() {
			if !s.seen[string(id)] {
				lost = append(lost, id)
			}
		}
		if request.Page = response.GetNextPage(); request.Page == "" {
			break
		}
	}
	for len(lost) > 0 {
		some := lost[:min(len(lost), inspected)]
		response, err := patiently(ctx, s, func(ctx context.Context) (*anyhsmv1.InspectKeysResponse, error) {
			return s.client.InspectKeys(ctx, &anyhsmv1.InspectKeysRequest{Provider: s.provider, KnownIds: some})
		})
		if err != nil {
			return err
		}
		for _, k := range response.GetKeys() {
			s.take(k)
		}
		lost = lost[len(some):]
	}
	return nil
}

// patiently makes a call with a time of its own, and again after a pause where the provider throttles.
func patiently[R any](ctx context.Context, s *synchronization, call func(context.Context) (R, error)) (R, error) {
	for attempt, pause := 1, firstThrottle; ; attempt, pause = attempt+1, min(2*pause, lastThrottle) {
		one, cancel := context.WithTimeout(ctx, longWork)
		response, err := call(one)
		cancel()
		if err == nil || !fault.Is(err, fault.Throttled) || attempt == mostThrottles {
			return response, err
		}
		before := *s.phase.Load()
		s.doing("Throttled; listing")
		select {
		case <-ctx.Done():
			return response, err
		case <-time.After(pause):
		}
		s.doing(before)
	}
}

func (s *synchronization) take(k *anyhsmv1.SyncKey) {
	counter, state := &s.view.Known, "known"
	switch k.GetState() {
	case anyhsmv1.SyncState_SYNC_STATE_NEW:
		counter, state = &s.view.New, "new"
	case anyhsmv1.SyncState_SYNC_STATE_ADOPTED:
		counter, state = &s.view.Adopted, "adopted"
	case anyhsmv1.SyncState_SYNC_STATE_CHANGED:
		counter, state = &s.view.Changed, "changed"
	case anyhsmv1.SyncState_SYNC_STATE_GONE:
		counter, state = &s.view.Gone, "gone"
	}
	*counter++
	if state == "known" && !s.all {
		return
	}
	v := syncKeyView{
		State: state, Reference: k.GetReference(), Label: k.GetLabel(), Bits: k.GetBits(), Detail: k.GetDetail(), Version: k.GetVersion(),
		Expires: stamp(k.GetExpires()), Token: k.GetToken(), Object: k.GetObject(),
	}
	if kind := cryptoki.KeyType(k.GetKeyType()); kind != cryptoki.KeyType(cryptoki.Unavailable) {
		v.KeyType = kind.String()
	}
	s.view.Keys = append(s.view.Keys, v)
}

func (s *synchronization) people(w io.Writer) {
	if len(s.view.Keys) > 0 {
		var rows [][]string
		for _, v := range s.view.Keys {
			kind := strings.TrimPrefix(v.KeyType, "CKK_")
			if v.Bits > 0 {
				kind += " " + strconv.FormatUint(uint64(v.Bits), 10)
			}
			rows = append(rows, []string{v.State, v.Reference, v.Label, kind, v.Token, v.Detail})
		}
		table(w, []string{"STATE", "REFERENCE", "LABEL", "TYPE", "TOKEN", "DETAIL"}, rows)
	}
	v := s.view
	fmt.Fprintf(w, "Provider %s lists %s: %d known, %d new, %d adopted, %d changed; %d gone.\n",
		clean(v.Provider), count(v.Listed, "key"), v.Known, v.New, v.Adopted, v.Changed, v.Gone)
	switch {
	case !v.Complete:
		fmt.Fprintln(w, "Only a part was listed; what is gone is told by a run without --page.")
	case v.New > 0 && len(s.adopt) == 0:
		fmt.Fprintf(w, "Next: anyhsm provider sync %s --adopt PATTERN --token TOKEN\n", word(v.Provider))
	}
}
