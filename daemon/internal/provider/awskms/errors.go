package awskms

import (
	"errors"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// codeOf returns the service's code of an error; empty if it is not the service's.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// errDenied marks errors that a permission would heal. It adds nothing to their sentence.
var errDenied = errors.New("")

// throttling are the codes of requests that came too fast.
var throttling = map[string]bool{
	"ThrottlingException": true, "Throttling": true, "ThrottledException": true, "RequestLimitExceeded": true,
	"TooManyRequestsException": true, "RequestThrottled": true, "RequestThrottledException": true, "SlowDown": true,
}

// credentialCodes are the codes of requests that were refused because of who sent them or when.
var credentialCodes = map[string]bool{
	"UnrecognizedClientException": true, "InvalidClientTokenId": true, "InvalidSignatureException": true,
	"SignatureDoesNotMatch": true, "ExpiredTokenException": true, "ExpiredToken": true, "MissingAuthenticationToken": true,
	"MissingAuthenticationTokenException": true, "IncompleteSignature": true, "IncompleteSignatureException": true,
	"OptInRequired": true, "RequestExpired": true, "AuthFailure": true, "RequestTimeTooSkewed": true,
}

// explain makes of an error what the application gets and the administrator can act on.
func (p *Provider) explain(permission, key string, err error) error {
	code := codeOf(err)
	text := err.Error()
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorMessage() != "" {
		text = api.ErrorMessage()
	}
	where := "AWS KMS in " + p.region
	switch {
	case throttling[code]:
		return fault.New(fault.Throttled, "%s throttles kms:%s (%s): the account's quota of requests is used up; try again later, spread the load over regions, or have AWS raise the quota", where, permission, text)
	case credentialCodes[code]:
		return p.explainCredentials(code, text, where)
	case code == "AccessDeniedException":
		return fault.New(fault.FunctionFailed, "%s denies kms:%s on %s; allow it in the IAM policy of the daemon's principal and in the key's policy (%s)%w", where, permission, key, text, errDenied)
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() >= http.StatusInternalServerError {
		return fault.New(fault.DeviceError, "%s fails at kms:%s (%d %s: %s); look at AWS's service status, and try again", where, permission, response.HTTPStatusCode(), code, text)
	}
	switch code {
	case "":
		return p.explainTransport(where, err)
	case "NotFoundException", "InvalidArnException":
		return fault.New(fault.KeyHandleInvalid, "%s has no key %s; it was deleted, or is in another region or account (%s)", where, key, text)
	case "DisabledException":
		return fault.New(fault.FunctionFailed, "the key %s is disabled; enable it with aws kms enable-key --region %s", key, p.region)
	case "KMSInvalidStateException":
		return p.explainState(key, text)
	case "InvalidKeyUsageException":
		return fault.New(fault.KeyFunctionNotPermitted, "AWS KMS made the key %s for another use, which cannot be changed; make another key (%s)", key, text)
	case "InvalidCiphertextException", "IncorrectKeyException":
		return fault.New(fault.EncryptedDataInvalid, "AWS KMS cannot decrypt the ciphertext with %s", key)
	case "LimitExceededException":
		return fault.New(fault.DeviceMemory, "%s takes no more of this: %s; have AWS raise the quota, or delete keys", where, text)
	case "UnsupportedOperationException":
		return fault.New(fault.FunctionFailed, "%s does not support this (%s); choose another type of key, or another region", where, text)
	case "InvalidImportTokenException", "ExpiredImportTokenException", "IncorrectKeyMaterialException":
		return fault.New(fault.FunctionFailed, "AWS KMS did not take the key material for %s (%s); try again with a new key", key, text)
	}
	return fault.New(fault.FunctionFailed, "%s refuses kms:%s on %s (%s: %s)", where, permission, key, code, text)
}

// explainCredentials tells what is wrong with the caller. Neither code nor text holds a secret.
func (p *Provider) explainCredentials(code, text, where string) error {
	lower := strings.ToLower(text)
	next := "check the access key, its secret and the region"
	switch {
	case strings.Contains(lower, "signature expired") || strings.Contains(lower, "not yet current") ||
		code == "RequestTimeTooSkewed" || code == "RequestExpired":
		next = "the clocks differ by more than five minutes: set the daemon's clock (chronyc makestep, timedatectl)"
	case strings.HasPrefix(code, "ExpiredToken"):
		next = "the credentials have expired: renew them, or let the SDK renew them by a role or a profile"
	case code == "OptInRequired":
		next = "the account has not enabled this region: enable it, or choose another"
	}
	return fault.New(fault.DeviceError, "%s does not accept the credentials (%s: %s); %s", where, code, text, next)
}

// explainState tells what became of a key.
func (p *Provider) explainState(key, text string) error {
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "pending deletion") || strings.Contains(lower, "pendingdeletion"):
		return fault.New(fault.KeyHandleInvalid, "the key %s is scheduled for deletion; rescue it with aws kms cancel-key-deletion and enable-key --region %s if it is still needed", key, p.region)
	case strings.Contains(lower, "pending import") || strings.Contains(lower, "pendingimport"):
		return fault.New(fault.FunctionFailed, "the key %s has no key material: the import was not finished, or the material has expired; import it again", key)
	}
	return fault.New(fault.FunctionFailed, "the key %s is not in a state to be used (%s); see aws kms describe-key --region %s", key, text, p.region)
}

// explainTransport tells of failures before or after the service had its say.
func (p *Provider) explainTransport(where string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "get credentials") || strings.Contains(text, "failed to refresh cached credentials") || strings.Contains(text, "static credentials are empty"):
		return fault.New(fault.DeviceError, "no AWS credentials can be had for the daemon: %w; configure a profile, a role or an access key, or attach an instance role", err)
	case strings.Contains(text, "no such host"):
		return fault.New(fault.DeviceError, "%s cannot be reached: %w; check the region's name, the endpoint and the name server", where, err)
	}
	return fault.New(fault.DeviceError, "%s cannot be reached: %w; check the network, a proxy and the endpoint", where, err)
}
