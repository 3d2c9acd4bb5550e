package awskms

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// client is all that is used of AWS KMS. *kms.Client is one.
type client interface {
	CreateKey(context.Context, *kms.CreateKeyInput, ...func(*kms.Options)) (*kms.CreateKeyOutput, error)
	CreateAlias(context.Context, *kms.CreateAliasInput, ...func(*kms.Options)) (*kms.CreateAliasOutput, error)
	DeleteAlias(context.Context, *kms.DeleteAliasInput, ...func(*kms.Options)) (*kms.DeleteAliasOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
	GetPublicKey(context.Context, *kms.GetPublicKeyInput, ...func(*kms.Options)) (*kms.GetPublicKeyOutput, error)
	ListKeys(context.Context, *kms.ListKeysInput, ...func(*kms.Options)) (*kms.ListKeysOutput, error)
	ListAliases(context.Context, *kms.ListAliasesInput, ...func(*kms.Options)) (*kms.ListAliasesOutput, error)
	ListResourceTags(context.Context, *kms.ListResourceTagsInput, ...func(*kms.Options)) (*kms.ListResourceTagsOutput, error)
	Sign(context.Context, *kms.SignInput, ...func(*kms.Options)) (*kms.SignOutput, error)
	GenerateMac(context.Context, *kms.GenerateMacInput, ...func(*kms.Options)) (*kms.GenerateMacOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	DeriveSharedSecret(context.Context, *kms.DeriveSharedSecretInput, ...func(*kms.Options)) (*kms.DeriveSharedSecretOutput, error)
	GetParametersForImport(context.Context, *kms.GetParametersForImportInput, ...func(*kms.Options)) (*kms.GetParametersForImportOutput, error)
	ImportKeyMaterial(context.Context, *kms.ImportKeyMaterialInput, ...func(*kms.Options)) (*kms.ImportKeyMaterialOutput, error)
	ScheduleKeyDeletion(context.Context, *kms.ScheduleKeyDeletionInput, ...func(*kms.Options)) (*kms.ScheduleKeyDeletionOutput, error)
	GenerateRandom(context.Context, *kms.GenerateRandomInput, ...func(*kms.Options)) (*kms.GenerateRandomOutput, error)
}

var _ client = (*kms.Client)(nil)

// connections is how many idle connections are kept: a TLS server under load has that many signatures under way, and
// a handshake with KMS costs more than a signature.
const connections = 64

// newClient makes the SDK's client. Nothing is sent yet: credentials are fetched with the first call.
func newClient(ctx context.Context, c Config) (*kms.Client, string, func(), error) {
	var transport *http.Transport
	// An attempt that hangs must leave time for another one within the call's deadline.
	httpClient := awshttp.NewBuildableClient().WithTimeout(c.AttemptTimeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		t.IdleConnTimeout = 50 * time.Second // KMS closes them after a minute.
		transport = t
	})
	options := []func(*config.LoadOptions) error{
		config.WithHTTPClient(httpClient),
		config.WithAppID("anyhsm"),
		config.WithLogger(logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
			c.Log.Debug("AWS SDK", "message", fmt.Sprintf(format, args...))
		})),
	}
	if c.Region != "" {
		options = append(options, config.WithRegion(c.Region))
	}
	if c.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.Profile))
	}
	if c.AccessKeyID != "" {
		options = append(options, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)))
	}
	settings, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, "", nil, fmt.Errorf("the AWS configuration cannot be read: %w; correct ~/.aws/config of the daemon's user, or the provider's profile", err)
	}
	if settings.Region == "" {
		return nil, "", nil, fmt.Errorf("no AWS region is known; set region in the provider's configuration, or AWS_REGION in the daemon's environment")
	}
	if c.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(settings), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "anyhsm"
			if c.ExternalID != "" {
				o.ExternalID = aws.String(c.ExternalID)
			}
		})
		settings.Credentials = aws.NewCredentialsCache(role)
	}
	made := kms.NewFromConfig(settings, func(o *kms.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	idle := func() {
		if transport != nil {
			transport.CloseIdleConnections()
		}
	}
	return made, settings.Region, idle, nil
}
