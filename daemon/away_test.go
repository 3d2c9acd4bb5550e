package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/kmiptest"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestProvidersAway starts the daemon before its HSM has a token, before its KMIP server runs and before its cloud can be
// reached. The rest serves; what needs one of them says so; and each serves as soon as it is there.
func TestProvidersAway(t *testing.T) {
	directory := t.TempDir()
	tokens, conf, pin := filepath.Join(directory, "tokens"), filepath.Join(directory, "softhsm2.conf"), filepath.Join(directory, "pin")
	check(t, os.Mkdir(tokens, 0o700))
	check(t, os.WriteFile(conf, fmt.Appendf(nil, "directories.tokendir = %s\nlog.level = ERROR\n", tokens), 0o600))
	check(t, os.WriteFile(pin, []byte("1234"), 0o600))
	t.Setenv("SOFTHSM2_CONF", conf)

	authority, err := kmiptest.NewAuthority(directory)
	check(t, err)
	until := time.Now().Add(24 * time.Hour)
	serverCertificate, serverKey, err := authority.Issue("server", x509.ExtKeyUsageServerAuth, until)
	check(t, err)
	certificate, key, err := authority.Issue("client", x509.ExtKeyUsageClientAuth, until)
	check(t, err)
	kmipAddress, gcpAddress := freePort(t), freePort(t)

	p := newProcess(t, fmt.Sprintf(`
[[provider]]
name = "hsm"
kind = "hsm"
library = "/usr/lib/softhsm/libsofthsm2.so"
token = "later"
pin = "file:%s"
[[provider]]
name = "kms"
kind = "kmip"
[provider.kmip]
address = %q
certificate = %q
key = %q
ca = %q
protocol = "2.1"
[[provider]]
name = "gcp"
kind = "gcpkms"
[provider.gcpkms]
key_ring = %q
endpoint = "http://%s"
`, pin, kmipAddress, certificate, key, authority.CA, gcpfake.KeyRing, gcpAddress))
	p.start()
	daemon := p.unix()
	providers := anyhsmv1.NewProviderServiceClient(daemon)
	// Not one that repeats what fails: what is away is to be seen.
	keys := anyhsmv1.NewKeyAdminServiceClient(p.impatient())

	createToken(t, daemon, "software")
	create := func(token string) error {
		_, err := keys.CreateKey(within(t, 20*time.Second), &anyhsmv1.CreateKeyRequest{RequestId: requestID(), Token: token, KeySpec: "rsa:2048", Label: "k"})
		return err
	}
	check(t, create("software"))
	// Tokens can be made on a provider that is away, and are listed; keys cannot.
	for _, name := range []string{"hsm", "kms", "gcp"} {
		createToken(t, daemon, name, name)
		if err := wire.ErrorFromStatus(create(name)); fault.RV(err) != cryptoki.CKR_DEVICE_ERROR {
			t.Errorf("%s: want CKR_DEVICE_ERROR: %v", name, err)
		}
	}
	listed, err := providers.ListProviders(within(t, 20*time.Second), &anyhsmv1.ListProvidersRequest{})
	check(t, err)
	for _, provider := range listed.GetProviders() {
		if provider.GetHealthy() != (provider.GetName() == "software") || !provider.GetHealthy() && provider.GetDetail() == "" {
			t.Errorf("%s: healthy %t, %q", provider.GetName(), provider.GetHealthy(), provider.GetDetail())
		}
	}

	// What `anyhsm doctor` shows.
	view, err := anyhsmv1.NewApplicationServiceClient(daemon).ExplainView(within(t, time.Minute), &anyhsmv1.ExplainViewRequest{})
	check(t, err)
	for _, token := range view.GetVisible() {
		name := token.GetToken().GetToken().GetLabel()
		if warned := strings.Contains(strings.Join(token.GetWarnings(), "\n"), "provider "+name); warned != (name != "software") {
			t.Errorf("token %s: the warnings are %q", name, token.GetWarnings())
		}
	}

	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "later", "--so-pin", "1234", "--pin", "1234").CombinedOutput()
	if err != nil {
		t.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
	kms, err := kmiptest.NewServer(kmipAddress, serverCertificate, serverKey, authority.CA)
	check(t, err)
	t.Cleanup(kms.Stop)
	_, stop, err := gcpfake.New().Listen(gcpAddress)
	check(t, err)
	t.Cleanup(stop)

	for _, name := range []string{"hsm", "kms", "gcp"} {
		deadline := time.Now().Add(90 * time.Second)
		for err = create(name); err != nil && time.Now().Before(deadline); err = create(name) {
			time.Sleep(100 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("%s is back and does not serve: %v", name, err)
		}
	}
}
