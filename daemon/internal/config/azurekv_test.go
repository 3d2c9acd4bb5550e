package config

import (
	"strings"
	"testing"
)

func TestAzureKV(t *testing.T) {
	const head = "[[provider]]\nname = \"azure\"\nkind = \"azurekv\"\n"
	const vault = "vault_url = \"https://example.vault.azure.net\"\n"
	c, err := Parse([]byte(head+"[provider.azurekv]\n"+vault+`tenant_id = "00000000-1111-2222-3333-444444444444"
client_id = "55555555-6666-7777-8888-999999999999"
client_secret = "file:/etc/anyhsm/azure"
purge = true
[[provider]]
name = "azure-hsm"
kind = "azurekv"
[provider.azurekv]
vault_url = "https://example.managedhsm.azure.net/"
hsm = true
`), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Providers) != 3 || !c.Providers[1].AzureKV.Purge || !c.Providers[2].AzureKV.HSM {
		t.Errorf("%+v", c.Providers)
	}
	shown := c.String()
	again, err := Parse([]byte(shown), "")
	if err != nil || again.String() != shown || !strings.Contains(shown, "file:/etc/anyhsm/azure") {
		t.Errorf("the shown configuration is not the same: %v\n%s", err, shown)
	}
	ids := vault + "tenant_id = \"a\"\nclient_id = \"b\"\n"
	for _, tc := range []struct{ text, want string }{
		{vault + "zone = \"a\"", `unknown key "provider.azurekv.zone"`},
		{"", "no vault's URL"},
		{"vault_url = \"http://127.0.0.1\"", "no vault's URL"},
		{"vault_url = \"https://example.vault.azure.net/keys/a\"", "no vault's URL"},
		{"vault_url = \"https://user:wJalrXUtnFEMI@example.org\"", "no vault's URL"},
		{"vault_url = \"https://a.managedhsm.azure.net\"", "add hsm = true"},
		{vault + "hsm = true", "no Managed HSM's"},
		{"vault_url = \"https://a.managedhsm.azure.net\"\nhsm = true\npremium = true", "exclude each other"},
		{vault + "tenant_id = \"a b\"", "is no id"},
		{vault + "authority = \"login.microsoftonline.us\"", "no https URL"},
		{ids + "client_secret = \"wJalrXUtnFEMI\"", "client_secret"},
		{vault + "client_certificate = \"file:/c\"", "goes with tenant_id"},
		{ids + "client_secret = \"env:S\"\nclient_certificate = \"env:C\"", "keep one"},
	} {
		_, err := Parse([]byte(head+"[provider.azurekv]\n"+tc.text), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "wJalrXUtnFEMI") {
			t.Error("the error shows a secret")
		}
	}
	for _, text := range []string{"[[provider]]\nname = \"a\"\nkind = \"software\"\n[provider.azurekv]\n" + vault} {
		if _, err := Parse([]byte(text), ""); err == nil || !strings.Contains(err.Error(), "means nothing for kind") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Parse([]byte(head), ""); err == nil || !strings.Contains(err.Error(), "vault_url") {
		t.Errorf("no block: %v", err)
	}
}
