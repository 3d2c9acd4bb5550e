package azurekv_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/azurekv/azurefake"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

func TestSignIn(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "anyhsm"}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	fake, good := vault(t, azurefake.Options{Certificate: certificate})
	health := func(t *testing.T, change func(*azurekv.Config)) error {
		c := good
		c.CallTimeout = 5 * time.Second
		change(&c)
		return open(t, c).(provider.HealthChecker).Health(t.Context())
	}
	t.Run("certificate", func(t *testing.T) {
		err := health(t, func(c *azurekv.Config) { c.ClientSecret, c.ClientCertificate = "", file })
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		err := health(t, func(c *azurekv.Config) { c.ClientSecret = "wrong-one" })
		expect(t, err, fault.DeviceError, "AADSTS7000215", "the secret's value")
		if err != nil && strings.Contains(err.Error(), "wrong-one") {
			t.Error("the error shows the secret")
		}
	})
	t.Run("unknown application", func(t *testing.T) {
		err := health(t, func(c *azurekv.Config) { c.ClientID = "nobody" })
		expect(t, err, fault.DeviceError, "AADSTS700016", "client_id")
	})
	t.Run("one sign-in for many calls", func(t *testing.T) {
		p := open(t, good)
		before := fake.Calls("token")
		_, key := born(t, p)
		for range 5 {
			if err := sign(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		if n := fake.Calls("token") - before; n != 1 {
			t.Errorf("%d tokens were fetched", n)
		}
	})
	t.Run("a token that counts no more", func(t *testing.T) {
		p := open(t, good)
		born(t, p)
		fake.Revoke()
		err := p.(provider.HealthChecker).Health(t.Context())
		if err != nil {
			expect(t, err, fault.DeviceError, "token")
		}
	})
}

func TestConfiguration(t *testing.T) {
	for name, c := range map[string]azurekv.Config{
		"no URL":           {},
		"http":             {VaultURL: "http://a.vault.azure.net"},
		"a key's URL":      {VaultURL: "https://a.vault.azure.net/keys/b"},
		"hsm and premium":  {VaultURL: "https://a.managedhsm.azure.net", HSM: true, Premium: true},
		"no tenant":        {VaultURL: "https://a.vault.azure.net", ClientID: "a", ClientSecret: "b"},
		"two credentials":  {VaultURL: "https://a.vault.azure.net", TenantID: "t", ClientID: "a", ClientSecret: "b", ClientCertificate: []byte("c")},
		"no certificate":   {VaultURL: "https://a.vault.azure.net", TenantID: "t", ClientID: "a", ClientCertificate: []byte("secret-text")},
		"a tenant no host": {VaultURL: "https://a.vault.azure.net", TenantID: "a b/c", ClientID: "a", ClientSecret: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := azurekv.New(t.Context(), c)
			expect(t, err, fault.InvalidInput)
			if err != nil && strings.Contains(err.Error(), "secret-text") {
				t.Error("the error shows the file")
			}
		})
	}
	for name, c := range map[string]azurekv.Config{
		"the default chain": {VaultURL: "https://A.vault.azure.net/"},
		"managed identity":  {VaultURL: "https://a.vault.azure.net", ClientID: "55555555-6666-7777-8888-999999999999"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := azurekv.New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			_ = p.Close()
		})
	}
}

func TestPremium(t *testing.T) {
	fake, c := vault(t, azurefake.Options{Premium: true})
	p := open(t, c)
	ref, key := born(t, p)
	if err := sign(t.Context(), key); err != nil {
		t.Error(err)
	}
	fake.Change("anyhsm-"+ref.Identity.UID, func(k *azurefake.Key) {
		if k.Kty != "EC-HSM" {
			t.Errorf("the key is %s", k.Kty)
		}
	})
	if !p.Capabilities().Hardware {
		t.Error("the keys are not said to be in hardware")
	}
}

