package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
)

// directory tells whose an identity is. One that policy does not know may have been enrolled through another daemon a
// moment ago, and the application may already be calling this one: before it is refused the store is asked whether
// anything has changed since.
type directory struct {
	policy *policy.Policy
	store  *keystore.Store
	logger *slog.Logger
	// caughtUp is the store's count of changes that the policy has for certain.
	caughtUp atomic.Int64
}

// catchUpTime is how long a stranger may have to wait for the store.
const catchUpTime = 3 * time.Second

// Resolve implements authn.Directory.
func (d *directory) Resolve(identity string) (application string, admin bool) {
	application, admin = d.policy.Resolve(identity)
	if application != "" || admin || !d.catchUp() {
		return application, admin
	}
	return d.policy.Resolve(identity)
}

// catchUp tells whether the policy was old and is now refreshed. A stranger who comes again and again costs one small
// query each time, not more.
func (d *directory) catchUp() bool {
	ctx, cancel := context.WithTimeout(context.Background(), catchUpTime)
	defer cancel()
	changes, err := d.store.PolicyChanges(ctx)
	if err != nil || changes == d.caughtUp.Load() {
		return false
	}
	if err := d.policy.Refresh(ctx); err != nil {
		d.logger.Warn("a caller is unknown, and whether another daemon has enrolled it cannot be seen", "error", err)
		return false
	}
	d.caughtUp.Store(changes)
	return true
}
