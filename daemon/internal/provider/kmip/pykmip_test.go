package kmip

import (
	"log/slog"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// config is the configuration for a server of PyKMIP.
func config(s *kmiptest.PyKMIP, protocol string) Config {
	return Config{
		Name: "pykmip", Address: s.Address, Certificate: s.Certificate, Key: s.Key, CA: s.CA, Protocol: protocol,
		Connections: 8, Log: slog.New(slog.DiscardHandler),
	}
}

// connect makes a provider that is closed at the end of the test.
func connect(t *testing.T, c Config) provider.Provider {
	t.Helper()
	p, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestPyKMIP(t *testing.T) {
	for _, protocol := range []string{"1.4", "2.0"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			server := kmiptest.StartPyKMIP(t)
			providertest.Run(t, providertest.Subject{Token: "token", Open: func(t *testing.T) provider.Provider {
				return connect(t, config(server, protocol))
			}})
		})
	}
}