func TestDestroy(t *testing.T) {
	for name, tc := range map[string]struct {
		options azurefake.Options
		purge   bool
		left    int
	}{
		"soft":             {left: 1},
		"purge":            {options: azurefake.Options{DeletionPolls: 2}, purge: true},
		"purge protection": {options: azurefake.Options{PurgeProtection: true}, purge: true, left: 1},
	} {
		t.Run(name, func(t *testing.T) {
			fake, c := vault(t, tc.options)
			c.Purge = tc.purge
			p := open(t, c)
			ref, key := born(t, p)
			for range 2 {
				if err := p.(provider.Destroyer).Destroy(t.Context(), ref); err != nil {
					t.Fatal(err)
				}
			}
			if keys, deleted := fake.Names(); len(keys) != 0 || len(deleted) != tc.left {
				t.Errorf("there are %v, deleted %v", keys, deleted)
			}
			expect(t, sign(t.Context(), key), fault.KeyHandleInvalid)
		})
	}
	t.Run("not purged without the permission", func(t *testing.T) {
		fake, c := vault(t, azurefake.Options{})
		c.Purge = true
		p := open(t, c)
		ref, _ := born(t, p)
		fake.Deny("purge")
		if err := p.(provider.Destroyer).Destroy(t.Context(), ref); err != nil {
			t.Error(err)
		}
	})
}

