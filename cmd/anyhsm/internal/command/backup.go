package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/connection"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// backupWork is the deadline of a backup: a large audit log takes minutes.
const backupWork = 6 * time.Hour

func (c *cli) backupCommand() *cobra.Command {
	var force bool
	command := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a sealed backup of the whole store, while the daemon serves",
		Long: `Write one state of the whole store into a file of mode 0600: tokens, objects with the sealed keys of provider software, applications and
grants, certificate authority and audit log. Keys in an HSM or a cloud stay where they are; their references are in it.

The file is sealed under the daemon's root key, which is not in it: keep the root key's file, or its passphrase, in another safe place. Without
it the backup is worth nothing. The file appears when it is complete and on disk.

anyhsmd restore FILE makes a store of it, in SQLite or PostgreSQL, whichever it was taken from; anyhsmd migrate copies a store directly. Both
belong to anyhsmd because no daemon may run on the store meanwhile.`,
		Example: `  anyhsm backup /var/backups/anyhsm-$(date +%F).backup
  anyhsm backup --force nightly.backup --json
  anyhsmd restore --config /etc/anyhsm/anyhsmd.toml nightly.backup`,
		Args: arguments(1, 1, "FILE"),
	}
	command.Flags().BoolVarP(&force, "force", "f", false, "replace a file that is there")
	command.RunE = func(command *cobra.Command, args []string) error {
		path := args[0]
		if _, err := os.Lstat(path); err == nil && !force {
			return fmt.Errorf("%s exists; give another name, or --force to replace it", path)
		}
		return c.work(command.Context(), backupWork, func(ctx context.Context, daemon *connection.Connection) error {
			var summary *anyhsmv1.BackupSummary
			size, err := writeFile(path, force, func(w io.Writer) (err error) {
				summary, err = c.receive(ctx, daemon, w)
				return err
			})
			if err != nil {
				return err
			}
			return c.showBackup(path, size, summary)
		})
	}
	return command
}

// receive writes what the daemon streams.
func (c *cli) receive(ctx context.Context, daemon *connection.Connection, w io.Writer) (*anyhsmv1.BackupSummary, error) {
	stream, err := anyhsmv1.NewStoreServiceClient(daemon).Backup(ctx, &anyhsmv1.BackupRequest{})
	if err != nil {
		return nil, err
	}
	var summary *anyhsmv1.BackupSummary
	var size int64
	said := time.Now()
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) && summary != nil {
			return summary, nil
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the daemon ended the backup too early; look into its log")
		}
		if err != nil {
			return nil, err
		}
		if response.GetSummary() != nil {
			summary = response.GetSummary()
		}
		n, err := w.Write(response.GetData())
		if err != nil {
			return nil, err
		}
		if size += int64(n); !c.json && time.Since(said) > time.Second {
			said = time.Now()
			fmt.Fprintf(c.Err, "anyhsm: %d MiB written\n", size>>20)
		}
	}
}

// writeFile makes a file that is complete and durable, or leaves none. It is written under another name beside it.
func writeFile(path string, replace bool, write func(io.Writer) error) (size int64, err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // of mode 0600
	if err != nil {
		return 0, fmt.Errorf("the file cannot be made: %w; name one in a directory that you may write to", err)
	}
	defer os.Remove(draft.Name())
	failed := write(draft)
	if failed == nil {
		failed = draft.Sync()
	}
	if info, err := draft.Stat(); err == nil {
		size = info.Size()
	}
	if err := draft.Close(); failed == nil {
		failed = err
	}
	var disk *fs.PathError
	if errors.As(failed, &disk) {
		return 0, fmt.Errorf("the backup was not written: %w; make room, or name another place. No file was left behind", failed)
	}
	if failed != nil {
		return 0, failed
	}
	if replace {
		err = os.Rename(draft.Name(), path)
	} else {
		err = os.Link(draft.Name(), path) // refuses a file that has come meanwhile
	}
	if err != nil {
		return 0, err
	}
	directory, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, err
	}
	return size, errors.Join(directory.Sync(), directory.Close())
}

func (c *cli) showBackup(path string, size int64, summary *anyhsmv1.BackupSummary) error {
	view := struct {
		File          string           `json:"file"`
		Bytes         int64            `json:"bytes"`
		Created       *time.Time       `json:"created"`
		RootKey       string           `json:"root_key"`
		RootKeySource string           `json:"root_key_source"`
		Rows          map[string]int64 `json:"rows"`
	}{path, size, stamp(summary.GetCreated()), summary.GetRootKey(), summary.GetRootKeySource(), summary.GetRows()}
	return c.show(view, func(w io.Writer) {
		fmt.Fprintf(w, "Backup %s: %s, %s, %s, %s, %d bytes.\n", clean(path), count(uint64(view.Rows["tokens"]), "token"),
			count(uint64(view.Rows["objects"]), "object"), count(uint64(view.Rows["applications"]), "application"),
			count(uint64(view.Rows["audit"]), "audit event"), size)
		fmt.Fprintf(w, "It is sealed under the root key %s (%s), which is not in it: keep that elsewhere.\n", view.RootKey, clean(view.RootKeySource))
		fmt.Fprintf(w, "Restore it with: anyhsmd restore %s\n", clean(path))
	})
}
