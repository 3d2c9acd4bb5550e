// Package rootkey gives the store another root key while daemons serve. The next key lies on each replica beside the
// current one; when all have it one transaction seals anew what is sealed under the root key: token keys, the login
// keys, the certificate authority's key and the head of the audit. Replicas learn of it from the store and go over.
package rootkey

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keystore"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/version"
)

// beat is how often a daemon looks for a next key, and on a shared store says that it is there.
const beat = 3 * time.Second

// Config is what a Service needs.
type Config struct {
	Store *keystore.Store
	Root  *seal.Root
	Login *seal.LoginKeys
	// Name is the replica's name: the same after a restart.
	Name string
	// Current and Next are where the root key comes from, and the next one if the configuration says so.
	Current, Next seal.Source
	Logger        *slog.Logger
}

// Service is one daemon's part in it.
type Service struct {
	config   Config
	switched chan struct{}
	// staging keeps looks at the next key apart, so that an older one does not win.
	staging sync.Mutex
}

// New makes a service; Run keeps it going.
func New(config Config) *Service {
	s := &Service{config: config, switched: make(chan struct{}, 1)}
	config.Root.OnSwitch(func() {
		select {
		case s.switched <- struct{}{}:
		default:
		}
	})
	return s
}

// Run looks for the next key, follows the store and reports until the context ends.
func (s *Service) Run(ctx context.Context) {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	var failing bool
	for {
		err := s.look(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil && !failing {
			s.config.Logger.Error("the root key could not be looked after", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-ticker.C:
			continue
		case <-s.switched:
			s.settle(ctx)
			continue
		}
		break
	}
	if s.config.Store.Shared() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), beat)
		defer cancel()
		if err := s.config.Store.DropReplica(ctx, s.config.Name); err != nil {
			s.config.Logger.Warn("the store keeps this daemon on its list of replicas for some minutes", "error", err)
		}
	}
}

// settle gives the new key's file the name of the old one.
func (s *Service) settle(ctx context.Context) {
	if _, err := s.config.Login.Reload(ctx); err != nil {
		s.config.Logger.Warn("the login keys were not read again after the rotation; they are with the next ticket that needs them", "error", err)
	}
	check := seal.Fingerprint(s.config.Root.Check())
	if s.config.Next.Given() || s.config.Current.File == "" {
		s.config.Logger.Info("the root key was rotated; write [root_key.next] of the configuration over [root_key] before the next rotation", "root_key", check)
		return
	}
	if err := s.config.Root.Promote(s.config.Current.File); err != nil {
		s.config.Logger.Error("the root key was rotated, but its file could not be renamed", "root_key", check, "error", err)
		return
	}
	s.config.Logger.Info("the root key was rotated", "root_key", check, "file", s.config.Current.File)
}

// look does one round.
func (s *Service) look(ctx context.Context) error {
	if err := s.Follow(ctx); err != nil {
		return err
	}
	if err := s.stage(ctx); err != nil {
		return err
	}
	return s.report(ctx)
}

// Follow goes over to the root key that the store has.
func (s *Service) Follow(ctx context.Context) error {
	check, err := s.config.Store.Meta(ctx, seal.MetaCheck)
	if err != nil {
		return err
	}
	return s.config.Root.Follow(check)
}

func (s *Service) stage(ctx context.Context) error {
	s.staging.Lock()
	defer s.staging.Unlock()
	// A passphrase takes a second to become a key: once is enough, it does not change while the daemon runs.
	if s.config.Root.Staged() != nil && s.config.Next.Passphrase != nil {
		return nil
	}
	return s.config.Root.Stage(ctx, s.config.Current, s.config.Next, s.config.Store)
}

func (s *Service) report(ctx context.Context) error {
	if !s.config.Store.Shared() {
		return nil
	}
	return s.config.Store.PutReplica(ctx, keystore.Replica{
		Name: s.config.Name, Version: version.Version, Root: s.config.Root.Check(), Next: s.config.Root.Staged(),
	})
}

// State is which daemon has which root key.
type State struct {
	Current, Next []byte
	// Source and NextSource are where this daemon has them from.
	Source, NextSource string
	Replicas           []keystore.Replica
	// Name is this replica's.
	Name string
}

// State returns it.
func (s *Service) State(ctx context.Context) (State, error) {
	if err := s.look(ctx); err != nil {
		return State{}, err
	}
	replicas, err := s.config.Store.Replicas(ctx)
	return State{
		Current: s.config.Root.Check(), Next: s.config.Root.Staged(), Source: describe(s.config.Current), NextSource: s.nextSource(),
		Replicas: replicas, Name: s.config.Name,
	}, err
}

func describe(source seal.Source) string {
	if source.File != "" {
		return source.File
	}
	return "a passphrase"
}

func (s *Service) nextSource() string {
	switch {
	case s.config.Next.Given():
		return describe(s.config.Next)
	case s.config.Current.File != "":
		return seal.NextFile(s.config.Current.File)
	}
	return ""
}

// Stage takes the next root key that lies beside the current one, or makes one there.
func (s *Service) Stage(ctx context.Context) (State, error) {
	if err := s.stage(ctx); err != nil {
		return State{}, err
	}
	if s.config.Root.Staged() == nil {
		if err := s.make(); err != nil {
			return State{}, err
		}
	}
	return s.State(ctx)
}

// make makes a file with the next key.
func (s *Service) make() error {
	file := s.config.Next.File
	switch {
	case file != "":
	case s.config.Next.Passphrase != nil:
		return fault.New(fault.InvalidInput, "the passphrase of root_key.next gives the root key that the store has already; choose another one")
	case s.config.Current.File == "":
		return fault.New(fault.InvalidInput, "the root key comes from a passphrase, so the daemon cannot make the next one; add [root_key.next] with passphrase or file to anyhsmd.toml on each replica and restart them one after the other")
	default:
		return seal.CreateKey(seal.NextFile(s.config.Current.File))
	}
	if _, err := os.Stat(file); err == nil {
		return fault.New(fault.InvalidInput, "the file of root_key.next holds the root key that the store has already; put another one there")
	}
	return seal.CreateKey(file)
}
