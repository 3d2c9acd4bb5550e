package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/vault"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/softhsm-tests/vaulttest"
)

// request asks for a P-256 key.
func request() provider.GenerateRequest {
	uid := make([]byte, 16)
	_, _ = rand.Read(uid)
	p256, _ := curve.ByName("P-256")
	return provider.GenerateRequest{
		Identity:  provider.Identity{UID: hex.EncodeToString(uid), Token: "token"},
		Mechanism: cryptoki.Mechanism{Type: cryptoki.CKM_EC_KEY_PAIR_GEN},
		Public:    cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_EC_PARAMS, p256.Params)},
		Private: cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_EC),
			cryptoki.String(cryptoki.CKA_LABEL, "my key"), cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bool(cryptoki.CKA_SENSITIVE, true),
		},
	}
}

// generate makes a P-256 key, and returns its reference and name.
func generate(t *testing.T, p *vault.Provider) (provider.Reference, string) {
	t.Helper()
	r := request()
	made, err := p.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(string(made.Ref), "/")
	return provider.Reference{Identity: r.Identity, Ref: made.Ref, Attributes: append(r.Private, made.Public...)}, name
}

func sign(ctx context.Context, p *vault.Provider, ref provider.Reference) error {
	key, err := p.Key(ctx, ref)
	if err != nil {
		return err
	}
	_, err = key.(provider.Signer).Sign(ctx, cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, make([]byte, 32))
	return err
}

