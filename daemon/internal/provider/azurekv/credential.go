package azurekv

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// credential is who the daemon is for Azure: an application with a secret or a certificate, a user-assigned managed
// identity, or whatever the SDK's default chain finds (environment, workload identity, managed identity, az login).
func credential(c Config, options policy.ClientOptions) (azcore.TokenCredential, error) {
	// A sign-in host of one's own is trusted because it was configured; Microsoft's cannot vouch for it.
	private := c.Authority != ""
	switch {
	case c.ClientSecret != "" && len(c.ClientCertificate) > 0:
		return nil, fault.New(fault.InvalidInput, "client_secret and client_certificate exclude each other; leave one out")
	case (c.ClientSecret != "" || len(c.ClientCertificate) > 0) && (c.TenantID == "" || c.ClientID == ""):
		return nil, fault.New(fault.InvalidInput, "tenant_id and client_id are missing: a client_secret or client_certificate is an application's in a tenant; add them")
	case c.ClientSecret != "":
		return wrong(azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		}))
	case len(c.ClientCertificate) > 0:
		certificates, key, err := azidentity.ParseCertificates(c.ClientCertificate, nil)
		if err != nil {
			// What the parser says may repeat the file.
			return nil, fault.New(fault.InvalidInput, "client_certificate holds no certificate with an unencrypted private key; give a PEM file with both")
		}
		return wrong(azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private, SendCertificateChain: true,
		}))
	case c.ClientID != "":
		return wrong(azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
			ClientOptions: options, ID: azidentity.ClientID(c.ClientID),
		}))
	}
	return wrong(azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: options, TenantID: c.TenantID, DisableInstanceDiscovery: private,
	}))
}

// wrong turns a credential's error into one that names the next step.
func wrong[T azcore.TokenCredential](made T, err error) (azcore.TokenCredential, error) {
	if err != nil {
		return nil, fault.New(fault.InvalidInput, "the Azure credential cannot be used: %w; check tenant_id, client_id, authority and the AZURE_ variables of the daemon's environment", err)
	}
	return made, nil
}
