package awskms_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
)

// TestRole assumes a role: the credentials that KMS sees are those of the Security Token Service.
func TestRole(t *testing.T) {
	const role = "arn:aws:iam::111122223333:role/anyhsm"
	var asked atomic.Int32
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRole" || r.FormValue("RoleArn") != role || r.FormValue("ExternalId") != "shared" || r.FormValue("RoleSessionName") != "anyhsm" {
			t.Errorf("STS was asked %v", r.Form)
		}
		asked.Add(1)
		fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/anyhsm/anyhsm</Arn><AssumedRoleId>AROA:anyhsm</AssumedRoleId></AssumedRoleUser>
<Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>of the role</SessionToken><Expiration>%s</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>`, awsfake.AccessKeyID, awsfake.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer tokens.Close()
	t.Setenv("AWS_ENDPOINT_URL_STS", tokens.URL)
	_, url := service(t)
	c := settings(url)
	c.AccessKeyID, c.SecretAccessKey = "AKIABEFORETHEROLE", "another secret"
	c.RoleARN, c.ExternalID = role, "shared"
	p := open(t, c)
	for range 3 {
		if err := p.Health(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the role was assumed %d times for three calls", n)
	}
}

// TestProfile takes region and credentials from a profile, for two instances at once.
func TestProfile(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "config")
	text := fmt.Sprintf("[profile good]\nregion = %s\naws_access_key_id = %s\naws_secret_access_key = %s\n[profile bad]\nregion = us-east-1\naws_access_key_id = AKIAOTHER\naws_secret_access_key = other\n",
		awsfake.Region, awsfake.AccessKeyID, awsfake.SecretKey)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(directory, "none"))
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	_, url := service(t)
	good, bad := open(t, awskms.Config{Profile: "good", Endpoint: url}), open(t, awskms.Config{Profile: "bad", Endpoint: url})
	if err := good.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if err := bad.Health(t.Context()); err == nil {
		t.Error("the other profile's credentials were taken")
	}
	if _, err := awskms.New(t.Context(), awskms.Config{Profile: "nobody"}); err == nil {
		t.Error("a profile that is not there was taken")
	}
}
