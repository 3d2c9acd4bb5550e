package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/application"
	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/catalog"
	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/frontend/admin"
	"github.com/anyhsm/anyhsm/daemon/internal/frontend/pkcs11"
	"github.com/anyhsm/anyhsm/daemon/internal/frontend/storeadmin"
	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/policy"
	"github.com/anyhsm/anyhsm/daemon/internal/price"
	"github.com/anyhsm/anyhsm/daemon/internal/rootkey"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/daemon/internal/server"
	"github.com/anyhsm/anyhsm/daemon/internal/ticket"
	"github.com/anyhsm/anyhsm/internal/version"
)

// daemon is the running daemon with what it must close, in the order in which it was opened.
type daemon struct {
	config      config.Config
	logger      *slog.Logger
	server      *server.Server
	certificate *authn.ServerCertificate
	closers     []func()
}

// close closes everything in the reverse order.
func (d *daemon) close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
	d.closers = nil
}

func (d *daemon) onClose(f func()) { d.closers = append(d.closers, f) }

// start opens store, root key, providers, services and listeners, in this order. After an error nothing is open.
func start(ctx context.Context, c config.Config, logger *slog.Logger) (*daemon, error) {
	d := &daemon{config: c, logger: logger}
	if err := d.open(ctx); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *daemon) open(ctx context.Context) error {
	c, logger := d.config, d.logger
	store, root, err := d.openStore(ctx)
	if err != nil {
		return err
	}
	authority, err := authn.OpenAuthority(ctx, store, root)
	if err != nil {
		return err
	}
	decisions := policy.New(c.Admins, application.Loader(store))
	if err := decisions.Refresh(ctx); err != nil {
		return err
	}
	d.keepFresh(decisions)
	uses := audit.NewLog(store, audit.Options{Strict: c.Audit.Strict, Logger: logger})
	d.onClose(func() {
		if err := uses.Close(); err != nil {
			logger.Error("the last audit events could not be written", "error", err)
		}
	})
	current, next := rootSources(c)
	login, err := seal.OpenLoginKeys(ctx, root, store, time.Duration(c.Login.TicketLifetime))
	if err != nil {
		return err
	}
	rootKey := rootkey.New(rootkey.Config{Store: store, Root: root, Login: login, Name: d.name(), Current: current, Next: next, Logger: logger})
	keys, err := d.openKeys(ctx, store, root, login, decisions, uses, rootKey)
	if err != nil {
		return err
	}
	d.background(rootKey.Run)

	d.certificate = authn.NewServerCertificate(authority, c.Listen.Advertise)
	d.server = server.New(server.Options{
		Unix: c.Listen.Unix, TCP: c.Listen.TCP, Metrics: c.Listen.Metrics,
		TLS: authn.TLSConfig(authority, d.certificate), Directory: &directory{policy: decisions, store: store, logger: logger},
		Health: func(ctx context.Context) error { return errors.Join(store.Check(ctx), rootKey.Follow(ctx)) }, Logger: logger,
		Transport: c.Listen.Transport,
	})
	d.server.Metrics().Gauge("anyhsm_audit_queue_events", "Key uses that wait to be written to the audit log.", func() float64 {
		return float64(uses.Queued())
	})
	d.server.Metrics().Register(keys.Collector())
	d.server.Metrics().Register(keys.Costs())
	pkcs11.Register(d.server, keys)
	admin.Register(d.server, admin.Config{
		Keys: keys, Applications: application.New(store, decisions, authority, root), Store: store, Authenticator: root,
		Endpoints: d.endpoints, Listeners: d.listeners,
		StoreName: c.Store, ConfigFile: c.File, Started: time.Now(), Draining: d.server.Draining(),
	})
	storeadmin.Register(d.server, storeadmin.Config{Store: store, Root: root, RootKey: rootKey})
	return d.server.Listen()
}

// refreshInterval is how often the policy is loaded anew without a reason: should a refresh after a change have failed,
// or somebody else have changed the store, it takes effect then.
const refreshInterval = 15 * time.Second

func (d *daemon) keepFresh(decisions *policy.Policy) {
	d.background(func(ctx context.Context) {
		ticker := time.NewTicker(refreshInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if err := decisions.Refresh(ctx); err != nil {
				d.logger.Error("the policy could not be refreshed; the last one stays in force", "error", err)
			}
		}
	})
}

// background runs something until the daemon closes.
func (d *daemon) background(run func(ctx context.Context)) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	d.onClose(func() {
		stop()
		<-done
	})
	go func() {
		defer close(done)
		run(ctx)
	}()
}

// name tells this replica from others on the same store, also after a restart.
func (d *daemon) name() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	listener := d.config.Listen.Unix
	if listener == "" {
		listener = d.config.Listen.TCP
	}
	return host + ":" + listener
}

// follow sees to it that what another daemon on the same store changes takes effect here at once.
func (d *daemon) follow(store *keystore.Store, decisions *policy.Policy, keys *keyservice.Service, rootKey *rootkey.Service) {
	d.background(func(ctx context.Context) {
		store.Watch(ctx, func(ctx context.Context) error {
			// The keys of tokens that are gone go too; others are read again when they are needed.
			keys.Forget()
			return errors.Join(rootKey.Follow(ctx), decisions.Refresh(ctx))
		})
	})
}