// TestVersions adopts both versions of a key: destroying one leaves the other in use.
func TestVersions(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	first := adopt(t, p, fake.Add("web", "P-256"))
	second := adopt(t, p, fake.Add("web", "P-256"))
	if string(first.Ref) == string(second.Ref) {
		t.Fatal("both versions have one reference")
	}
	open := func(ref provider.Reference) (provider.Key, error) { return p.Key(t.Context(), ref) }
	if err := p.(provider.Destroyer).Destroy(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	_, err := open(first)
	expect(t, err, fault.KeyHandleInvalid, "destroyed")
	key, err := open(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign(t.Context(), key); err != nil {
		t.Error(err)
	}
	if err := p.(provider.Destroyer).Destroy(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if keys, deleted := fake.Names(); len(keys) != 0 || len(deleted) != 1 {
		t.Errorf("there are %v, deleted %v", keys, deleted)
	}
}

func adopt(t *testing.T, p provider.Provider, name string) provider.Reference {
	t.Helper()
	found, err := p.(provider.Finder).Find(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return provider.Reference{Ref: found.Ref, Attributes: found.Objects[0]}
}

func TestFind(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	id := strings.TrimPrefix(fake.Add("Web-Server", "P-384"), "Web-Server/")
	for _, name := range []string{"Web-Server", "Web-Server/" + id, c.VaultURL + "/keys/Web-Server/" + id, c.VaultURL + "/keys/Web-Server"} {
		found, err := p.(provider.Finder).Find(t.Context(), name)
		if err != nil || found.Name != c.VaultURL+"/keys/Web-Server/"+id || len(found.Objects) != 2 {
			t.Errorf("%s: %+v, %v", name, found, err)
			continue
		}
		if label := string(found.Objects[0].Bytes(cryptoki.CKA_LABEL)); label != "Web-Server" || !found.Objects[0].Bool(cryptoki.CKA_SIGN) || found.Objects[0].Bool(cryptoki.CKA_DERIVE) {
			t.Errorf("the object is %q, %v", label, found.Objects[0])
		}
	}
	for _, name := range []string{"nobody", "Web-Server/" + strings.Repeat("0", 32), "https://other.vault.azure.net/keys/Web-Server", "a b", ""} {
		_, err := p.(provider.Finder).Find(t.Context(), name)
		expect(t, err, fault.NotFound)
	}
	// The vault that a provider is for has changed.
	ref := adopt(t, p, "Web-Server")
	_, moved := vault(t, azurefake.Options{})
	_, err := open(t, moved).Key(t.Context(), ref)
	expect(t, err, fault.KeyHandleInvalid, "another vault")
	// The store knows another public key.
	ref.Attributes.Set(cryptoki.Bytes(cryptoki.CKA_EC_POINT, []byte{4, 1, 2}))
	_, err = p.Key(t.Context(), ref)
	expect(t, err, fault.KeyHandleInvalid, "adopt it anew")
}

func TestPages(t *testing.T) {
	fake, c := vault(t, azurefake.Options{PageSize: 7})
	p := open(t, c)
	for i := range 30 {
		fake.Add(fmt.Sprintf("key-%02d", i), "P-256")
	}
	names, pages := map[string]bool{}, 0
	for page := ""; ; pages++ {
		found, next, err := p.(provider.Lister).List(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names[f.Name] = true
		}
		if next == "" {
			break
		}
		page = next
	}
	if len(names) != 30 || pages != 4 {
		t.Errorf("%d keys on %d pages", len(names), pages+1)
	}
	for _, page := range []string{"rubbish", "https://elsewhere.example/keys?api-version=2025-07-01", c.VaultURL + ".example/keys"} {
		_, _, err := p.(provider.Lister).List(t.Context(), page)
		expect(t, err, fault.InvalidInput)
	}
}

// A vault that names another one's keys, or signs with another key, is not believed.
func TestStrangeAnswers(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	ref, key := born(t, p)
	other := fake.Add("other", "P-256")
	fake.Swap("anyhsm-"+ref.Identity.UID, strings.Split(other, "/")[0])
	expect(t, sign(t.Context(), key), fault.FunctionFailed, "does not verify")
	server := httptest.NewTLSServer(nil)
	t.Cleanup(server.Close)
	c.VaultURL = server.URL
	expect(t, open(t, c).(provider.HealthChecker).Health(t.Context()), fault.FunctionFailed, "no Azure Key Vault")
}

// Azure does not show a disabled key: it fails by itself, and not the listing.
func TestDisabled(t *testing.T) {
	fake, c := vault(t, azurefake.Options{})
	p := open(t, c)
	fake.Add("good", "P-256")
	fake.Add("bad", "P-256")
	ref := adopt(t, p, "bad")
	own, _ := born(t, p)
	for _, name := range []string{"bad", "anyhsm-" + own.Identity.UID} {
		fake.Change(name, func(k *azurefake.Key) { k.Enabled = false })
	}
	found, next, err := p.(provider.Lister).List(t.Context(), "")
	if err != nil || next != "" || len(found) != 1 || !strings.Contains(found[0].Name, "/good/") {
		t.Errorf("%v, %v", found, err)
	}
	_, err = p.(provider.Finder).Find(t.Context(), "bad")
	expect(t, err, fault.FunctionFailed, "disabled", "--enabled true")
	_, err = p.Key(t.Context(), ref)
	expect(t, err, fault.FunctionFailed, "disabled")
	fake.Change("bad", func(k *azurefake.Key) { k.Enabled = true })
	if _, err = p.Key(t.Context(), ref); err != nil {
		t.Error(err)
	}
}

// A Managed HSM has roles of its own.
func TestManagedRoles(t *testing.T) {
	fake, c := vault(t, azurefake.Options{HSM: true})
	p := open(t, c)
	_, key := born(t, p)
	fake.Deny("sign", "create", "random")
	expect(t, sign(t.Context(), key), fault.FunctionFailed, "Microsoft.KeyVault/managedHsm/keys/sign/action", "Managed HSM Crypto User")
	_, err := p.Generate(t.Context(), request())
	expect(t, err, fault.FunctionFailed, "Microsoft.KeyVault/managedHsm/keys/create")
	_, err = p.(provider.RandomSource).Random(t.Context(), 1)
	expect(t, err, fault.FunctionFailed, "Microsoft.KeyVault/managedHsm/rng/action")
}
