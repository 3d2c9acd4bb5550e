package kmip

import (
	"crypto/x509"
	"log/slog"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// strict starts the server of our own.
func strict(t *testing.T) (*kmiptest.Server, *kmiptest.Authority, Config) {
	t.Helper()
	authority, err := kmiptest.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(24 * time.Hour)
	certificate, key, err := authority.Issue("server", x509.ExtKeyUsageServerAuth, until)
	if err != nil {
		t.Fatal(err)
	}
	s, err := kmiptest.NewServer("127.0.0.1:0", certificate, key, authority.CA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	certificate, key, err = authority.Issue("client", x509.ExtKeyUsageClientAuth, until)
	if err != nil {
		t.Fatal(err)
	}
	return s, authority, Config{
		Name: "strict", Address: s.Address(), Certificate: certificate, Key: key, CA: authority.CA, Protocol: "2.1", Log: slog.New(slog.DiscardHandler),
	}
}

func TestStrict(t *testing.T) {
	_, _, c := strict(t)
	providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider { return connect(t, c) }})
}
