package keystore

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Applications returns all applications by name.
func (r *Reader) Applications(ctx context.Context) ([]Application, error) {
	return r.applications(ctx, "")
}

// Application returns an application; fault.NotFound if there is none.
func (r *Reader) Application(ctx context.Context, name string) (Application, error) {
	found, err := r.applications(ctx, name)
	if err == nil && len(found) == 0 {
		err = notFound("application", name)
	}
	if err != nil {
		return Application{}, err
	}
	return found[0], nil
}

// Applications returns all applications by name, in one state of the store: identities and grants of different moments
// together could allow what was never allowed.
func (s *Store) Applications(ctx context.Context) (all []Application, err error) {
	err = s.View(ctx, func(r *Reader) (err error) {
		all, err = r.Applications(ctx)
		return err
	})
	return all, err
}

// Application returns an application in one state of the store; fault.NotFound if there is none.
func (s *Store) Application(ctx context.Context, name string) (a Application, err error) {
	err = s.View(ctx, func(r *Reader) (err error) {
		a, err = r.Application(ctx, name)
		return err
	})
	return a, err
}

// applications returns one application, or all if name is empty.
func (r *Reader) applications(ctx context.Context, name string) ([]Application, error) {
	where := func(string) string { return "" }
	var args []any
	if name != "" {
		where = func(column string) string { return ` WHERE ` + column + ` = ?` }
		args = []any{name}
	}
	found, err := all(ctx, r, `SELECT name, create_tokens, created FROM applications`+where("name"), args, func(row *sql.Rows) (a Application, err error) {
		var created int64
		err = row.Scan(&a.Name, &a.CreateTokens, &created)
		a.Created = moment(created)
		return a, err
	})
	if err != nil {
		return nil, err
	}
	index := map[string]*Application{}
	for i := range found {
		index[found[i].Name] = &found[i]
	}
	identities, err := all(ctx, r, `SELECT application, identity FROM identities`+where("application"), args, func(row *sql.Rows) (pair [2]string, err error) {
		err = row.Scan(&pair[0], &pair[1])
		return pair, err
	})
	if err != nil {
		return nil, err
	}
	for _, pair := range identities {
		if a := index[pair[0]]; a != nil {
			a.Identities = append(a.Identities, pair[1])
		}
	}
	grants, err := all(ctx, r, `SELECT application, token, operations FROM grants`+where("application"), args, func(row *sql.Rows) (cells [3]string, err error) {
		err = row.Scan(&cells[0], &cells[1], &cells[2])
		return cells, err
	})
	if err != nil {
		return nil, err
	}
	for _, cells := range grants {
		g := Grant{Token: cells[1]}
		if cells[2] != "" {
			g.Operations = strings.Split(cells[2], " ")
		}
		if a := index[cells[0]]; a != nil {
			a.Grants = append(a.Grants, g)
		}
	}
	// Databases sort texts by the language that they were made for.
	slices.SortFunc(found, func(a, b Application) int { return strings.Compare(a.Name, b.Name) })
	for i := range found {
		slices.Sort(found[i].Identities)
		slices.SortFunc(found[i].Grants, func(a, b Grant) int { return strings.Compare(a.Token, b.Token) })
	}
	return found, nil
}

// PutApplication adds or replaces an application with its identities and grants. Created of one that is there stays.
func (tx *Tx) PutApplication(a Application) error {
	tx.touched = true
	if a.Name == "" {
		return fault.New(fault.InvalidInput, "an application needs a name; give one")
	}
	if err := tx.exec(`INSERT INTO applications (name, create_tokens, created) VALUES (?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET create_tokens = excluded.create_tokens`, a.Name, a.CreateTokens, micro(tx.now)); err != nil {
		return err
	}
	if err := tx.exec(`DELETE FROM identities WHERE application = ?`, a.Name); err != nil {
		return err
	}
	for _, identity := range a.Identities {
		var owner string
		found, err := tx.one(tx.ctx, `SELECT application FROM identities WHERE identity = ?`, []any{identity}, &owner)
		if err != nil {
			return err
		}
		if found {
			return fault.New(fault.AlreadyExists, "the identity %s belongs to the application %q already; take it away there first", identity, owner)
		}
		if err := tx.exec(`INSERT INTO identities (identity, application) VALUES (?, ?)`, identity, a.Name); err != nil {
			return err
		}
	}
	if err := tx.exec(`DELETE FROM grants WHERE application = ?`, a.Name); err != nil {
		return err
	}
	for _, g := range a.Grants {
		for _, operation := range g.Operations {
			if operation == "" || strings.Contains(operation, " ") {
				return fault.New(fault.InvalidInput, "%q is not an operation; give its name", operation)
			}
		}
		if err := tx.exec(`INSERT INTO grants (application, token, operations) VALUES (?, ?, ?)`, a.Name, g.Token, strings.Join(g.Operations, " ")); err != nil {
			return err
		}
	}
	return nil
}

// DeleteApplication deletes an application; fault.NotFound if there is none.
func (tx *Tx) DeleteApplication(name string) error {
	tx.touched = true
	n, err := tx.run(`DELETE FROM applications WHERE name = ?`, name)
	if err == nil && n == 0 {
		err = notFound("application", name)
	}
	return err
}

// PutEnrollmentCode keeps the hash of a one-time code.
func (tx *Tx) PutEnrollmentCode(hash []byte, application string, expires time.Time) error {
	return tx.exec(`INSERT INTO enrollment_codes (hash, application, expires) VALUES (?, ?, ?)`, hash, application, micro(expires))
}

// TakeEnrollmentCode uses a code up and returns its application; fault.Unauthenticated if it is unknown, used or
// expired.
func (tx *Tx) TakeEnrollmentCode(hash []byte) (application string, err error) {
	var expires int64
	found, err := tx.one(tx.ctx, `DELETE FROM enrollment_codes WHERE hash = ? RETURNING application, expires`, []any{hash}, &application, &expires)
	if err == nil && (!found || expires <= micro(tx.now)) {
		return "", fault.New(fault.Unauthenticated, "the enrollment code is unknown, was used, or has expired; ask an administrator for a new one")
	}
	return application, err
}

// UseTicket uses a single-use ticket up; fault.Conflict if it was used before. Expires is when the ticket does; it is
// remembered until then, and a while longer because clocks differ.
func (tx *Tx) UseTicket(id string, expires time.Time) error {
	n, err := tx.run(`INSERT INTO used_tickets (id, expires) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`, id, micro(expires))
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "the login for one operation was used already; log in again for the next")
	}
	return err
}
