package azurekv_test

import (
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// TestMain lets this process trust the certificate of httptest's servers besides the machine's authorities: thus the
// provider needs no switch for tests.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(nil)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	directory, err := os.MkdirTemp("", "azurekv")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(directory, "httptest.pem")
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		panic(err)
	}
	_ = os.Setenv("SSL_CERT_FILE", file)
	code := m.Run()
	_ = os.RemoveAll(directory)
	os.Exit(code)
}

// vault starts a fake vault and returns the settings of a provider on it.
func vault(t *testing.T, options azurefake.Options) (*azurefake.Vault, azurekv.Config) {
	t.Helper()
	fake := azurefake.New(options)
	server := httptest.NewTLSServer(fake)
	t.Cleanup(server.Close)
	return fake, azurekv.Config{
		Name: "azure", VaultURL: server.URL, HSM: options.HSM, Premium: options.Premium,
		TenantID: azurefake.Tenant, ClientID: azurefake.ClientID, ClientSecret: azurefake.ClientSecret, Authority: server.URL,
		CallTimeout: 20 * time.Second,
	}
}

func open(t *testing.T, c azurekv.Config) provider.Provider {
	t.Helper()
	p, err := azurekv.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestConformance runs the suite that each provider passes against the fake as a vault and as a Managed HSM or, where
// ANYHSM_TEST_AZURE_VAULT names the URL of a vault, against that, with the credentials that the SDK finds. That makes
// about 200 keys and leaves most of them, tagged anyhsm-token = conformance.
func TestConformance(t *testing.T) {
	run := func(t *testing.T, c azurekv.Config) {
		providertest.Run(t, providertest.Subject{Token: "conformance", Open: func(t *testing.T) provider.Provider { return open(t, c) }})
	}
	if url := os.Getenv("ANYHSM_TEST_AZURE_VAULT"); url != "" {
		run(t, azurekv.Config{Name: "azure", VaultURL: url, HSM: strings.Contains(url, ".managedhsm."), Log: slog.Default()})
		return
	}
	t.Run("vault", func(t *testing.T) {
		_, c := vault(t, azurefake.Options{DeletionPolls: 1})
		run(t, c)
	})
	t.Run("managed HSM", func(t *testing.T) {
		_, c := vault(t, azurefake.Options{HSM: true})
		run(t, c)
	})
}
