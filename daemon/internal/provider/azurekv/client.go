package azurekv

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// client is all that is used of Azure Key Vault. *azkeys.Client is one.
type client interface {
	CreateKey(context.Context, string, azkeys.CreateKeyParameters, *azkeys.CreateKeyOptions) (azkeys.CreateKeyResponse, error)
	ImportKey(context.Context, string, azkeys.ImportKeyParameters, *azkeys.ImportKeyOptions) (azkeys.ImportKeyResponse, error)
	GetKey(ctx context.Context, name, version string, options *azkeys.GetKeyOptions) (azkeys.GetKeyResponse, error)
	UpdateKey(ctx context.Context, name, version string, parameters azkeys.UpdateKeyParameters, options *azkeys.UpdateKeyOptions) (azkeys.UpdateKeyResponse, error)
	DeleteKey(context.Context, string, *azkeys.DeleteKeyOptions) (azkeys.DeleteKeyResponse, error)
	GetDeletedKey(context.Context, string, *azkeys.GetDeletedKeyOptions) (azkeys.GetDeletedKeyResponse, error)
	PurgeDeletedKey(context.Context, string, *azkeys.PurgeDeletedKeyOptions) (azkeys.PurgeDeletedKeyResponse, error)
	NewListKeyPropertiesPager(*azkeys.ListKeyPropertiesOptions) *runtime.Pager[azkeys.ListKeyPropertiesResponse]
	NewListKeyPropertiesVersionsPager(string, *azkeys.ListKeyPropertiesVersionsOptions) *runtime.Pager[azkeys.ListKeyPropertiesVersionsResponse]
	Sign(ctx context.Context, name, version string, parameters azkeys.SignParameters, options *azkeys.SignOptions) (azkeys.SignResponse, error)
	Decrypt(ctx context.Context, name, version string, parameters azkeys.KeyOperationParameters, options *azkeys.DecryptOptions) (azkeys.DecryptResponse, error)
	Encrypt(ctx context.Context, name, version string, parameters azkeys.KeyOperationParameters, options *azkeys.EncryptOptions) (azkeys.EncryptResponse, error)
	GetRandomBytes(context.Context, azkeys.GetRandomBytesParameters, *azkeys.GetRandomBytesOptions) (azkeys.GetRandomBytesResponse, error)
}

var _ client = (*azkeys.Client)(nil)

// connections is how many idle connections are kept: a TLS server under load has that many signatures under way, and
// a handshake with Azure costs more than a signature.
const connections = 64

// newClient makes the SDK's client. Nothing is sent yet: a token is fetched with the first call.
func newClient(c Config, vault string) (client, func(), error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = connections, connections
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	options := policy.ClientOptions{
		Transport: &http.Client{
			Transport: transport,
			// A key service has no reason to send a request elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Telemetry: policy.TelemetryOptions{ApplicationID: "anyhsm"},
		// Attempts are made in call.go: the SDK would make a second version of a key, and wait beyond the deadline.
		Retry: policy.RetryOptions{MaxRetries: -1},
	}
	if c.Authority != "" {
		options.Cloud = cloud.Configuration{ActiveDirectoryAuthorityHost: c.Authority}
	}
	signIn := options
	signIn.Retry = policy.RetryOptions{MaxRetries: 2, RetryDelay: 500 * time.Millisecond, MaxRetryDelay: 4 * time.Second}
	token, err := credential(c, signIn)
	if err != nil {
		return nil, nil, err
	}
	made, err := azkeys.NewClient(vault, token, &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, nil, fault.New(fault.InvalidInput, "the client for %s cannot be made: %w; check the provider's configuration", vault, err)
	}
	return made, transport.CloseIdleConnections, nil
}
