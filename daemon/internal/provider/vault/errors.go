package vault

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// statusOf returns the HTTP status of an answer; 0 if there was none.
func statusOf(err error) int {
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.status
	}
	return 0
}

// errExists marks the error of an import under a name that is there. It adds nothing to its sentence.
var errExists = errors.New("")

// maxSentence bounds what is repeated of the service's own words.
const maxSentence = 300

// text is what Vault says of an error, on one line.
func (r *refusal) text() string {
	text := strings.Join(strings.Fields(strings.Join(r.errors, "; ")), " ")
	if len(text) > maxSentence {
		text = strings.ToValidUTF8(text[:maxSentence], "") + "…"
	}
	if text == "" {
		text = http.StatusText(r.status)
	}
	return text
}

func (r *refusal) says(parts ...string) bool {
	text := r.text()
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// lasting are parts of sentences that Vault says with status 500 although the request, or the key, is to blame.
var lasting = []string{
	"failed to RSA decrypt", "requested version", "no such key version", "cannot be used with an existing key", "is invalid",
	"error parsing asymmetric key", "invalid key size", "unwrap", "decryption error", "does not have a private",
}

// passing tells whether a refusal may be gone with the next attempt.
func (r *refusal) passing() bool {
	switch r.status {
	case http.StatusPreconditionFailed, http.StatusRequestTimeout:
		// A standby that has not caught up; what stands before Vault.
		return true
	case http.StatusInternalServerError:
		return !r.says(lasting...)
	}
	return r.status > http.StatusInternalServerError && r.status != http.StatusNotImplemented
}

// explain makes of an error what the application gets and the administrator can act on.
func (p *Provider) explain(ctx context.Context, r request, err error) error {
	if errors.Is(context.Cause(ctx), errClosed) {
		return fault.New(fault.DeviceError, "the provider cannot %s: it was closed, the daemon ends", r)
	}
	var refused *refusal
	if !errors.As(err, &refused) {
		if late := ended(ctx, r.String()); late != nil {
			return late
		}
		return p.explainTransport(err)
	}
	status, text := refused.status, refused.text()
	switch {
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Throttled, "%s throttles %s (%s): a rate limit quota is used up; try again later, or raise the quota (vault read sys/quotas/rate-limit/NAME)", p.service(), r.action, text)
	case status == http.StatusForbidden:
		return p.explainForbidden(r, text)
	case status == http.StatusServiceUnavailable && refused.says("sealed"):
		return fault.New(fault.DeviceError, "%s is sealed; unseal it with vault operator unseal", p.service())
	case status == http.StatusServiceUnavailable && refused.after > 0:
		return fault.New(fault.Throttled, "%s is overloaded and wants to be left alone for %s (%s); try again later", p.service(), refused.after, text)
	case status == http.StatusNotFound && refused.says("no handler for route", "unsupported path"), status == http.StatusMethodNotAllowed:
		return fault.New(fault.FunctionFailed, "%s has no transit engine that does %s at %s (%s); check mount and namespace, or enable it with vault secrets enable", p.service(), r.action, r.path, text)
	case status == http.StatusNotFound && len(refused.errors) > 0:
		return fault.New(fault.FunctionFailed, "%s does not know %s (%s); check address, namespace and mount", p.service(), r.path, text)
	case status == http.StatusNotFound, refused.says("key not found", "no existing key named", "could not delete key; not found"):
		return fault.New(fault.KeyHandleInvalid, "%s has no key %s; it was deleted, or is in another mount or namespace", p.service(), r.key)
	case refused.says("cannot be used with an existing key"):
		return fault.New(fault.Conflict, "%s has a key %s already%w; use a new request, or delete that key", p.service(), r.key, errExists)
	case refused.says("no such key version", "higher than the latest key version"):
		return fault.New(fault.KeyHandleInvalid, "%s has no longer this version of the key %s (%s); it was trimmed, archived by min_decryption_version, or the key was made anew", p.service(), r.key, text)
	case refused.says("less than the minimum encryption key version", "version is too old", "disallowed by policy"):
		return fault.New(fault.FunctionFailed, "%s does not use this version of the key %s any more (%s); lower min_encryption_version and min_decryption_version of the key, or adopt its newest version", p.service(), r.key, text)
	case r.action == actionDecrypt && (status == http.StatusBadRequest || refused.says("failed to RSA decrypt", "decryption error", "unable to decrypt")):
		return fault.New(fault.EncryptedDataInvalid, "%s cannot decrypt the ciphertext with %s", p.service(), r.key)
	case refused.says("deletion is not allowed"):
		return fault.New(fault.ActionProhibited, "%s keeps the key %s: its deletion_allowed is false; set it with vault write %s/keys/%s/config deletion_allowed=true", p.service(), r.key, p.config.Mount, r.key)
	case refused.says("not exportable"):
		return fault.New(fault.KeyUnextractable, "%s does not give out the key %s: it was not made exportable", p.service(), r.key)
	case refused.says("does not contain a private", "does not have a private"):
		return fault.New(fault.FunctionFailed, "%s holds only the public half of the key %s; import the private one, or use another key", p.service(), r.key)
	case refused.says("does not support signing", "not supported for key type", "unknown key type"):
		return fault.New(fault.KeyTypeInconsistent, "%s cannot %s: %s; look at the key, and at the server's version", p.service(), r, text)
	case status >= http.StatusInternalServerError:
		return fault.New(fault.DeviceError, "%s fails at %s (%d: %s); look at its log, and try again", p.service(), r, status, text)
	}
	return fault.New(fault.FunctionFailed, "%s refuses to %s (%d: %s); check the key and the provider's configuration", p.service(), r, status, text)
}

