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

// migrate brings the schema up to this program's version. Daemons of the version before may go on meanwhile.
func (s *Store) migrate(ctx context.Context) error { return s.migrateTo(ctx, 0) }

// migrateTo brings the schema up to a version, the newest if 0.
func (s *Store) migrateTo(ctx context.Context, version int64) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	return persist(ctx, s.engine, func() error {
		err := s.migrateFrom(ctx, files, version)
		if s.engine.lacks(err) {
			err = s.migrateFrom(ctx, files, version)
		}
		return err
	})
}

func (s *Store) migrateFrom(ctx context.Context, files fs.FS, version int64) error {
	dialect, options, err := s.engine.migrator()
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(dialect, s.write, files, append(options, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		return err
	}
	// Daemons that start together migrate together: whoever comes second fails once and then finds all done.
	for try := 1; ; try++ {
		current, target, err := provider.GetVersions(ctx)
		if err == nil && current > target {
			return fault.New(fault.VersionMismatch,
				"the store %s has schema version %d, this daemon knows %d; start the newer daemon that wrote it, or restore a backup from before",
				s.engine.name(), current, target)
		}
		if version > 0 {
			target = min(target, version)
		}
		if err == nil && current < target {
			_, err = provider.UpTo(ctx, target)
		}
		if err == nil || try == 5 || ctx.Err() != nil || s.engine.transient(err) || fault.Is(s.engine.fault(err), fault.InvalidInput) {
			return err
		}
		time.Sleep(time.Duration(try) * 50 * time.Millisecond)
	}
}
