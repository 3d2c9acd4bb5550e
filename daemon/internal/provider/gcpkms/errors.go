package gcpkms

import (
	"context"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// explain makes of an error what the application gets and the administrator can act on.
func (p *Provider) explain(ctx context.Context, allowed permission, resource string, err error) error {
	refused, ok := refusalOf(err)
	if !ok {
		return p.explainTransport(err, err.Error())
	}
	text := refused.Message()
	project := projectOf(resource)
	switch refused.Code() {
	case codes.ResourceExhausted:
		return fault.New(fault.Throttled, "Google Cloud KMS throttles %s: the project's quota is used up (%s); try again later, or ask for more under IAM & Admin > Quotas of %s: %w",
			allowed.name, text, project, err)
	case codes.PermissionDenied:
		if reasonOf(refused) == "SERVICE_DISABLED" {
			return fault.New(fault.DeviceError, "the project %s has not enabled Cloud KMS; run: gcloud services enable cloudkms.googleapis.com --project %s: %w", project, project, err)
		}
		return fault.New(fault.FunctionFailed, "Google Cloud KMS denies %s on %s; grant the daemon's account a role that has it (docs/providers/gcpkms.md lists them): %w",
			allowed.name, resource, err)
	case codes.Unauthenticated:
		return fault.New(fault.DeviceError, "Google Cloud KMS does not accept the daemon's credentials (%s); renew them, and see that the machine's clock is right: %w", text, err)
	case codes.NotFound:
		if keyRingName.MatchString(resource) {
			return fault.New(fault.DeviceError, "the key ring %s is not there; make it with gcloud kms keyrings create, or correct key_ring: %w", resource, err)
		}
		return fault.New(fault.KeyHandleInvalid, "Google Cloud KMS has no %s; it was removed, or is in another project or location: %w", resource, err)
	case codes.AlreadyExists:
		return fault.New(fault.Conflict, "Google Cloud KMS has a %s already: %w", resource, err)
	case codes.FailedPrecondition:
		return p.explainState(ctx, resource, err)
	case codes.Unimplemented:
		return fault.New(fault.FunctionNotSupported, "Google Cloud KMS does not do %s there (%s); choose another location: %w", allowed.name, text, err)
	case codes.DeadlineExceeded:
		// The service noticed the call's deadline before the call did.
		return fault.New(fault.DeadlineExceeded, "Google Cloud KMS did not answer %s in time; try again, or raise the module's timeout: %w", allowed.name, err)
	case codes.Unavailable, codes.Canceled:
		return p.explainTransport(err, text)
	case codes.Internal, codes.Unknown, codes.DataLoss, codes.Aborted:
		return fault.New(fault.DeviceError, "Google Cloud KMS fails at %s (%s); look at status.cloud.google.com, and try again: %w", allowed.name, text, err)
	}
	return fault.New(fault.FunctionFailed, "Google Cloud KMS refuses %s on %s: %w", allowed.name, resource, err)
}

// explainTransport tells of failures before or after the service had its say.
func (p *Provider) explainTransport(err error, text string) error {
	where := p.config.Endpoint
	if where == "" {
		where = "cloudkms.googleapis.com"
	}
	lower := strings.ToLower(text)
	if strings.Contains(lower, "credential") || strings.Contains(lower, "token") || strings.Contains(lower, "oauth2") {
		return fault.New(fault.DeviceError, "no Google credentials can be had for the daemon; correct `credentials`, set GOOGLE_APPLICATION_CREDENTIALS, "+
			"or attach a service account, and see that the machine's clock is right: %w", err)
	}
	return fault.New(fault.DeviceError, "Google Cloud KMS at %s cannot be reached; check the network, a proxy and the endpoint: %w", where, err)
}

// explainState asks what became of a key version that is not in a state to be used.
func (p *Provider) explainState(ctx context.Context, resource string, err error) error {
	if !versionName.MatchString(resource) {
		return fault.New(fault.FunctionFailed, "Google Cloud KMS cannot do that with %s in its state: %w", resource, err)
	}
	working, release := p.bounded(ctx)
	defer release()
	version, failed := p.client.GetCryptoKeyVersion(working, &kmspb.GetCryptoKeyVersionRequest{Name: resource})
	if failed != nil || version.GetState() == kmspb.CryptoKeyVersion_ENABLED {
		return fault.New(fault.FunctionFailed, "Google Cloud KMS cannot use %s in its state; see gcloud kms keys versions describe: %w", resource, err)
	}
	return stateFault(version)
}

// stateFault says what it means for its use that a key version is not enabled; nil if it is.
func stateFault(version *kmspb.CryptoKeyVersion) error {
	name := version.GetName()
	switch state := version.GetState(); state {
	case kmspb.CryptoKeyVersion_ENABLED:
		return nil
	case kmspb.CryptoKeyVersion_DISABLED:
		return fault.New(fault.FunctionFailed, "the key %s is disabled; enable it with gcloud kms keys versions enable", name)
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED:
		return fault.New(fault.KeyHandleInvalid, "the key %s is scheduled for destruction at %s; rescue it with gcloud kms keys versions restore and enable if it is still needed",
			name, version.GetDestroyTime().AsTime().Format("2006-01-02 15:04 MST"))
	case kmspb.CryptoKeyVersion_DESTROYED:
		return fault.New(fault.KeyHandleInvalid, "the key %s was destroyed, and its material is gone; make or import another one", name)
	case kmspb.CryptoKeyVersion_GENERATION_FAILED:
		return fault.New(fault.FunctionFailed, "Google Cloud KMS could not make the key %s (%s); make another one", name, version.GetGenerationFailureReason())
	case kmspb.CryptoKeyVersion_IMPORT_FAILED:
		return fault.New(fault.AttributeValueInvalid, "Google Cloud KMS did not take the material of the key %s (%s); see that type and size are what it has", name, version.GetImportFailureReason())
	default:
		return fault.New(fault.FunctionFailed, "the key %s is %s; try again when it is ENABLED", name, state)
	}
}

// reasonOf is the reason that Google's errors give to programs.
func reasonOf(refused *status.Status) string {
	for _, detail := range refused.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func projectOf(resource string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(resource, "projects/"), "/")
	return name
}
