package backup

import (
	"context"
	"iter"
	"maps"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Migrate copies a store into another database: all of it, counted and verified, or nothing. It returns how many rows
// each table has; progress hears of each row.
func Migrate(ctx context.Context, from *keystore.Store, to Target, progress func(table string, rows int64)) (rows map[string]int64, kept string, err error) {
	if err := from.Alone(ctx); err != nil {
		return nil, "", err
	}
	dump, err := from.Dump(ctx)
	if err != nil {
		return nil, "", err
	}
	defer dump.Close()
	salt, err := dump.Meta(ctx, seal.MetaSalt)
	if err != nil {
		return nil, "", err
	}
	root, err := to.RootKey.Read(salt)
	if err != nil {
		return nil, "", err
	}
	defer root.Wipe()
	kept, err = keystore.LoadStore(ctx, to.Store, keystore.Load{
		Schema: dump.Schema, Records: watched(dump, dump.Records(ctx), progress), Replace: to.Replace,
		Verify: func(ctx context.Context, reader *keystore.Reader, counts map[string]int64) error {
			if !maps.Equal(counts, dump.Tables) {
				return fault.New(fault.Internal, "the destination has %v rows and the source %v, so nothing was changed; report this", counts, dump.Tables)
			}
			return Verify(ctx, reader, root)
		},
	}, to.Settings...)
	return dump.Tables, kept, err
}

func watched(dump *keystore.Dump, records iter.Seq2[keystore.Record, error], progress func(string, int64)) iter.Seq2[keystore.Record, error] {
	return func(yield func(keystore.Record, error) bool) {
		for r, err := range records {
			if err == nil {
				progress(r.Table, dump.Tables[r.Table])
			}
			if !yield(r, err) {
				return
			}
		}
	}
}
