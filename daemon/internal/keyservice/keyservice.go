// Package keyservice is the only road to a key, for every front end: caller → policy → ticket → keystore → provider →
// audit. It does not trust the module: what guards a key is checked here, whatever the caller says it has checked.
// A method that uses a key reads from top to bottom in one file: Sign is in sign.go.
package keyservice

import (
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/memo"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/price"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Software is the name of the provider that holds session objects. It must be there.
const Software = "software"

const (
	defaultMaxFailed      = 10
	defaultTicketLifetime = 12 * time.Hour
	// cleanup is how long a provider gets to destroy a key that did not become an object.
	cleanup = 10 * time.Second
)

// Config is what a Service needs. Store, Keyring, Tickets, Policy, Audit and the provider Software must be there.
type Config struct {
	Store   *keystore.Store
	Keyring *seal.Keyring
	Tickets *ticket.Issuer
	Policy  *policy.Policy
	Audit   *audit.Log
	// Providers by name.
	Providers map[string]provider.Provider
	// DefaultProvider is that of tokens made without naming one; Software if empty.
	DefaultProvider string
	// MaxFailed wrong PINs in a row lock a PIN; 10 if 0.
	MaxFailed int
	// TicketLifetime is what Tickets was made with; 12 hours if 0.
	TicketLifetime time.Duration
	// Prices are what providers ask; the built-in ones if it has none.
	Prices price.List
	// Logger hears of a provider's limits and of what an administrator should look at; slog.Default() if nil.
	Logger *slog.Logger
}

// Service answers for slots, objects and keys. It is safe for concurrent use and keeps nothing that another replica
// would need.
type Service struct {
	store     *keystore.Store
	keyring   *seal.Keyring
	tickets   *ticket.Issuer
	policy    *policy.Policy
	audit     *audit.Log
	providers map[string]*instance
	config    Config
	log       *slog.Logger
	turns     turns
	metrics   *metrics
	costs     *costs
	// spread counts uses of keys whose routing is Any.
	spread atomic.Uint64
	pins   remembered
	// blobs are session objects that come again and again.
	blobs *memo.Memo[openedBlob]
}

// New makes a service.
func New(config Config) (*Service, error) {
	if config.DefaultProvider == "" {
		config.DefaultProvider = Software
	}
	if config.MaxFailed == 0 {
		config.MaxFailed = defaultMaxFailed
	}
	if config.TicketLifetime == 0 {
		config.TicketLifetime = defaultTicketLifetime
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Store == nil || config.Keyring == nil || config.Tickets == nil || config.Policy == nil || config.Audit == nil {
		return nil, fault.New(fault.InvalidInput, "keyservice needs a store, a keyring, a ticket issuer, a policy and an audit log; give it all five")
	}
	for _, name := range []string{Software, config.DefaultProvider} {
		if config.Providers[name] == nil {
			return nil, fault.New(fault.InvalidInput, "there is no provider %q; configured are %v", name, slices.Sorted(maps.Keys(config.Providers)))
		}
	}
	s := &Service{
		store: config.Store, keyring: config.Keyring, tickets: config.Tickets, policy: config.Policy, audit: config.Audit,
		providers: make(map[string]*instance, len(config.Providers)), config: config, log: config.Logger,
		blobs: memo.New[openedBlob](maxBlobs),
	}
	for name, p := range config.Providers {
		s.providers[name] = newInstance(name, p)
	}
	s.metrics = newMetrics(s.providers)
	if config.Prices.Date == "" {
		config.Prices = price.BuiltIn()
	}
	s.costs = newCosts(s, config.Prices)
	return s, nil
}

// Forget wipes what is kept in memory of keys and PINs: tokens were changed or deleted through another daemon, or this
// one ends. What is still there comes back when it is used.
func (s *Service) Forget() {
	s.keyring.Wipe()
	s.blobs.Forget()
	s.pins.wipe()
	for _, i := range s.providers {
		b, err := i.backend()
		if err != nil {
			continue // it is not open, and keeps nothing
		}
		if forgetter, ok := b.Provider.(provider.Forgetter); ok {
			forgetter.Forget()
		}
	}
}