// explainForbidden names what the token's policies lack.
func (p *Provider) explainForbidden(r request, text string) error {
	path := r.path
	if cut := strings.LastIndex(path, r.key); r.key != "" && cut >= 0 {
		path = path[:cut] + "*"
	}
	path, _, _ = strings.Cut(path, "?")
	return fault.New(fault.FunctionFailed, "%s denies the daemon %q on %s (%s): the policies of its token lack the capability; add: path %q { capabilities = [%q] }",
		p.service(), r.capability(), r.path, text, path, r.capability())
}

// explainLogin tells what is wrong with the caller.
func (p *Provider) explainLogin(ctx context.Context, r request, err error) error {
	status := statusOf(err)
	if status != http.StatusBadRequest && status != http.StatusForbidden && status != http.StatusUnauthorized && status != http.StatusNotFound &&
		status != http.StatusInternalServerError {
		return p.explain(ctx, r, err)
	}
	var refused *refusal
	errors.As(err, &refused)
	next := map[string]string{
		LoginToken:       "it is wrong, revoked or has expired, or its policies lack read on auth/token/lookup-self, which the policy default has; put a new one where token points to",
		LoginAppRole:     "check role_id and secret_id, and whether the secret id has expired or been used up (vault write -f auth/" + p.config.LoginMount + "/role/NAME/secret-id makes a new one)",
		LoginKubernetes:  "check role, the service account that the role is bound to, and that Vault may ask the cluster's TokenReview",
		LoginCertificate: "check that a role of the login trusts the daemon's certificate, and that it has not expired",
	}[p.config.Login]
	return fault.New(fault.DeviceError, "%s does not accept the daemon's login by %s at auth/%s (%d: %s): %s", p.service(), p.config.Login, p.config.LoginMount, status, refused.text(), next)
}

// explainTransport tells of failures before or after the service had its say.
func (p *Provider) explainTransport(err error) error {
	text := err.Error()
	next := "check the network, a proxy and address"
	switch {
	case errors.Is(err, errNoAnswer):
		return fault.New(fault.FunctionFailed, "what answers at %s is no Vault: %w; check address", p.config.Address, errNoAnswer)
	case strings.Contains(text, "no such host"):
		next = "check address and the name server"
	case strings.Contains(text, "certificate"):
		next = "check ca and server_name, and the daemon's clock and certificate"
	}
	return fault.New(fault.DeviceError, "%s cannot be reached: %w; %s", p.service(), err, next)
}
