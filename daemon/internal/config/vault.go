package config

import (
	"path/filepath"
	"regexp"
	"strings"
)

// Vault is the block [provider.vault] of a provider of this kind.
type Vault struct {
	// Address is https://HOST:PORT, Namespace one of Vault Enterprise or OpenBao, Mount the path of the transit engine.
	Address   string `toml:"address"`
	Namespace string `toml:"namespace,omitempty"`
	Mount     string `toml:"mount,omitempty"`
	// CA is the path of a PEM file with the server's authorities, ServerName the name in its certificate.
	CA         string `toml:"ca,omitempty"`
	ServerName string `toml:"server_name,omitempty"`
	// Certificate and Key are the paths of the daemon's certificate and its key.
	Certificate string `toml:"certificate,omitempty"`
	Key         string `toml:"key,omitempty"`
	// Login is token, approle, kubernetes or cert; LoginMount the path of the login where it is not that.
	Login      string `toml:"login,omitempty"`
	LoginMount string `toml:"login_mount,omitempty"`
	// Token belongs to login token, RoleID and SecretID to approle, Role to kubernetes and, where wanted, to cert.
	Token    Secret `toml:"token,omitempty"`
	RoleID   string `toml:"role_id,omitempty"`
	SecretID Secret `toml:"secret_id,omitempty"`
	Role     string `toml:"role,omitempty"`
	// ServiceToken is the path of the service account's token for login kubernetes. It is no Secret: Kubernetes lets
	// everybody in the pod read it.
	ServiceToken string `toml:"service_token,omitempty"`
}

// ServiceTokenFile is where Kubernetes puts a service account's token.
const ServiceTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// Method is the login, which need not be written where it is by token.
func (v Vault) Method() string {
	if v.Login == "" {
		return "token"
	}
	return v.Login
}

// serviceToken is the path of the service account's token, empty where the login does not need it.
func (v Vault) serviceToken() string {
	if v.Login == "kubernetes" && v.ServiceToken == "" {
		return ServiceTokenFile
	}
	return v.ServiceToken
}

var vaultMount = regexp.MustCompile(`^[0-9A-Za-z_-]([0-9A-Za-z_./-]*[0-9A-Za-z_-])?$`)

func (v Vault) check(name string, wrong func(string, ...any)) {
	if !secureURL(v.Address) {
		wrong("%s: vault.address is no https URL of a server; write it as https://vault.example.org:8200 (http only to this machine)", name)
	}
	for _, mount := range []struct{ key, value string }{{"mount", v.Mount}, {"login_mount", v.LoginMount}} {
		if mount.value != "" && (!vaultMount.MatchString(mount.value) || strings.Contains(mount.value, "..")) {
			wrong("%s: vault.%s: %q is no path of a mount; write it as vault secrets list and vault auth list show it, without the slash at the end", name, mount.key, mount.value)
		}
	}
	for _, path := range []struct{ key, value string }{{"ca", v.CA}, {"certificate", v.Certificate}, {"key", v.Key}, {"service_token", v.ServiceToken}} {
		if path.value != "" && !filepath.IsAbs(path.value) {
			wrong("%s: vault.%s: %q is no absolute path; name a file", name, path.key, path.value)
		}
	}
	if (v.Certificate == "") != (v.Key == "") {
		wrong("%s: vault: certificate and key go together; give both, or neither", name)
	}
	// given tells which login a key belongs to, and whether that login needs it.
	type given struct {
		key, login string
		set, must  bool
	}
	keys := []given{
		{"token", "token", v.Token != "", true},
		{"role_id", "approle", v.RoleID != "", true},
		{"secret_id", "approle", v.SecretID != "", true},
		{"role", "kubernetes", v.Role != "" && v.Method() != "cert", true},
		{"service_token", "kubernetes", v.ServiceToken != "", false},
		{"certificate", v.Method(), v.Certificate != "", v.Method() == "cert"},
	}
	switch v.Method() {
	case "token", "approle", "kubernetes", "cert":
		for _, k := range keys {
			switch {
			case k.set && k.login != v.Method():
				wrong("%s: vault.%s means nothing for login = %q; remove it, or choose login = %q", name, k.key, v.Method(), k.login)
			case !k.set && k.must && k.login == v.Method():
				wrong("%s: vault.%s is missing, which login = %q needs; add it", name, k.key, v.Method())
			}
		}
	default:
		wrong("%s: vault.login: %q is unknown; choose token, approle, kubernetes or cert", name, v.Login)
	}
	for _, secret := range []struct {
		key   string
		value Secret
	}{{"token", v.Token}, {"secret_id", v.SecretID}} {
		if secret.value != "" {
			if err := secret.value.check(); err != nil {
				wrong("%s: vault.%s: %v", name, secret.key, err)
			}
		}
	}
}
