package azurefake

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// token is what a bearer token is good for.
type token struct {
	resource string
	until    time.Time
}

// resource is what a token must be for. A vault's is the host without its first label, as https://vault.azure.net is of
// https://NAME.vault.azure.net.
func resource(r *http.Request) string {
	_, rest, _ := strings.Cut(r.Host, ".")
	return "https://" + rest
}

func (v *Vault) authorized(r *http.Request) bool {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.tokens[value]
	return ok && scheme == "Bearer" && t.resource == resource(r) && time.Now().Before(t.until)
}

// Revoke forgets all tokens.
func (v *Vault) Revoke() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.tokens)
}

// signIn is the sign-in host: it describes itself and gives tokens to the one application.
func (v *Vault) signIn(w http.ResponseWriter, r *http.Request) {
	base := "https://" + r.Host + "/" + Tenant
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch strings.TrimPrefix(r.URL.Path, "/"+Tenant) {
	case "/v2.0/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"token_endpoint": base + "/oauth2/v2.0/token", "issuer": base + "/v2.0",
			"authorization_endpoint": base + "/oauth2/v2.0/authorize",
		})
	case "/oauth2/v2.0/token":
		v.give(w, r, base+"/oauth2/v2.0/token")
	default:
		http.NotFound(w, r)
	}
}

func (v *Vault) give(w http.ResponseWriter, r *http.Request, endpoint string) {
	deny := func(code, sentence string) {
		w.WriteHeader(http.StatusUnauthorized)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": "invalid_client", "error_description": code + ": " + sentence})
	}
	v.mu.Lock()
	v.calls["token"]++
	v.mu.Unlock()
	if r.Method != http.MethodPost || r.ParseForm() != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		deny("AADSTS900144", "The request body must contain the following parameter: 'grant_type'.")
		return
	}
	audience, scoped := "", false
	for _, scope := range strings.Fields(r.PostForm.Get("scope")) {
		if a, ok := strings.CutSuffix(scope, "/.default"); ok {
			audience, scoped = a, true
		}
	}
	switch {
	case r.PostForm.Get("client_id") != ClientID:
		deny("AADSTS700016", "Application with identifier '"+r.PostForm.Get("client_id")+"' was not found in the directory 'Test'.")
	case !scoped || audience != resource(r):
		deny("AADSTS500011", "The resource principal named "+audience+" was not found in the tenant named Test.")
	case r.PostForm.Get("client_assertion") != "" && !v.asserts(r.PostForm.Get("client_assertion"), endpoint):
		deny("AADSTS700027", "The certificate with identifier used to sign the client assertion is not registered on application.")
	case r.PostForm.Get("client_assertion") == "" && r.PostForm.Get("client_secret") != ClientSecret:
		deny("AADSTS7000215", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.")
	default:
		value := random(32)
		v.mu.Lock()
		v.tokens[value] = token{audience, time.Now().Add(time.Hour)}
		v.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": value})
	}
}

// asserts checks a client assertion: a JSON Web Token that the registered certificate's key has signed.
func (v *Vault) asserts(assertion, endpoint string) bool {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	var header struct {
		Algorithm string   `json:"alg"`
		Chain     []string `json:"x5c"`
	}
	var claims struct {
		Audience string `json:"aud"`
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Until    int64  `json:"exp"`
		From     int64  `json:"nbf"`
	}
	if !decode(parts[0], &header) || !decode(parts[1], &claims) || len(header.Chain) == 0 {
		return false
	}
	der, err := base64.StdEncoding.DecodeString(header.Chain[0])
	if err != nil || !bytes.Equal(der, v.options.Certificate) {
		return false
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return false
	}
	public, ok := certificate.PublicKey.(*rsa.PublicKey)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	now := time.Now().Unix()
	if !ok || err != nil || claims.Audience != endpoint || claims.Issuer != ClientID || claims.Subject != ClientID ||
		now > claims.Until || now < claims.From-300 {
		return false
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Algorithm == "PS256" {
		return rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, nil) == nil
	}
	return header.Algorithm == "RS256" && rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature) == nil
}

func decode(part string, into any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil
}
