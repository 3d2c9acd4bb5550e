package gcpkms_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// serviceAccount is a credentials file whose tokens come from an address.
func serviceAccount(t *testing.T, tokens string) []byte {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p", "private_key_id": "1", "client_email": "anyhsm@p.iam.gserviceaccount.com", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestUntrusted: credentials go to nobody whose certificate is not trusted, and the error does not show them. The
// provider starts nevertheless: Google may be back before the first call.
func TestUntrusted(t *testing.T) {
	var asked atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer issuer.Close()
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("a request arrived: %s", r.URL) }))
	service.EnableHTTP2 = true
	service.Config.ErrorLog = log.New(io.Discard, "", 0)
	service.StartTLS()
	defer service.Close()
	begin := time.Now()
	p := open(t, gcpkms.Config{Name: "gcp", KeyRing: gcpfake.KeyRing, Endpoint: service.URL, Credentials: serviceAccount(t, issuer.URL)})
	if took := time.Since(begin); took > 5*time.Second || asked.Load() > 0 {
		t.Errorf("starting took %v and %d questions", took, asked.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err := p.Health(ctx)
	wants(t, err, fault.DeviceError, "cannot be reached", "certificate")
	if strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Error("the error shows the credentials")
	}
}

// TestNoCredentials: without any the provider says how to give some. It is no error of the configuration: the machine may
// get a service account later.
func TestNoCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err := gcpkms.New(t.Context(), gcpkms.Config{Name: "gcp", KeyRing: gcpfake.KeyRing})
	wants(t, err, fault.DeviceError, "set credentials", "GOOGLE_APPLICATION_CREDENTIALS", "service account")
}
