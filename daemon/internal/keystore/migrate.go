package keystore

import (
	"context"
	"embed"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/anyhsm/anyhsm/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to this program's version.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(s.engine.dialect(), s.write, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return s.engine.fault(err)
	}
	// Daemons that start together migrate together: whoever comes second fails once and then finds all done.
	for try := 1; ; try++ {
		current, target, err := provider.GetVersions(ctx)
		if err == nil && current > target {
			return fault.New(fault.VersionMismatch,
				"the store %s has schema version %d, this daemon knows %d; start the newer daemon that wrote it, or restore a backup from before",
				s.engine.name(), current, target)
		}
		if err == nil {
			_, err = provider.Up(ctx)
		}
		if err == nil || try == 5 || ctx.Err() != nil {
			return s.engine.fault(err)
		}
		time.Sleep(time.Duration(try) * 50 * time.Millisecond)
	}
}
