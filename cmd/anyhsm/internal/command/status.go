package command

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

type statusView struct {
	Endpoint     string               `json:"endpoint"`
	Version      string               `json:"version"`
	Started      *time.Time           `json:"started,omitempty"`
	ConfigFile   string               `json:"config_file"`
	Listeners    []string             `json:"listeners"`
	Store        string               `json:"store"`
	Tokens       uint64               `json:"tokens"`
	Objects      uint64               `json:"objects"`
	Applications uint64               `json:"applications"`
	Providers    []providerStatusView `json:"providers"`
}

type providerStatusView struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Healthy bool   `json:"healthy"`
	Detail  string `json:"detail,omitempty"`
}

func (c *cli) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the daemon is",
		Long:  "Show the daemon's version, listeners, store, counts and the health of its providers. The exit code is 1 if one fails.",
		Example: `  anyhsm status
  anyhsm status --endpoint tcp://hsm.example.org:7512 --tls-dir /etc/anyhsm --json`,
		Args: arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewStatusServiceClient(daemon).GetStatus(ctx, &anyhsmv1.GetStatusRequest{})
				if err != nil {
					return err
				}
				return c.showStatus(viewStatus(daemon.Target.String(), response))
			})
		},
	}
}

func viewStatus(endpoint string, s *anyhsmv1.GetStatusResponse) statusView {
	v := statusView{
		Endpoint: endpoint, Version: s.GetVersion(), Started: stamp(s.GetStarted()), ConfigFile: s.GetConfigFile(),
		Listeners: list(s.GetListeners()), Store: s.GetStore(), Tokens: s.GetTokens(), Objects: s.GetObjects(),
		Applications: s.GetApplications(), Providers: []providerStatusView{},
	}
	for _, p := range s.GetProviders() {
		v.Providers = append(v.Providers, providerStatusView{p.GetName(), p.GetKind(), p.GetHealthy(), p.GetDetail()})
	}
	return v
}

func (c *cli) showStatus(v statusView) error {
	var failing []string
	var rows [][]string
	for _, p := range v.Providers {
		if !p.Healthy {
			failing = append(failing, p.Name)
		}
		rows = append(rows, []string{p.Name, p.Kind, health(p.Healthy), p.Detail})
	}
	err := c.show(v, func(w io.Writer) {
		running := ""
		if v.Started != nil {
			running = local(v.Started) + " (" + time.Since(*v.Started).Round(time.Second).String() + " ago)"
		}
		fields(w, "Daemon", "anyhsmd "+v.Version+" at "+v.Endpoint, "Started", running, "Configuration", v.ConfigFile,
			"Listens on", strings.Join(v.Listeners, ", "), "Store", v.Store, "Tokens", strconv.FormatUint(v.Tokens, 10),
			"Objects", strconv.FormatUint(v.Objects, 10), "Applications", strconv.FormatUint(v.Applications, 10))
		fmt.Fprintln(w)
		table(w, []string{"PROVIDER", "KIND", "HEALTH", "DETAIL"}, rows)
	})
	if err == nil && len(failing) > 0 {
		err = fmt.Errorf("provider %s does not work; see: anyhsm provider check %s", strings.Join(failing, ", "), word(failing[0]))
	}
	return err
}
