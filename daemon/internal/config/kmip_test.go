package config

import (
	"strings"
	"testing"
)

func TestKMIP(t *testing.T) {
	const head = "[[provider]]\nname = \"kms\"\nkind = \"kmip\"\n"
	const files = "certificate = \"/c.crt\"\nkey = \"/c.key\"\nca = \"/ca.crt\"\n"
	const address = "address = \"kmip.example.org:5696\"\n"
	c, err := Parse([]byte(head+"[provider.kmip]\n"+address+files+"username = \"env:USER\"\npassword = \"file:/etc/anyhsm/kmip\"\nprotocol = \"2.1\"\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	shown := c.String()
	again, err := Parse([]byte(shown), "")
	if err != nil || again.String() != shown || !strings.Contains(shown, "file:/etc/anyhsm/kmip") || c.Providers[1].KMIP.Connections != 16 {
		t.Errorf("the shown configuration is not the same: %v\n%s", err, shown)
	}
	if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "/c.crt") || !strings.Contains(err.Error(), "kmip.password") {
		t.Errorf("Ready: %v", err)
	}
	for _, tc := range []struct{ text, want string }{
		{"", "kmip.address is missing"},
		{files + "address = \"kmip.example.org\"", "no address with a port"},
		{files + address + "port = 1", `unknown key "provider.kmip.port"`},
		{address + "certificate = \"c.crt\"", "kmip.certificate"},
		{files + address + "protocol = \"1.0\"", "choose 1.4"},
		{files + address + "password = \"hunter2\"", "kmip.password"},
		{files + address + "password = \"env:P\"", "kmip.username is not"},
		{files + address + "connections = 5000", "1 to 1024"},
	} {
		_, err := Parse([]byte(head+"[provider.kmip]\n"+tc.text), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Error("the error shows the secret")
		}
	}
	for text, want := range map[string]string{
		head: "kmip.address is missing",
		"[[provider]]\nname = \"a\"\nkind = \"software\"\n[provider.kmip]\n" + address + files: "means nothing for kind",
	} {
		if _, err := Parse([]byte(text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
