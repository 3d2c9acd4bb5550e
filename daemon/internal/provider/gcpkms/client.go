package gcpkms

import (
	"context"
	"encoding/json"
	"net"
	"strings"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	gax "github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// client is all that is used of Google Cloud KMS. *kms.KeyManagementClient is one.
type client interface {
	GetKeyRing(context.Context, *kmspb.GetKeyRingRequest, ...gax.CallOption) (*kmspb.KeyRing, error)
	ListCryptoKeys(context.Context, *kmspb.ListCryptoKeysRequest, ...gax.CallOption) *kms.CryptoKeyIterator
	ListCryptoKeyVersions(context.Context, *kmspb.ListCryptoKeyVersionsRequest, ...gax.CallOption) *kms.CryptoKeyVersionIterator
	GetCryptoKey(context.Context, *kmspb.GetCryptoKeyRequest, ...gax.CallOption) (*kmspb.CryptoKey, error)
	GetCryptoKeyVersion(context.Context, *kmspb.GetCryptoKeyVersionRequest, ...gax.CallOption) (*kmspb.CryptoKeyVersion, error)
	GetPublicKey(context.Context, *kmspb.GetPublicKeyRequest, ...gax.CallOption) (*kmspb.PublicKey, error)
	CreateCryptoKey(context.Context, *kmspb.CreateCryptoKeyRequest, ...gax.CallOption) (*kmspb.CryptoKey, error)
	CreateImportJob(context.Context, *kmspb.CreateImportJobRequest, ...gax.CallOption) (*kmspb.ImportJob, error)
	GetImportJob(context.Context, *kmspb.GetImportJobRequest, ...gax.CallOption) (*kmspb.ImportJob, error)
	ImportCryptoKeyVersion(context.Context, *kmspb.ImportCryptoKeyVersionRequest, ...gax.CallOption) (*kmspb.CryptoKeyVersion, error)
	DestroyCryptoKeyVersion(context.Context, *kmspb.DestroyCryptoKeyVersionRequest, ...gax.CallOption) (*kmspb.CryptoKeyVersion, error)
	AsymmetricSign(context.Context, *kmspb.AsymmetricSignRequest, ...gax.CallOption) (*kmspb.AsymmetricSignResponse, error)
	AsymmetricDecrypt(context.Context, *kmspb.AsymmetricDecryptRequest, ...gax.CallOption) (*kmspb.AsymmetricDecryptResponse, error)
	MacSign(context.Context, *kmspb.MacSignRequest, ...gax.CallOption) (*kmspb.MacSignResponse, error)
	RawEncrypt(context.Context, *kmspb.RawEncryptRequest, ...gax.CallOption) (*kmspb.RawEncryptResponse, error)
	RawDecrypt(context.Context, *kmspb.RawDecryptRequest, ...gax.CallOption) (*kmspb.RawDecryptResponse, error)
	GenerateRandomBytes(context.Context, *kmspb.GenerateRandomBytesRequest, ...gax.CallOption) (*kmspb.GenerateRandomBytesResponse, error)
	Close() error
}

var _ client = (*kms.KeyManagementClient)(nil)

// connections carry 100 calls at once each.
const connections = 4

// newClient makes the SDK's client. Nothing is sent yet: connections and credentials come with the first call.
func newClient(ctx context.Context, c Config) (client, error) {
	options := []option.ClientOption{
		option.WithUserAgent("anyhsm"),
		option.WithTelemetryDisabled(),
		option.WithGRPCConnectionPool(connections),
	}
	address, plain := strings.CutPrefix(c.Endpoint, "http://")
	switch {
	case plain && !loopback(address):
		return nil, fault.New(fault.InvalidInput, "endpoint = %q would send secrets in clear over a network; without TLS only an address of this machine is taken, as http://127.0.0.1:8085", c.Endpoint)
	case plain:
		options = append(options, option.WithEndpoint(address), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	case address != "":
		options = append(options, option.WithEndpoint(strings.TrimPrefix(address, "https://")))
	}
	if len(c.Credentials) > 0 && !plain {
		kind, err := credentialsKind(c.Credentials)
		if err != nil {
			return nil, err
		}
		options = append(options, option.WithAuthCredentialsJSON(kind, c.Credentials))
	}
	made, err := kms.NewKeyManagementClient(ctx, options...)
	if err != nil {
		kind := fault.InvalidInput
		if len(c.Credentials) == 0 {
			// The standard chain looks at the machine: a service account may be attached, or gcloud be run, later.
			kind = fault.DeviceError
		}
		return nil, fault.New(kind, "the client of Google Cloud KMS cannot be made: %w; "+
			"set credentials in the provider's configuration, or GOOGLE_APPLICATION_CREDENTIALS in the daemon's environment, or attach a service account to the machine", err)
	}
	// Retries are this package's: the SDK's know no more than two codes and no limit.
	made.CallOptions = &kms.KeyManagementCallOptions{}
	return made, nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// credentialsKind reads of a credentials file what kind it is. Its other content is the SDK's, and may be secret.
func credentialsKind(file []byte) (option.CredentialsType, error) {
	var content struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(file, &content) != nil {
		return "", fault.New(fault.InvalidInput, "credentials is no JSON file of Google's; make one with gcloud iam service-accounts keys create")
	}
	switch kind := option.CredentialsType(content.Type); kind {
	case option.ServiceAccount, option.AuthorizedUser, option.ImpersonatedServiceAccount, option.ExternalAccount:
		return kind, nil
	}
	return "", fault.New(fault.InvalidInput, "credentials has the type %q, which is not used here; take a service account's, an external account's or an authorized user's file", content.Type)
}
