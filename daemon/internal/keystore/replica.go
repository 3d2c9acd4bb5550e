package keystore

import (
	"context"
	"database/sql"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Replica is a daemon that uses the store.
type Replica struct {
	// Name is the host and where the daemon listens there: the same after a restart.
	Name, Version string
	Seen          time.Time
	// Root and Next are the check values of the root key that it has, and of the next one; Next is empty if it has none.
	Root, Next []byte
}

// ReplicaGone is how long after it was last seen a daemon counts as one that runs no more. The clocks of replicas may be
// as far apart as tickets allow, which is less.
const ReplicaGone = 3 * time.Minute

// Shared tells that other daemons can use the same store at the same time.
func (s *Store) Shared() bool { return s.engine.shared() }

// PutReplica notes that a daemon runs; it sets Seen. It does not wait for writers.
func (s *Store) PutReplica(ctx context.Context, r Replica) error {
	return s.alone(ctx, `INSERT INTO replicas (name, version, seen, root_check, next_check) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET version = excluded.version, seen = excluded.seen, root_check = excluded.root_check, next_check = excluded.next_check`,
		r.Name, r.Version, micro(s.now()), present(r.Root), present(r.Next))
}

// DropReplica notes that a daemon ends.
func (s *Store) DropReplica(ctx context.Context, name string) error {
	return s.alone(ctx, `DELETE FROM replicas WHERE name = ?`, name)
}

// alone runs one statement that nobody else's change can depend on.
func (s *Store) alone(ctx context.Context, query string, args ...any) error {
	return persist(ctx, s.engine, func() error {
		_, err := s.write.ExecContext(ctx, s.engine.bind(query), args...)
		return err
	})
}

// Replicas returns the daemons that run, by name.
func (r *Reader) Replicas(ctx context.Context) ([]Replica, error) {
	return all(ctx, r, `SELECT name, version, seen, root_check, next_check FROM replicas WHERE seen > ? ORDER BY name`,
		[]any{micro(time.Now().Add(-ReplicaGone))}, func(row *sql.Rows) (replica Replica, err error) {
			var seen int64
			err = row.Scan(&replica.Name, &replica.Version, &seen, &replica.Root, &replica.Next)
			replica.Seen = moment(seen)
			return replica, err
		})
}

// Alone refuses if a daemon uses the store. On a file the lock beside it tells that.
func (s *Store) Alone(ctx context.Context) error {
	replicas, err := s.Replicas(ctx)
	if err != nil || len(replicas) == 0 {
		return err
	}
	last := replicas[0]
	return fault.New(fault.Conflict, "the daemon %s uses the store %s (seen %s ago); stop all its daemons first. One that did not end by itself counts as gone after %s",
		last.Name, s.Name(), time.Since(last.Seen).Round(time.Second), ReplicaGone)
}
