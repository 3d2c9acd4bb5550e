package config

import (
	"strings"
	"testing"
)

func TestVault(t *testing.T) {
	const head = "[[provider]]\nname = \"team\"\nkind = \"vault\"\n"
	const address = "address = \"https://vault.example.org:8200\"\n"
	const token = "token = \"file:/etc/anyhsm/vault.token\"\n"
	for _, text := range []string{
		address + token,
		address + token + "login = \"token\"\nnamespace = \"team-a\"\nmount = \"eu/transit\"\nca = \"/etc/anyhsm/vault-ca.crt\"\nserver_name = \"vault\"\n",
		address + "login = \"approle\"\nrole_id = \"anyhsm\"\nsecret_id = \"env:VAULT_SECRET_ID\"\nlogin_mount = \"apps\"\n",
		address + "login = \"kubernetes\"\nrole = \"anyhsm\"\n",
		address + "login = \"cert\"\ncertificate = \"/c.crt\"\nkey = \"/c.key\"\nrole = \"anyhsm\"\n",
		"address = \"http://127.0.0.1:8200\"\n" + token,
	} {
		c, err := Parse([]byte(head+"[provider.vault]\n"+text), "")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		shown := c.String()
		again, err := Parse([]byte(shown), "")
		if err != nil || again.String() != shown {
			t.Errorf("the shown configuration is not the same: %v\n%s", err, shown)
		}
		if err := c.Ready(); err == nil && !strings.Contains(text, "127.0.0.1") {
			t.Errorf("%s: ready without its files", text)
		}
	}
	for _, tc := range []struct{ text, want string }{
		{"", "no https URL"},
		{"address = \"http://vault.example.org:8200\"\n" + token, "no https URL"},
		{"address = \"https://user:hvs.CAESIJ@vault.example.org\"\n" + token, "no https URL"},
		{address, "vault.token is missing"},
		{address + "token = \"hvs.CAESIJ\"", "by reference"},
		{address + token + "login = \"ldap\"", "is unknown"},
		{address + token + "login = \"approle\"", "vault.token means nothing for login = \"approle\""},
		{address + "login = \"approle\"\nrole_id = \"a\"", "vault.secret_id is missing"},
		{address + "login = \"kubernetes\"", "vault.role is missing"},
		{address + "login = \"kubernetes\"\nrole = \"a\"\nservice_token = \"token\"", "no absolute path"},
		{address + "login = \"cert\"", "vault.certificate is missing"},
		{address + token + "certificate = \"/c.crt\"", "go together"},
		{address + token + "ca = \"ca.crt\"", "no absolute path"},
		{address + token + "mount = \"transit/\"", "no path of a mount"},
		{address + token + "mount = \"../sys\"", "no path of a mount"},
		{address + token + "region = \"a\"", `unknown key "provider.vault.region"`},
	} {
		_, err := Parse([]byte(head+"[provider.vault]\n"+tc.text), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "hvs.CAESIJ") {
			t.Error("the error shows a secret")
		}
	}
	if _, err := Parse([]byte("[[provider]]\nname = \"a\"\nkind = \"software\"\n[provider.vault]\n"+address+token), ""); err == nil || !strings.Contains(err.Error(), "means nothing for kind") {
		t.Errorf("another kind's block: %v", err)
	}
}
