package config

import (
	"strings"
	"testing"
)

func TestAWSKMS(t *testing.T) {
	const head = "[[provider]]\nname = \"aws\"\nkind = \"awskms\"\n"
	c, err := Parse([]byte(head+`[provider.awskms]
region = "eu-central-1"
endpoint = "https://kms.eu-central-1.amazonaws.com"
role_arn = "arn:aws:iam::111122223333:role/anyhsm"
external_id = "x"
access_key_id = "env:ID"
secret_access_key = "file:/etc/anyhsm/aws"
deletion_days = 7
[[provider]]
name = "aws-us"
kind = "awskms"
`), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Providers) != 3 || c.Providers[1].AWSKMS.Region != "eu-central-1" || c.Providers[2].AWSKMS != nil {
		t.Errorf("%+v", c.Providers)
	}
	shown := c.String()
	again, err := Parse([]byte(shown), "")
	if err != nil || again.String() != shown || !strings.Contains(shown, "file:/etc/anyhsm/aws") {
		t.Errorf("the shown configuration is not the same: %v\n%s", err, shown)
	}
	for _, tc := range []struct{ text, want string }{
		{"zone = \"a\"", `unknown key "provider.awskms.zone"`},
		{"region = \"Frankfurt\"", "no AWS region"},
		{"endpoint = \"http://example.org\"", "no https URL"},
		{"endpoint = \"https://user:password@example.org\"", "no https URL"},
		{"role_arn = \"anyhsm\"", "is no role"},
		{"external_id = \"x\"", "goes with role_arn"},
		{"secret_access_key = \"wJalrXUtnFEMI\"", "secret_access_key"},
		{"access_key_id = \"env:ID\"", "go together"},
		{"session_token = \"env:T\"", "go together"},
		{"profile = \"p\"\naccess_key_id = \"env:ID\"\nsecret_access_key = \"env:S\"", "keep one"},
		{"deletion_days = 5", "7 to 30"},
	} {
		_, err := Parse([]byte(head+"[provider.awskms]\n"+tc.text), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "wJalrXUtnFEMI") {
			t.Error("the error shows a secret")
		}
	}
	for _, text := range []string{
		"[[provider]]\nname = \"a\"\nkind = \"software\"\n[provider.awskms]\n", head + "library = \"/l\"\n",
	} {
		if _, err := Parse([]byte(text), ""); err == nil || !strings.Contains(err.Error(), "means nothing for kind") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
