package awskms_test

import (
	"context"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

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
// region, against AWS itself with the credentials that the SDK finds. All keys that it makes are scheduled for deletion.
func TestConformance(t *testing.T) {
	fake, url := service(t)
	c := settings(url)
	if region := os.Getenv("ANYHSM_TEST_AWS_REGION"); region != "" {
		fake, c = nil, awskms.Config{Name: "aws", Region: region, DeletionDays: 7}
	}
	defer func() {
		sweep(t, c)
		if fake != nil && fake.Living() != 0 {
			t.Errorf("%d keys would be billed after the test", fake.Living())
		}
	}()
	providertest.Run(t, providertest.Subject{Token: "conformance", Open: func(t *testing.T) provider.Provider { return open(t, c) }})
}

// sweep schedules all keys of the suite for deletion.
func sweep(t *testing.T, c awskms.Config) {
	t.Helper()
	ctx := context.Background()
	loading := []func(*config.LoadOptions) error{config.WithRegion(c.Region)}
	if c.AccessKeyID != "" {
		loading = append(loading, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")))
	}
	loaded, err := config.LoadDefaultConfig(ctx, loading...)
	if err != nil {
		t.Fatal(err)
	}
	client := kms.NewFromConfig(loaded, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	for pages := kms.NewListKeysPaginator(client, &kms.ListKeysInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			tags, err := client.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: k.KeyId})
			if err != nil {
				continue // Another's key, whose policy shuts us out.
			}
			if !slices.ContainsFunc(tags.Tags, func(tag types.Tag) bool {
				return aws.ToString(tag.TagKey) == "anyhsm:token" && aws.ToString(tag.TagValue) == "conformance"
			}) {
				continue
			}
			_, err = client.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId, PendingWindowInDays: aws.Int32(7)})
			if err != nil && !strings.Contains(err.Error(), "pending deletion") {
				t.Errorf("the key %s stays and is billed: %v", aws.ToString(k.KeyId), err)
			}
		}
	}
}
