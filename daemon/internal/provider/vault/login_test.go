package vault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/vault"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

func TestAppRole(t *testing.T) {
	s := vaulttest.Start(t)
	ref, _ := generate(t, open(t, settings(s)))
	s.Policy(t, "uses", uses)
	s.Do(t, "POST", "sys/auth/apps", map[string]any{"type": "approle"})
	s.Do(t, "POST", "auth/apps/role/anyhsm", map[string]any{"token_policies": "uses", "token_ttl": "2s", "token_max_ttl": "4s"})
	data := func(method, path string) map[string]any { return s.Do(t, method, path, nil)["data"].(map[string]any) }
	var id atomic.Value
	renewID := func() { id.Store(data("POST", "auth/apps/role/anyhsm/secret-id")["secret_id"]) }
	renewID()
	c := settings(s)
	c.Login, c.LoginMount, c.Token = vault.LoginAppRole, "apps", nil
	c.RoleID = data("GET", "auth/apps/role/anyhsm/role-id")["role_id"].(string)
	c.SecretID = func() ([]byte, error) { return []byte(id.Load().(string)), nil }
	p := open(t, c)
	// Beyond the life of a token: it is renewed, and at its end another one is fetched.
	for until := time.Now().Add(7 * time.Second); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
		if err := sign(t.Context(), p, ref); err != nil {
			t.Fatal(err)
		}
	}
	// A token that is revoked does not end the service.
	s.Do(t, "POST", "sys/leases/revoke-prefix/auth/apps", nil)
	if err := sign(t.Context(), p, ref); err != nil {
		t.Errorf("after the token was revoked: %v", err)
	}
	// A secret id that is gone does, until there is a new one.
	s.Do(t, "POST", "auth/apps/role/anyhsm/secret-id/destroy", map[string]any{"secret_id": id.Load()})
	s.Do(t, "POST", "sys/leases/revoke-prefix/auth/apps", nil)
	wants(t, sign(t.Context(), p, ref), fault.DeviceError, "approle", "auth/apps", "secret-id")
	renewID()
	if err := sign(t.Context(), p, ref); err != nil {
		t.Errorf("the new secret id is not read: %v", err)
	}
}

func TestCertificate(t *testing.T) {
	s := vaulttest.Start(t)
	ref, _ := generate(t, open(t, settings(s)))
	s.Policy(t, "uses", uses)
	s.Do(t, "POST", "sys/auth/cert", map[string]any{"type": "cert"})
	directory := t.TempDir()
	certificate, key := filepath.Join(directory, "crt.pem"), filepath.Join(directory, "key.pem")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "anyhsm"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, text := range map[string][]byte{certificate: text, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := settings(s)
	c.Login, c.Token, c.Certificate, c.Key, c.Role = vault.LoginCertificate, nil, certificate, key, "anyhsm"
	p := open(t, c)
	wants(t, sign(t.Context(), p, ref), fault.DeviceError, "cert", "trusts the daemon's certificate")
	s.Do(t, "POST", "auth/cert/certs/anyhsm", map[string]any{"certificate": string(text), "token_policies": "uses", "token_ttl": "1h"})
	if err := sign(t.Context(), p, ref); err != nil {
		t.Error(err)
	}
}

// TestKubernetes logs in by Vault's own plugin; the cluster, which the plugin asks about the token, is a fake of its
// TokenReview API.
func TestKubernetes(t *testing.T) {
	s := vaulttest.Start(t)
	ref, _ := generate(t, open(t, settings(s)))
	s.Policy(t, "uses", uses)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token := func(account string) string {
		part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		signed := part(`{"alg":"ES256","typ":"JWT"}`) + "." + part(fmt.Sprintf(
			`{"nbf":%[1]d,"iat":%[1]d,"exp":%[2]d,"kubernetes.io":{"namespace":"default","serviceaccount":{"name":%[3]q,"uid":"uid-1"}}}`,
			time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix(), account))
		digest := sha256.Sum256([]byte(signed))
		der, err := private.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + base64.RawURLEncoding.EncodeToString(der)
	}
	good, bad := token("anyhsm"), token("somebody")
	cluster := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct {
			Spec struct{ Token string } `json:"spec"`
		}
		if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","status":{"authenticated":%t,"user":{"username":"system:serviceaccount:default:anyhsm","uid":"uid-1"}}}`,
			review.Spec.Token == good)
	}))
	defer cluster.Close()
	s.Do(t, "POST", "sys/auth/kubernetes", map[string]any{"type": "kubernetes"})
	s.Do(t, "POST", "auth/kubernetes/config", map[string]any{
		"kubernetes_host": cluster.URL, "disable_local_ca_jwt": true,
		"kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})),
	})
	s.Do(t, "POST", "auth/kubernetes/role/anyhsm", map[string]any{
		"bound_service_account_names": "anyhsm", "bound_service_account_namespaces": "default", "token_policies": "uses",
	})
	c := settings(s)
	c.Login, c.Token, c.Role, c.ServiceToken = vault.LoginKubernetes, nil, "anyhsm", filepath.Join(t.TempDir(), "token")
	p := open(t, c)
	wants(t, sign(t.Context(), p, ref), fault.DeviceError, "service_token")
	for _, tc := range []struct {
		token string
		good  bool
	}{{bad, false}, {good, true}} {
		// Kubernetes writes a line break and lets everybody in the pod read it.
		if err := os.WriteFile(c.ServiceToken, []byte(tc.token+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		err := sign(t.Context(), p, ref)
		if tc.good && err != nil {
			t.Error(err)
		} else if !tc.good {
			wants(t, err, fault.DeviceError, "kubernetes", "service account")
		}
	}
}

// TestConfig refuses settings with which no call could succeed.
func TestConfig(t *testing.T) {
	for name, c := range map[string]vault.Config{
		"no address":             {Login: vault.LoginToken, Token: secret("t")},
		"the token in the clear": {Address: "http://vault.example.org:8200", Login: vault.LoginToken, Token: secret("t")},
		"no login":               {Address: "https://vault.example.org:8200"},
		"no token":               {Address: "https://vault.example.org:8200", Login: vault.LoginToken},
		"no secret id":           {Address: "https://vault.example.org:8200", Login: vault.LoginAppRole, RoleID: "a"},
		"no role":                {Address: "https://vault.example.org:8200", Login: vault.LoginKubernetes, ServiceToken: "/token"},
		"no certificate":         {Address: "https://vault.example.org:8200", Login: vault.LoginCertificate},
		"no such certificate":    {Address: "https://vault.example.org:8200", Login: vault.LoginCertificate, Certificate: "/absent", Key: "/absent"},
		"no such authority":      {Address: "https://vault.example.org:8200", Login: vault.LoginToken, Token: secret("t"), CA: "/absent"},
		"a path that leads out":  {Address: "https://vault.example.org:8200", Login: vault.LoginToken, Token: secret("t"), Mount: "a/../sys"},
	} {
		if _, err := vault.New(t.Context(), c); !fault.Is(err, fault.InvalidInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
