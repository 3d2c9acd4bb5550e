package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func (c *cli) rootKeyCommand() *cobra.Command {
	return group("root-key", "Show and rotate the root key",
		`The store is sealed under the root key, which each daemon has in a file or gets as a passphrase. A rotation seals the store under the next root
key while the daemons serve; applications do not notice, not even their logins end. The next key lies beside the current one as FILE.next until
then; the old one is kept as FILE.retired-FINGERPRINT, because backups from before need it.

With several daemons on one database each needs the next key first: stage makes it on one, copy the file to the others, and rotate refuses until
all that run have it. To change between file and passphrase write [root_key.next] into each configuration and restart the daemons one by one.`,
		`  anyhsm root-key show
  anyhsm root-key stage
  anyhsm root-key rotate`,
		c.rootKeyShow(), c.rootKeyStage(), c.rootKeyRotate())
}

type replicaView struct {
	Name    string     `json:"name"`
	Version string     `json:"version"`
	Current string     `json:"current"`
	Next    string     `json:"next,omitempty"`
	Seen    *time.Time `json:"seen"`
	This    bool       `json:"this,omitempty"`
}

type rootKeyView struct {
	Current    string        `json:"current"`
	Source     string        `json:"source"`
	Next       string        `json:"next,omitempty"`
	NextSource string        `json:"next_source,omitempty"`
	Replicas   []replicaView `json:"replicas"`
	Retired    string        `json:"retired,omitempty"`
}

func viewRootKey(state *anyhsmv1.RootKeyState) rootKeyView {
	view := rootKeyView{
		Current: state.GetCurrent(), Source: state.GetSource(), Next: state.GetNext(), NextSource: state.GetNextSource(), Replicas: []replicaView{},
	}
	for _, r := range state.GetReplicas() {
		view.Replicas = append(view.Replicas, replicaView{r.GetName(), r.GetVersion(), r.GetCurrent(), r.GetNext(), stamp(r.GetSeen()), r.GetThis()})
	}
	return view
}

func (v rootKeyView) people(w io.Writer) {
	next := v.Next
	if next != "" {
		next += " in " + v.NextSource
	}
	fields(w, "Root key", v.Current+" from "+v.Source, "Next", next)
	if len(v.Replicas) == 0 {
		return
	}
	rows := make([][]string, len(v.Replicas))
	for i, r := range v.Replicas {
		rows[i] = []string{r.Name, r.Version, r.Current, r.Next, time.Since(*r.Seen).Round(time.Second).String() + " ago"}
	}
	table(w, []string{"REPLICA", "VERSION", "ROOT KEY", "NEXT", "SEEN"}, rows)
}

func (c *cli) rootKeyShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show which daemon has which root key",
		Long:    "Show the fingerprints of the root key and of the next one, here and on each replica. A fingerprint says nothing about the key itself.",
		Example: "  anyhsm root-key show\n  anyhsm root-key show --json",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewStoreServiceClient(daemon).GetRootKey(ctx, &anyhsmv1.GetRootKeyRequest{})
				if err != nil {
					return err
				}
				view := viewRootKey(response.GetState())
				return c.show(view, view.people)
			})
		},
	}
}

func (c *cli) rootKeyStage() *cobra.Command {
	return &cobra.Command{
		Use: "stage", Short: "Make the next root key on this daemon",
		Long: `Make a next root key beside the current one on the daemon that answers, or take the one that lies there already. Nothing changes before rotate.
Copy the file, which is as secret as the current one, to the same place on each replica.`,
		Example: "  anyhsm root-key stage\n  scp -p /var/lib/anyhsm/root.key.next replica2:/var/lib/anyhsm/",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), shortWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewStoreServiceClient(daemon).StageRootKey(ctx, &anyhsmv1.StageRootKeyRequest{})
				if err != nil {
					return err
				}
				view := viewRootKey(response.GetState())
				return c.show(view, func(w io.Writer) {
					view.people(w)
					if len(view.Replicas) > 1 {
						fmt.Fprintf(w, "Copy %s to the other replicas, then run: anyhsm root-key rotate\n", clean(view.NextSource))
						return
					}
					fmt.Fprintln(w, "Next: anyhsm root-key rotate")
				})
			})
		},
	}
}

func (c *cli) rootKeyRotate() *cobra.Command {
	return &cobra.Command{
		Use: "rotate", Short: "Seal the store under the next root key",
		Long: `Seal the store under the next root key, in one transaction, while the daemons serve. A daemon that is alone makes the key itself if none is
staged; with replicas all must have it first. Then the key's file takes the name of the old one on each replica.
Back up the new root key, and keep the old one as long as backups from before matter.`,
		Example: "  anyhsm root-key rotate\n  anyhsm root-key rotate --json",
		Args:    arguments(0, 0),
		RunE: func(command *cobra.Command, _ []string) error {
			return c.work(command.Context(), longWork, func(ctx context.Context, daemon *connection.Connection) error {
				response, err := anyhsmv1.NewStoreServiceClient(daemon).RotateRootKey(ctx, &anyhsmv1.RotateRootKeyRequest{RequestId: newRequestID()})
				if err != nil {
					return err
				}
				view := viewRootKey(response.GetState())
				view.Retired = response.GetRetired()
				return c.show(view, func(w io.Writer) {
					fmt.Fprintf(w, "The store is sealed under the root key %s; %s no longer opens it (%s sealed anew).\n", view.Current, view.Retired,
						count(uint64(response.GetTokens()), "token key"))
					fmt.Fprintln(w, "Back up the new root key. Backups from before need the old one.")
				})
			})
		},
	}
}