// wants checks an error's kind and words.
func wants(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("want %v, got %v", kind, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
}

// TestKeys goes through what may become of a key in Vault.
func TestKeys(t *testing.T) {
	s := vaulttest.Start(t)
	p := open(t, settings(s))
	if err := p.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Run("the label is in the name", func(t *testing.T) {
		ref, name := generate(t, p)
		if !strings.HasSuffix(name, ref.Identity.UID+"-my_key") {
			t.Errorf("the key's name is %s", name)
		}
	})
	t.Run("rotated", func(t *testing.T) {
		ref, name := generate(t, p)
		s.Do(t, "POST", "transit/keys/"+name+"/rotate", nil)
		for _, p := range []*vault.Provider{p, open(t, settings(s))} {
			if err := sign(t.Context(), p, ref); err != nil {
				t.Errorf("the object's version signs no more: %v", err)
			}
		}
		found, err := p.Find(t.Context(), name)
		if err != nil || string(found.Ref) != name+"/2" {
			t.Fatalf("the newest version is %s, %v", found.Ref, err)
		}
		old, err := p.Find(t.Context(), "transit/keys/"+name+"/1")
		if err != nil || string(old.Ref) != string(ref.Ref) {
			t.Errorf("version 1 is %s, %v", old.Ref, err)
		}
		newest := provider.Reference{Ref: found.Ref, Attributes: found.Objects[0]}
		if err := sign(t.Context(), p, newest); err != nil {
			t.Error(err)
		}
		wants(t, p.Destroy(t.Context(), newest), fault.ActionProhibited, "version 2", "older")
		if err := p.Destroy(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		wants(t, sign(t.Context(), p, ref), fault.KeyHandleInvalid)
		if err := sign(t.Context(), p, newest); err != nil {
			t.Errorf("the newer version is gone with the older one: %v", err)
		}
		if err := p.Destroy(t.Context(), newest); err != nil {
			t.Error(err)
		}
		if status, _ := s.Try(t, s.Root, "GET", "transit/keys/"+name, nil); status != http.StatusNotFound {
			t.Errorf("the key is still there: %d", status)
		}
	})
	t.Run("version not for signing any more", func(t *testing.T) {
		ref, name := generate(t, p)
		s.Do(t, "POST", "transit/keys/"+name+"/rotate", nil)
		s.Do(t, "POST", "transit/keys/"+name+"/config", map[string]any{"min_encryption_version": 2})
		wants(t, sign(t.Context(), p, ref), fault.FunctionFailed, "min_encryption_version")
	})
	t.Run("deleted, made anew, of another type", func(t *testing.T) {
		ref, name := generate(t, p)
		remove := func() {
			s.Do(t, "POST", "transit/keys/"+name+"/config", map[string]any{"deletion_allowed": true})
			s.Do(t, "DELETE", "transit/keys/"+name, nil)
		}
		if err := sign(t.Context(), p, ref); err != nil {
			t.Fatal(err)
		}
		remove()
		wants(t, sign(t.Context(), p, ref), fault.KeyHandleInvalid, name, "deleted")
		s.Do(t, "POST", "transit/keys/"+name, map[string]any{"type": "ecdsa-p256"})
		wants(t, sign(t.Context(), p, ref), fault.KeyHandleInvalid, "another key")
		remove()
		s.Do(t, "POST", "transit/keys/"+name, map[string]any{"type": "rsa-2048"})
		wants(t, sign(t.Context(), open(t, settings(s)), ref), fault.KeyHandleInvalid, "another key", "rsa-2048")
	})
	t.Run("made anew while known", func(t *testing.T) {
		ref, name := generate(t, p)
		s.Do(t, "POST", "transit/keys/"+name+"/config", map[string]any{"deletion_allowed": true})
		s.Do(t, "DELETE", "transit/keys/"+name, nil)
		s.Do(t, "POST", "transit/keys/"+name, map[string]any{"type": "ecdsa-p256"})
		wants(t, sign(t.Context(), p, ref), fault.FunctionFailed, "does not verify")
		wants(t, sign(t.Context(), p, ref), fault.KeyHandleInvalid, "another key")
	})
	t.Run("kinds that cannot be used", func(t *testing.T) {
		s.Do(t, "POST", "transit/keys/chacha", map[string]any{"type": "chacha20-poly1305"})
		s.Do(t, "POST", "transit/keys/derived", map[string]any{"type": "ed25519", "derived": true})
		for _, name := range []string{"chacha", "derived"} {
			_, err := p.Find(t.Context(), name)
			wants(t, err, fault.KeyTypeInconsistent)
		}
		_, err := p.Find(t.Context(), "nobody")
		wants(t, err, fault.NotFound)
		if _, _, err := p.List(t.Context(), ""); err != nil {
			t.Errorf("one key that cannot be used spoils the listing: %v", err)
		}
	})
	t.Run("another mount", func(t *testing.T) {
		c := settings(s)
		c.Mount = "elsewhere"
		other := open(t, c)
		_, err := other.Generate(t.Context(), request())
		wants(t, err, fault.FunctionFailed, "mount", "vault secrets enable")
	})
	t.Run("an import with another value", func(t *testing.T) {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret)
		attributes := cryptoki.Attributes{
			cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY), cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET),
			cryptoki.Bool(cryptoki.CKA_SIGN, true), cryptoki.Bytes(cryptoki.CKA_VALUE, secret),
		}
		for _, keyType := range []cryptoki.KeyType{cryptoki.CKK_GENERIC_SECRET, cryptoki.CKK_AES} {
			attributes.Set(cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType))
			attributes.Set(cryptoki.Bool(cryptoki.CKA_DECRYPT, true))
			attributes.Set(cryptoki.Bytes(cryptoki.CKA_VALUE, secret))
			identity := request().Identity
			for range 2 {
				if _, err := p.Import(t.Context(), identity, attributes); err != nil {
					t.Fatal(err)
				}
			}
			other := attributes.Clone()
			other.Set(cryptoki.Bytes(cryptoki.CKA_VALUE, append([]byte{secret[0] ^ 1}, secret[1:]...)))
			_, err := p.Import(t.Context(), identity, other)
			wants(t, err, fault.Conflict, "another value")
		}
	})
	t.Run("sealed", func(t *testing.T) {
		ref, _ := generate(t, p)
		s.Seal(t)
		wants(t, sign(t.Context(), p, ref), fault.DeviceError, "sealed", "unseal")
		wants(t, p.Health(t.Context()), fault.DeviceError, "sealed")
		s.Unseal(t)
		if err := sign(t.Context(), p, ref); err != nil {
			t.Errorf("after the seal was opened: %v", err)
		}
		if err := p.Health(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// policies of a daemon that uses keys, and of one that may all.
const (
	uses = `path "transit/keys/*" { capabilities = ["read"] }
path "transit/sign/*" { capabilities = ["update"] }`
	all = `path "transit/*" { capabilities = ["create", "read", "update", "delete", "list"] }`
)

// TestToken goes through what is wrong with tokens.
func TestToken(t *testing.T) {
	s := vaulttest.Start(t)
	ref, _ := generate(t, open(t, settings(s)))
	s.Policy(t, "uses", uses)
	s.Policy(t, "all", all)
	with := func(token string) *vault.Provider {
		c := settings(s)
		c.Token = secret(token)
		return open(t, c)
	}
	t.Run("wrong", func(t *testing.T) {
		wants(t, sign(t.Context(), with("hvs.nobody"), ref), fault.DeviceError, "token", "wrong, revoked or has expired")
	})
	t.Run("a missing permission", func(t *testing.T) {
		p := with(s.Token(t, map[string]any{"policies": []string{"uses"}}))
		if err := sign(t.Context(), p, ref); err != nil {
			t.Fatal(err)
		}
		_, err := p.Generate(t.Context(), request())
		wants(t, err, fault.FunctionFailed, `"update"`, "transit/keys/anyhsm-", `path "transit/keys/*" { capabilities = ["update"] }`)
		_, _, err = p.List(t.Context(), "")
		wants(t, err, fault.FunctionFailed, `"list"`)
	})
	t.Run("renewed", func(t *testing.T) {
		p := with(s.Token(t, map[string]any{"policies": []string{"uses"}, "ttl": "3s", "period": "3s"}))
		for until := time.Now().Add(8 * time.Second); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
			if err := sign(t.Context(), p, ref); err != nil {
				t.Fatalf("the token was not renewed: %v", err)
			}
		}
	})
	t.Run("expired, then replaced", func(t *testing.T) {
		var token atomic.Value
		token.Store(s.Token(t, map[string]any{"policies": []string{"uses"}}))
		c := settings(s)
		c.Token = func() ([]byte, error) { return []byte(token.Load().(string)), nil }
		p := open(t, c)
		if err := sign(t.Context(), p, ref); err != nil {
			t.Fatal(err)
		}
		s.Do(t, "POST", "auth/token/revoke", map[string]any{"token": token.Load()})
		wants(t, sign(t.Context(), p, ref), fault.DeviceError, "expired")
		token.Store(s.Token(t, map[string]any{"policies": []string{"uses"}}))
		if err := sign(t.Context(), p, ref); err != nil {
			t.Errorf("the new token is not read: %v", err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		c := settings(s)
		c.Token = func() ([]byte, error) { return nil, os.ErrNotExist }
		wants(t, sign(t.Context(), open(t, c), ref), fault.DeviceError, "token")
	})
}

// between is a proxy before the real server, which can answer in its stead.
func between(t *testing.T, s *vaulttest.Server, before func(http.ResponseWriter, *http.Request) (done bool)) vault.Config {
	t.Helper()
	target, err := url.Parse(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: s.Transport()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !before(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	c := settings(s)
	c.Address, c.CA = server.URL, ""
	return c
}

// TestServer goes through what may be wrong with the server, by a proxy before the real one.
func TestServer(t *testing.T) {
	s := vaulttest.Start(t)
	ref, _ := generate(t, open(t, settings(s)))
	// refuse answers requests to sign, so many times.
	refuse := func(w http.ResponseWriter, r *http.Request, left *atomic.Int32, status int, after, text string) bool {
		if !strings.Contains(r.URL.Path, "/sign/") || left.Add(-1) < 0 {
			return false
		}
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
		return true
	}
	for _, tc := range []struct {
		name        string
		status      int
		after, text string
		times       int32
		kind        fault.Kind // 0 where the call succeeds in the end
		words       string
	}{
		{"throttled for a while", 429, "1", `{"errors":["rate limit quota exceeded"]}`, 2, 0, ""},
		{"throttled", 429, "60", `{"errors":["rate limit quota exceeded"]}`, 1 << 20, fault.Throttled, "quota"},
		{"overloaded", 503, "60", `{"errors":["try later"]}`, 1 << 20, fault.Throttled, "overloaded"},
		{"a standby that changes", 503, "", `{"errors":["local node not active but active cluster node not found"]}`, 2, 0, ""},
		{"a gateway that fails", 502, "", "<html>Bad Gateway</html>", 2, 0, ""},
		{"a gateway that goes on failing", 502, "", "<html>Bad Gateway</html>", 1 << 20, fault.DeviceError, "502"},
		{"no Vault", 200, "", "<html>Welcome to nginx!</html>", 1 << 20, fault.FunctionFailed, "no Vault"},
		{"another's signature", 200, "", `{"data":{"signature":"vault:v1:MAYCAQECAQE="}}`, 1 << 20, fault.FunctionFailed, "does not verify"},
		{"another version's signature", 200, "", `{"data":{"signature":"vault:v2:MAYCAQECAQE="}}`, 1 << 20, fault.FunctionFailed, "version 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var left atomic.Int32
			left.Store(tc.times)
			p := open(t, between(t, s, func(w http.ResponseWriter, r *http.Request) bool {
				return refuse(w, r, &left, tc.status, tc.after, tc.text)
			}))
			err := sign(t.Context(), p, ref)
			if tc.kind == 0 {
				if err != nil || left.Load() >= 0 {
					t.Errorf("%d attempts were left, %v", left.Load(), err)
				}
				return
			}
			wants(t, err, tc.kind, tc.words)
		})
	}
	t.Run("no answer", func(t *testing.T) {
		c := between(t, s, func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/sign/") {
				_, _ = io.Copy(io.Discard, r.Body) // Only then the server notices that the caller has gone.
				<-r.Context().Done()
				return true
			}
			return false
		})
		c.AttemptTimeout = 200 * time.Millisecond
		p := open(t, c)
		wants(t, sign(t.Context(), p, ref), fault.DeviceError, "cannot be reached")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wants(t, sign(ctx, p, ref), fault.DeadlineExceeded)
	})
	t.Run("nobody there", func(t *testing.T) {
		c := settings(s)
		c.Address = "https://localhost:1"
		wants(t, sign(t.Context(), open(t, c), ref), fault.DeviceError, "cannot be reached", "address")
	})
	t.Run("another authority", func(t *testing.T) {
		c := settings(s)
		c.CA = ""
		wants(t, sign(t.Context(), open(t, c), ref), fault.DeviceError, "check ca and server_name")
	})
	t.Run("the server's name", func(t *testing.T) {
		c := settings(s)
		c.Address = strings.Replace(c.Address, "localhost", "127.0.0.1", 1)
		wants(t, sign(t.Context(), open(t, c), ref), fault.DeviceError, "certificate")
		c.ServerName = "localhost"
		if err := sign(t.Context(), open(t, c), ref); err != nil {
			t.Error(err)
		}
	})
	t.Run("a namespace", func(t *testing.T) {
		var seen, health atomic.Value
		c := between(t, s, func(_ http.ResponseWriter, r *http.Request) bool {
			to := &seen
			if strings.HasSuffix(r.URL.Path, "/health") {
				to = &health
			}
			to.Store(r.Header.Get("X-Vault-Namespace"))
			r.Header.Del("X-Vault-Namespace") // Only Vault Enterprise and OpenBao have them.
			return false
		})
		c.Namespace = "team-a"
		p := open(t, c)
		if err := p.Health(t.Context()); err != nil || sign(t.Context(), p, ref) != nil || seen.Load() != "team-a" || health.Load() != "" {
			t.Errorf("namespaces %q and %q, %v", seen.Load(), health.Load(), err)
		}
	})
	t.Run("a lost answer", func(t *testing.T) {
		var lost atomic.Bool
		c := between(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost || !strings.Contains(r.URL.Path, "/keys/anyhsm-") || lost.Swap(true) {
				return false
			}
			name := strings.TrimPrefix(r.URL.Path, "/v1/")
			s.Do(t, "POST", name, map[string]any{"type": "ecdsa-p256"})
			connection, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = connection.Close()
			}
			return true
		})
		p := open(t, c)
		ref, name := generate(t, p)
		if err := sign(t.Context(), p, ref); err != nil {
			t.Error(err)
		}
		data := s.Do(t, "GET", "transit/keys/"+name, nil)["data"].(map[string]any)
		if !lost.Load() || data["latest_version"].(float64) != 1 {
			t.Errorf("the repeated request made a second version: %v", data["latest_version"])
		}
	})
	t.Run("the active server's name", func(t *testing.T) {
		c := between(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, s.Address+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		})
		c.CA = s.CA
		if err := sign(t.Context(), open(t, c), ref); err != nil {
			t.Error(err)
		}
	})
	t.Run("a redirect to where the token would be seen", func(t *testing.T) {
		c := between(t, s, func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://vault.example.org"+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		})
		wants(t, sign(t.Context(), open(t, c), ref), fault.FunctionFailed, "307")
	})
}
