package config

import (
	"strings"
	"testing"
	"time"
)

func TestGCPKMS(t *testing.T) {
	const head = "[[provider]]\nname = \"gcp\"\nkind = \"gcpkms\"\n"
	const ring = "key_ring = \"projects/p-1/locations/europe-west3/keyRings/anyhsm\"\n"
	c, err := Parse([]byte(head+"[provider.gcpkms]\n"+ring+`endpoint = "https://cloudkms.europe-west3.rep.googleapis.com"
credentials = "file:/etc/anyhsm/gcp.json"
protection_level = "HSM"
rsa_signing = "pss"
destroy_after = "24h"
[[provider]]
name = "fake"
kind = "gcpkms"
[provider.gcpkms]
endpoint = "http://127.0.0.1:8085"
`+ring), "")
	if err != nil {
		t.Fatal(err)
	}
	if g := c.Providers[1].GCPKMS; g.ProtectionLevel != "HSM" || time.Duration(g.DestroyAfter) != 24*time.Hour || c.Providers[2].GCPKMS.RSASigning != "" {
		t.Errorf("%+v", g)
	}
	shown := c.String()
	again, err := Parse([]byte(shown), "")
	if err != nil || again.String() != shown || !strings.Contains(shown, "file:/etc/anyhsm/gcp.json") {
		t.Errorf("%v:\n%s", err, shown)
	}
	for _, tc := range []struct{ text, want string }{
		{"", "gcpkms.key_ring"},
		{"key_ring = \"ring\"", "no key ring"},
		{ring + "project = \"p\"", `unknown key "provider.gcpkms.project"`},
		{ring + "endpoint = \"http://example.org:80\"", "no https URL"},
		{ring + "endpoint = \"http://127.0.0.1\"", "a port"},
		{ring + "credentials = \"{private_key: MIIEvQ}\"", "gcpkms.credentials"},
		{ring + "protection_level = \"EXTERNAL\"", "SOFTWARE or HSM"},
		{ring + "rsa_signing = \"both\"", "pkcs1 or pss"},
		{ring + "destroy_after = \"1h\"", "24h to 2880h"},
	} {
		_, err := Parse([]byte(head+"[provider.gcpkms]\n"+tc.text), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "MIIEvQ") {
			t.Error("the error shows a secret")
		}
	}
	for text, want := range map[string]string{
		"[[provider]]\nname = \"a\"\nkind = \"software\"\n[provider.gcpkms]\n" + ring: "means nothing for kind",
		head: "gcpkms.key_ring",
	} {
		if _, err := Parse([]byte(text), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
