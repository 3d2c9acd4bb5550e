package main

import (
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/gcpkms/gcpfake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// mishap is something bad that a service does to a key in use.
type mishap struct {
	name string
	make func()
	rv   cryptoki.RV
	says []string
	// within is how long the application waits.
	within time.Duration
	// last tells that the key does not come back.
	last bool
}

// cloud is a service under a daemon, with what can go wrong there.
type cloud struct {
	process *process
	heal    func()
	// mishaps are found when there is a key.
	mishaps func() []mishap
}

const manyTimes = 1000

// google is a daemon on the fake Google Cloud KMS.
func google(t *testing.T) cloud {
	fake := gcpfake.New()
	address, stop, err := fake.Serve()
	check(t, err)
	t.Cleanup(stop)
	p := newProcess(t, fmt.Sprintf("[[provider]]\nname = \"cloud\"\nkind = \"gcpkms\"\n[provider.gcpkms]\nkey_ring = %q\nendpoint = \"http://%s\"\n", gcpfake.KeyRing, address))
	p.start()
	var version string
	answered := func(change func(*kmspb.AsymmetricSignResponse)) func() {
		return func() {
			fake.Inject(gcpfake.Fault{Method: "AsymmetricSign", Times: manyTimes, Forge: func(message any) { change(message.(*kmspb.AsymmetricSignResponse)) }})
		}
	}
	state := func(s kmspb.CryptoKeyVersion_CryptoKeyVersionState) func() {
		return func() { fake.SetState(version, s) }
	}
	return cloud{p, func() {
		fake.Heal()
		if version != "" {
			fake.SetState(version, kmspb.CryptoKeyVersion_ENABLED)
		}
	}, func() []mishap {
		// The answer to a signature names the key's version.
		fake.Inject(gcpfake.Fault{Method: "AsymmetricSign", Times: 1, Forge: func(message any) { version = message.(*kmspb.AsymmetricSignResponse).GetName() }})
		return []mishap{
			{
				name: "a missing permission", make: func() { fake.Deny("cloudkms.cryptoKeyVersions.useToSign") }, rv: cryptoki.CKR_FUNCTION_FAILED,
				says: []string{"cloudkms.cryptoKeyVersions.useToSign", "role"},
			},
			{name: "wrong credentials", make: func() {
				fake.Inject(gcpfake.Fault{Code: codes.Unauthenticated, Message: "Request had invalid authentication credentials.", Times: manyTimes})
			}, rv: cryptoki.CKR_DEVICE_ERROR, says: []string{"credentials", "clock"}},
			{
				name: "a wrong checksum", make: answered(func(a *kmspb.AsymmetricSignResponse) { a.SignatureCrc32C = wrapperspb.Int64(1) }),
				rv: cryptoki.CKR_DEVICE_ERROR, says: []string{"checksum"},
			},
			{
				name: "an answer of another key", make: answered(func(a *kmspb.AsymmetricSignResponse) { a.Name = strings.Replace(a.Name, "/1", "/2", 1) }),
				rv: cryptoki.CKR_DEVICE_ERROR, says: []string{"another key's"},
			},
			{name: "another key's signature", make: answered(func(a *kmspb.AsymmetricSignResponse) {
				a.Signature = []byte{0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01}
				a.SignatureCrc32C = wrapperspb.Int64(int64(crc32.Checksum(a.Signature, crc32.MakeTable(crc32.Castagnoli))))
			}), rv: cryptoki.CKR_DEVICE_ERROR, says: []string{"another key's"}},
			{
				name: "no answer", make: func() { fake.Inject(gcpfake.Fault{Method: "AsymmetricSign", Delay: time.Minute, Times: manyTimes}) },
				rv: cryptoki.CKR_DEVICE_ERROR, within: 3 * time.Second,
			},
			{name: "a disabled key", make: state(kmspb.CryptoKeyVersion_DISABLED), rv: cryptoki.CKR_FUNCTION_FAILED, says: []string{"disabled; enable it"}},
			{
				name: "a key that is to be destroyed", make: state(kmspb.CryptoKeyVersion_DESTROY_SCHEDULED), rv: cryptoki.CKR_KEY_HANDLE_INVALID,
				says: []string{"scheduled for destruction", "rescue it"},
			},
			{name: "a destroyed key", make: state(kmspb.CryptoKeyVersion_DESTROYED), rv: cryptoki.CKR_KEY_HANDLE_INVALID, says: []string{"was destroyed"}, last: true},
		}
	}}
}

// azure is a daemon on the fake Azure Key Vault.
func azure(t *testing.T) cloud {
	fake := azurefake.New(azurefake.Options{})
	server := httptest.NewTLSServer(fake)
	t.Cleanup(server.Close)
	certificate := filepath.Join(t.TempDir(), "vault.pem")
	check(t, os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	t.Setenv("SSL_CERT_FILE", certificate)
	t.Setenv("ANYHSM_TEST_AZURE_SECRET", azurefake.ClientSecret)
	p := newProcess(t, fmt.Sprintf("[[provider]]\nname = \"cloud\"\nkind = \"azurekv\"\n[provider.azurekv]\nvault_url = %q\ntenant_id = %q\nclient_id = %q\nclient_secret = \"env:ANYHSM_TEST_AZURE_SECRET\"\nauthority = %q\n",
		server.URL, azurefake.Tenant, azurefake.ClientID, server.URL))
	p.start()
	var name string
	enable := func(enabled bool) { fake.Change(name, func(k *azurefake.Key) { k.Enabled = enabled }) }
	return cloud{p, func() { fake.Heal(); enable(true) }, func() []mishap {
		keys, _ := fake.Names()
		name = keys[0]
		other := "somebody-elses"
		fake.Add(other, "P-256")
		return []mishap{
			{name: "a missing permission", make: func() { fake.Deny("sign") }, rv: cryptoki.CKR_FUNCTION_FAILED, says: []string{"keys/sign/action", "Key Vault Crypto User"}},
			{name: "wrong credentials", make: func() {
				fake.Inject(azurefake.Fault{Operation: "sign", Status: 401, Code: "Unauthorized", Times: manyTimes})
			}, rv: cryptoki.CKR_DEVICE_ERROR, says: []string{"does not accept the daemon's token", "clock"}},
			{
				name: "no answer", make: func() { fake.Inject(azurefake.Fault{Operation: "sign", Delay: time.Minute, Times: manyTimes}) },
				rv: cryptoki.CKR_DEVICE_ERROR, within: 3 * time.Second,
			},
			{name: "a disabled key", make: func() { enable(false) }, rv: cryptoki.CKR_FUNCTION_FAILED, says: []string{"disabled; enable it"}},
			{name: "a deleted key", make: func() {
				fake.Inject(azurefake.Fault{Operation: "sign", Status: 404, Code: "KeyNotFound", Times: manyTimes})
			}, rv: cryptoki.CKR_KEY_HANDLE_INVALID, says: []string{"recover"}},
			{name: "another key's signature", make: func() { fake.Swap(name, other) }, rv: cryptoki.CKR_FUNCTION_FAILED, says: []string{"Azure", "does not verify by its public key"}, last: true},
		}
	}}
}

// TestBadClouds: whatever a service does to a key in use, the application gets a code that fits and the administrator a
// sentence that says who refuses what and what to do; the key serves again when the cause is gone. TestBadCloud does it
// for AWS, whose keys it also makes, adopts and loses.
func TestBadClouds(t *testing.T) {
	for name, start := range map[string]func(*testing.T) cloud{"Google": google, "Azure": azure} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			daemon := c.process.impatient()
			token := createToken(t, daemon, "web", "cloud")
			_, err := anyhsmv1.NewSyncServiceClient(daemon).SetVerification(within(t, time.Minute), &anyhsmv1.SetVerificationRequest{
				RequestId: requestID(), Token: token, Signatures: "all",
			})
			check(t, err)
			ticket := login(t, daemon, token)
			k, err := generate(within(t, time.Minute), daemon, token, ticket, requestID(), "k")
			check(t, err)
			// works waits: after an answer that did not come the breaker pauses.
			works := func() {
				t.Helper()
				var err error
				for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
					if err = sign(within(t, 20*time.Second), daemon, token, ticket, k); err == nil {
						return
					}
				}
				t.Fatal(err)
			}
			mishaps := c.mishaps()
			works()
			for _, m := range mishaps {
				m.make()
				if m.within == 0 {
					m.within = 30 * time.Second
				}
				err := wire.ErrorFromStatus(sign(within(t, m.within), daemon, token, ticket, k))
				if fault.RV(err) != m.rv {
					t.Errorf("%s: want %v: %v: %v", m.name, m.rv, fault.RV(err), err)
				}
				for _, word := range m.says {
					if err != nil && !strings.Contains(err.Error(), word) {
						t.Errorf("%s: the error does not say %q: %v", m.name, word, err)
					}
				}
				if m.last {
					break
				}
				c.heal()
				works()
			}
			if labels := listed(t, daemon, token, ticket); labels["k"] == 0 {
				t.Errorf("the object is gone: %v", labels)
			}
		})
	}
}