func (d *daemon) openStore(ctx context.Context) (*keystore.Store, *seal.Root, error) {
	unlock, err := lockStore(d.config.StorePath())
	if err != nil {
		return nil, nil, err
	}
	d.onClose(unlock)
	store, err := keystore.Open(ctx, d.config.Store, storeSettings(d.config)...)
	if err != nil {
		return nil, nil, err
	}
	d.onClose(func() {
		if err := store.Close(); err != nil {
			d.logger.Error("the store did not close cleanly", "error", err)
		}
	})
	current, next := rootSources(d.config)
	if current.File != "" {
		if err := os.MkdirAll(filepath.Dir(current.File), 0o700); err != nil {
			return nil, nil, fmt.Errorf("cannot make the root key's directory: %w; make it, or change root_key.file", err)
		}
	}
	root, err := seal.Open(ctx, current, next, store)
	if err != nil {
		return nil, nil, err
	}
	d.onClose(root.Wipe)
	store.Authenticate(root)
	return store, root, nil
}

// lockStore makes the directory of a store that is a file, and keeps other daemons and offline work from it. A store on
// a server has no path.
func lockStore(path string) (unlock func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the store's directory: %w; make it, or change store", err)
	}
	return server.Lock(path+".lock", "the store "+path)
}

func storeSettings(c config.Config) []keystore.Option {
	if c.StorePassword == "" {
		return nil
	}
	return []keystore.Option{keystore.Password(c.StorePassword.Read)}
}

// rootSources are where the root key comes from, and the next one if the configuration says so.
func rootSources(c config.Config) (current, next seal.Source) {
	of := func(file string, passphrase config.Secret) seal.Source {
		if passphrase == "" {
			return seal.Source{File: file}
		}
		return seal.Source{Passphrase: func() ([]byte, error) {
			value, err := passphrase.Read()
			if err != nil {
				return nil, fmt.Errorf("the root key's passphrase: %w", err)
			}
			return value, nil
		}}
	}
	current = of(c.RootKey.File, c.RootKey.Passphrase)
	if n := c.RootKey.Next; n != nil {
		next = of(n.File, n.Passphrase)
	}
	return current, next
}

func (d *daemon) openKeys(ctx context.Context, store *keystore.Store, root *seal.Root, login *seal.LoginKeys,
	decisions *policy.Policy, uses *audit.Log, rootKey *rootkey.Service,
) (*keyservice.Service, error) {
	keyring := seal.NewKeyring(root, func(ctx context.Context, uid string) ([]byte, error) {
		token, err := store.Token(ctx, uid)
		return token.SealedKey, err
	})
	d.onClose(keyring.Wipe)
	providers, err := catalog.Open(ctx, d.config, catalog.Environment{Keyring: keyring, Logger: d.logger})
	if err != nil {
		return nil, err
	}
	d.onClose(func() { catalog.Close(providers, d.logger) })
	prices := price.BuiltIn()
	if d.config.Prices != "" {
		if prices, err = price.Load(d.config.Prices); err != nil {
			return nil, fmt.Errorf("prices: %w", err)
		}
	}
	lifetime := time.Duration(d.config.Login.TicketLifetime)
	keys, err := keyservice.New(keyservice.Config{
		Store: store, Keyring: keyring, Tickets: ticket.NewIssuer(login, lifetime), Policy: decisions, Audit: uses,
		Providers: providers, DefaultProvider: config.Software, Prices: prices,
		MaxFailed: d.config.Login.MaxFailed, TicketLifetime: lifetime, Logger: d.logger,
	})
	if err != nil {
		return nil, err
	}
	d.onClose(keys.Forget)
	d.follow(store, decisions, keys, rootKey)
	return keys, nil
}

// serve serves until the context ends.
func (d *daemon) serve(ctx context.Context) error {
	d.logger.Info("anyhsmd is ready", "version", version.Version, "listeners", d.listeners(), "store", d.config.Store, "config", d.config.File)
	err := d.server.Serve(ctx)
	d.logger.Info("anyhsmd ends")
	return err
}

func (d *daemon) listeners() []string {
	addresses := d.server.Addresses()
	if monitor := d.server.MetricsAddress(); monitor != "" {
		addresses = append(addresses, "http://"+monitor+"/metrics")
	}
	return addresses
}

// endpoints returns where applications reach the daemon over TCP, by the names that its certificate is for.
func (d *daemon) endpoints() []string {
	if d.config.Listen.TCP == "" {
		return nil
	}
	_, port, _ := net.SplitHostPort(d.config.Listen.TCP)
	var endpoints []string
	for _, name := range d.certificate.Names() {
		endpoints = append(endpoints, "tcp://"+net.JoinHostPort(name, port))
	}
	return endpoints
}

// reloadOn gives the listener a new certificate, for the names and with the log level that the configuration has now,
// at every signal. All else needs a restart.
func (d *daemon) reloadOn(ctx context.Context, signals <-chan os.Signal, file string, level *slog.LevelVar) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		c, err := config.Load(file)
		if err != nil {
			d.logger.Error("the configuration was not reloaded; the certificate is renewed with the old one", "error", err)
			d.certificate.Reload(d.config.Listen.Advertise)
			continue
		}
		setLevel(c.Log, level)
		d.certificate.Reload(c.Listen.Advertise)
		d.logger.Info("reloaded certificate and log level", "names", d.certificate.Names())
	}
}
