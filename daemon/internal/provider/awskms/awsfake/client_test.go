package awsfake_test

import (
	"net/http/httptest"
	"os/exec"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
)

// TestOtherClient lets botocore, which knows nothing of Go's SDK and signs its requests itself, use the fake. On a machine
// without it the other tests must do, and the log says so.
func TestOtherClient(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import botocore").CombinedOutput(); err != nil {
		t.Logf("NOT TESTED HERE: there is no botocore to cross-check the fake with (%v)\n%s", err, out)
		return
	}
	server := httptest.NewServer(awsfake.New())
	defer server.Close()
	out, err := exec.Command("python3", "testdata/client.py", server.URL, awsfake.Region, awsfake.AccessKeyID, awsfake.SecretKey).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("botocore: %v\n%s", err, out)
	}
}
