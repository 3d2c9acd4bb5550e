package gcpkms_test

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// service starts a fake KMS and gives the configuration of a provider on it.
func service(t *testing.T) (*gcpfake.KMS, gcpkms.Config) {
	t.Helper()
	fake := gcpfake.New()
	address, stop, err := fake.Serve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return fake, gcpkms.Config{
		Name: "gcp", KeyRing: gcpfake.KeyRing, Endpoint: "http://" + address, CallTimeout: 20 * time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

func open(t *testing.T, c gcpkms.Config) *gcpkms.Provider {
	t.Helper()
	p, err := gcpkms.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestConformance runs the suite that each provider passes: against the fake or, where ANYHSM_TEST_GCP_KEYRING names a
// key ring, against Google itself with the credentials that the SDK finds. That makes about 200 keys, destroys some of
// them after a day, and leaves the others, labelled anyhsm-token = conformance: keys cannot be deleted there.
func TestConformance(t *testing.T) {
	_, c := service(t)
	if ring := os.Getenv("ANYHSM_TEST_GCP_KEYRING"); ring != "" {
		c = gcpkms.Config{Name: "gcp", KeyRing: ring, DestroyAfter: 24 * time.Hour}
	}
	providertest.Run(t, providertest.Subject{Token: "conformance", Open: func(t *testing.T) provider.Provider { return open(t, c) }})
}
