package awskms_test

import (
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/awskms/awsfake"
	"github.com/anyhsm/anyhsm/daemon/internal/provider/providertest"
)

// service starts a fake KMS.
func service(t *testing.T) (*awsfake.KMS, string) {
	t.Helper()
	fake := awsfake.New()
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	return fake, server.URL
}

// settings are those of a provider on a fake.
func settings(url string) awskms.Config {
	return awskms.Config{
		Name: "aws", Region: awsfake.Region, Endpoint: url, AccessKeyID: awsfake.AccessKeyID, SecretAccessKey: awsfake.SecretKey,
		// AWS settles in seconds, the fake at once.
		CallTimeout: 20 * time.Second,
	}
}

func open(t *testing.T, c awskms.Config) *awskms.Provider {
	t.Helper()
	p, err := awskms.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// TestConformance runs the suite that each provider passes: against the fake or, where ANYHSM_TEST_AWS_REGION names a
// region, against AWS itself with the credentials that the SDK finds. That makes about 200 keys, schedules those that it
// destroys for deletion in 7 days, and leaves the others, tagged anyhsm:token = conformance.
func TestConformance(t *testing.T) {
	_, url := service(t)
	c := settings(url)
	if region := os.Getenv("ANYHSM_TEST_AWS_REGION"); region != "" {
		c = awskms.Config{Name: "aws", Region: region, DeletionDays: 7}
	}
	providertest.Run(t, providertest.Subject{Token: "conformance", Open: func(t *testing.T) provider.Provider { return open(t, c) }})
}
