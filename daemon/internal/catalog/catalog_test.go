package catalog

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/config"
	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/seal"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

func environment(t *testing.T) Environment {
	t.Helper()
	root, err := seal.NewRoot(slices.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	keyring := seal.NewKeyring(root, func(context.Context, string) ([]byte, error) { return nil, cryptoki.CKR_TOKEN_NOT_PRESENT })
	return Environment{Keyring: keyring, Logger: slog.New(slog.DiscardHandler)}
}

func TestOpen(t *testing.T) {
	c, err := config.Parse([]byte("[[provider]]\nname = \"second\"\nkind = \"software\""), "")
	if err != nil {
		t.Fatal(err)
	}
	providers, err := Open(t.Context(), c, environment(t))
	if err != nil || len(providers) != 2 || providers["software"] == nil || providers["second"] == nil {
		t.Fatalf("Open = %v, %v", providers, err)
	}
	Close(providers, slog.New(slog.DiscardHandler))
}

func TestUnknownKind(t *testing.T) {
	c := config.Config{Providers: []config.Provider{{Name: "a", Kind: "awskmz"}}}
	_, err := Open(t.Context(), c, environment(t))
	if err == nil || !strings.Contains(err.Error(), `provider "a": kind "awskmz" is unknown to this build, which has `) || !strings.Contains(err.Error(), "software") {
		t.Errorf("error = %v", err)
	}
}

// closing notes that it was closed.
type closing struct {
	provider.Provider
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }

func TestOneThatDoesNotStartClosesTheOthers(t *testing.T) {
	var closed bool
	kinds["test-good"] = func(context.Context, config.Provider, Environment) (provider.Provider, error) {
		return closing{closed: &closed}, nil
	}
	kinds["test-bad"] = func(context.Context, config.Provider, Environment) (provider.Provider, error) {
		return nil, cryptoki.CKR_DEVICE_REMOVED
	}
	t.Cleanup(func() {
		delete(kinds, "test-good")
		delete(kinds, "test-bad")
	})
	c := config.Config{Providers: []config.Provider{{Name: "a", Kind: "test-good"}, {Name: "b", Kind: "test-bad"}}}
	if _, err := Open(t.Context(), c, environment(t)); err == nil || !strings.Contains(err.Error(), `provider "b" does not start`) {
		t.Errorf("error = %v", err)
	}
	if !closed {
		t.Error("the provider that had started was left open")
	}
}
