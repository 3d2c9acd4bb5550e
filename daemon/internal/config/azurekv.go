package config

import (
	"net/url"
	"regexp"
	"strings"
)

// AzureKV is the block [provider.azurekv] of a provider of this kind.
type AzureKV struct {
	// VaultURL is https://NAME.vault.azure.net or https://NAME.managedhsm.azure.net.
	VaultURL string `toml:"vault_url"`
	// HSM tells that it is a Managed HSM, Premium that the keys of a Premium vault are to be made in hardware.
	HSM     bool `toml:"hsm,omitempty"`
	Premium bool `toml:"premium,omitempty"`
	// TenantID and ClientID are those of the application that signs in with ClientSecret or ClientCertificate. Without
	// them it is whom the Azure SDK finds; ClientID alone is a user-assigned managed identity.
	TenantID          string `toml:"tenant_id,omitempty"`
	ClientID          string `toml:"client_id,omitempty"`
	ClientSecret      Secret `toml:"client_secret,omitempty"`
	ClientCertificate Secret `toml:"client_certificate,omitempty"`
	// Authority is the sign-in host of another cloud than the public one.
	Authority string `toml:"authority,omitempty"`
	// Purge tells that destroyed keys are purged as well.
	Purge bool `toml:"purge,omitempty"`
}

// azureID is a GUID, or a tenant's domain name.
var azureID = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z.-]{0,126}$`)

func (a AzureKV) check(name string, wrong func(string, ...any)) {
	u, err := url.Parse(a.VaultURL)
	if err != nil {
		u = &url.URL{}
	}
	if !secureURL(a.VaultURL) || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		wrong("%s: azurekv.vault_url: %q is no vault's URL; write it as https://NAME.vault.azure.net, or https://NAME.managedhsm.azure.net with hsm = true", name, u.Redacted())
	} else if strings.Contains(u.Hostname(), ".managedhsm.") && !a.HSM {
		wrong("%s: azurekv.vault_url is a Managed HSM's; add hsm = true", name)
	} else if strings.Contains(u.Hostname(), ".vault.") && a.HSM {
		wrong("%s: azurekv.vault_url is a vault's and no Managed HSM's; remove hsm, or write premium = true for hardware keys of a Premium vault", name)
	}
	if a.HSM && a.Premium {
		wrong("%s: azurekv: hsm and premium exclude each other: a Managed HSM keeps all keys in hardware; remove premium", name)
	}
	for _, id := range []struct{ key, value string }{{"tenant_id", a.TenantID}, {"client_id", a.ClientID}} {
		if id.value != "" && !azureID.MatchString(id.value) {
			wrong("%s: azurekv.%s: %q is no id; write it as 00000000-0000-0000-0000-000000000000", name, id.key, id.value)
		}
	}
	if a.Authority != "" && (!secureURL(a.Authority) || !strings.HasPrefix(a.Authority, "https://")) {
		wrong("%s: azurekv.authority: %q is no https URL; write it as https://login.chinacloudapi.cn, or leave it out for the public cloud", name, a.Authority)
	}
	for _, secret := range []struct {
		key   string
		value Secret
	}{{"client_secret", a.ClientSecret}, {"client_certificate", a.ClientCertificate}} {
		if secret.value == "" {
			continue
		}
		if err := secret.value.check(); err != nil {
			wrong("%s: azurekv.%s: %v", name, secret.key, err)
		}
		if a.TenantID == "" || a.ClientID == "" {
			wrong("%s: azurekv.%s goes with tenant_id and client_id; add them", name, secret.key)
		}
	}
	if a.ClientSecret != "" && a.ClientCertificate != "" {
		wrong("%s: azurekv: both client_secret and client_certificate are given; keep one", name)
	}
}
