package azurekv

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// operation is something the service does, as people and as roles name it.
type operation struct {
	// name is what access policies call it; action and managed are what the role definitions of vaults and of Managed
	// HSMs call it.
	name, action, managed string
	// officer tells that it takes the role of an officer, and not of a user, in a vault.
	officer bool
}

var (
	opGet     = operation{name: "get", action: "keys/read", managed: "keys/read/action"}
	opList    = operation{name: "list", action: "keys/read", managed: "keys/read/action"}
	opCreate  = operation{name: "create", action: "keys/create/action", managed: "keys/create", officer: true}
	opImport  = operation{name: "import", action: "keys/import/action", managed: "keys/import/action", officer: true}
	opUpdate  = operation{name: "update", action: "keys/update/action", managed: "keys/write/action"}
	opDelete  = operation{name: "delete", action: "keys/delete", managed: "keys/delete", officer: true}
	opPurge   = operation{name: "purge", action: "keys/purge/action", managed: "keys/deletedKeys/delete", officer: true}
	opSign    = operation{name: "sign", action: "keys/sign/action", managed: "keys/sign/action"}
	opDecrypt = operation{name: "decrypt", action: "keys/decrypt/action", managed: "keys/decrypt/action"}
	opEncrypt = operation{name: "encrypt", action: "keys/encrypt/action", managed: "keys/encrypt/action"}
	opRandom  = operation{name: "get random bytes", managed: "rng/action"}
)

// answer is the body of an error.
type answer struct {
	Error struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		InnerError inner  `json:"innererror"`
	} `json:"error"`
}

type inner struct {
	Code  string `json:"code"`
	Inner *inner `json:"innererror"`
}

// deepest is the most exact code.
func (i inner) deepest() string {
	if i.Inner != nil && i.Inner.Code != "" {
		return i.Inner.deepest()
	}
	return i.Code
}

// maxSentence bounds what is repeated of the service's own words.
const maxSentence = 400

// readAnswer returns what the service says of an error.
func readAnswer(answered *azcore.ResponseError) (code, text string) {
	code = answered.ErrorCode
	var said answer
	if body, err := runtime.Payload(answered.RawResponse); err == nil && json.Unmarshal(body, &said) == nil {
		text = strings.Join(strings.Fields(said.Error.Message), " ")
		if exact := said.Error.InnerError.deepest(); exact != "" {
			code = exact
		} else if said.Error.Code != "" {
			code = said.Error.Code
		}
	}
	if len(text) > maxSentence {
		text = strings.ToValidUTF8(text[:maxSentence], "") + "…"
	}
	if text == "" {
		text = http.StatusText(answered.StatusCode)
	}
	return code, text
}

// explain makes of an error what the application gets and the administrator can act on.
func (p *Provider) explain(r request, err error) error {
	var answered *azcore.ResponseError
	if refusedSignIn(err) {
		return p.explainSignIn(err)
	}
	if !errors.As(err, &answered) {
		return p.explainTransport(err)
	}
	code, text := readAnswer(answered)
	name := r.operation.name
	switch status := answered.StatusCode; {
	case status == http.StatusTooManyRequests:
		return fault.New(fault.Throttled, "%s throttles %s (%s): its limit of transactions in 10 seconds is used up; try again later, or spread keys over more vaults", p.service(), name, text)
	case status == http.StatusUnauthorized:
		return fault.New(fault.DeviceError, "%s does not accept the daemon's token (%s: %s); check that tenant_id is the vault's tenant, and the daemon's clock", p.service(), code, text)
	case status == http.StatusForbidden:
		return p.explainForbidden(r, code, text)
	case status == http.StatusNotFound && code == "":
		return fault.New(fault.FunctionFailed, "what answers at %s is no Azure Key Vault: it does not know the path of a key; check vault_url", p.vault)
	case status == http.StatusNotFound:
		return fault.New(fault.KeyHandleInvalid, "%s has no key %s; it was deleted (az keyvault key recover brings it back while it is retained) or is in another vault (%s)", p.service(), r.key, text)
	case status == http.StatusConflict && (code == "ObjectIsDeletedButRecoverable" || code == "ObjectIsBeingDeleted"):
		return fault.New(fault.Conflict, "%s cannot %s: the name belongs to a deleted key that can still be recovered; recover it (az keyvault key recover), or purge it (az keyvault key purge) and try again", p.service(), r.action())
	case status == http.StatusConflict:
		return fault.New(fault.Conflict, "%s is still busy with another change of %s (%s); try again", p.service(), r.key, text)
	case status >= 500 || status == http.StatusRequestTimeout:
		return fault.New(fault.DeviceError, "%s fails at %s (%d %s: %s); look at Azure's service health, and try again", p.service(), name, status, code, text)
	case status == http.StatusBadRequest && r.operation == opDecrypt:
		return fault.New(fault.EncryptedDataInvalid, "%s cannot decrypt the ciphertext with %s", p.service(), r.key)
	}
	return fault.New(fault.FunctionFailed, "%s refuses to %s (%d %s: %s); check the key and the provider's configuration", p.service(), r.action(), answered.StatusCode, code, text)
}

// errDisabled is the cause of errors about disabled keys, which Azure does not even show.
var errDisabled = errors.New("disabled")

// explainForbidden tells apart what all comes as 403: the caller, the network and the key's state.
func (p *Provider) explainForbidden(r request, code, text string) error {
	lower := strings.ToLower(text)
	switch {
	case code == "KeyDisabled" || strings.Contains(lower, "disabled key"):
		return fault.New(fault.FunctionFailed, "the key %s is %w; enable it with az keyvault key set-attributes --enabled true --id %s", r.key, errDisabled, r.key)
	case code == "KeyExpired" || strings.Contains(lower, "expired key"):
		return fault.New(fault.FunctionFailed, "the key %s has expired, and Azure refuses to %s with it; set a later date with az keyvault key set-attributes --expires --id %s, or make a new key", r.key, r.operation.name, r.key)
	case code == "KeyNotYetValid" || strings.Contains(lower, "not yet valid"):
		return fault.New(fault.FunctionFailed, "the key %s is not yet valid; wait for its activation date, set an earlier one with az keyvault key set-attributes --not-before --id %s, and check the clocks", r.key, r.key)
	case code == "KeyOperationForbidden" || strings.Contains(lower, "not permitted on this key"):
		return fault.New(fault.KeyFunctionNotPermitted, "the key %s is not for this: its key_ops lack %q; add it with az keyvault key set-attributes --ops --id %s, or use another key", r.key, r.operation.name, r.key)
	case strings.HasPrefix(code, "ForbiddenByFirewall") || strings.HasPrefix(code, "ForbiddenByConnection") || strings.Contains(lower, "client address is not authorized"):
		return fault.New(fault.DeviceError, "%s lets nobody in from the daemon's network (%s); add its address to the vault's firewall, or use a private endpoint", p.service(), text)
	}
	if p.config.HSM {
		role := "Managed HSM Crypto User"
		if r.operation == opPurge {
			role = "Managed HSM Crypto Officer"
		}
		return fault.New(fault.FunctionFailed, "%s denies the daemon %q on %s: it lacks Microsoft.KeyVault/managedHsm/%s; assign it the local role %q (az keyvault role assignment create) (%s)",
			p.service(), r.operation.name, r.key, r.operation.managed, role, text)
	}
	role := "Key Vault Crypto User"
	if r.operation.officer {
		role = "Key Vault Crypto Officer"
	}
	return fault.New(fault.FunctionFailed, "%s denies the daemon %q on %s: it lacks Microsoft.KeyVault/vaults/%s; assign it the role %q, or add %q to its access policy (%s)",
		p.service(), r.operation.name, r.key, r.operation.action, role, r.operation.name, text)
}

// refusedSignIn tells that there is no token, so that the vault was never asked.
func refusedSignIn(err error) bool {
	var failed *azidentity.AuthenticationFailedError
	return errors.As(err, &failed) || strings.Contains(err.Error(), "DefaultAzureCredential:") ||
		strings.Contains(err.Error(), "ManagedIdentityCredential") || strings.Contains(err.Error(), "challenge resource")
}

// entra is how Microsoft's sign-in names an error. What follows it on its line is for people.
var entra = regexp.MustCompile(`(AADSTS[0-9]+)[^"\\\r\n]{0,300}`)

// explainSignIn tells what is wrong with the caller. It repeats only the sentence with the code.
func (p *Provider) explainSignIn(err error) error {
	text := err.Error()
	if strings.Contains(text, "challenge resource") {
		return fault.New(fault.DeviceError, "%s asks for a token for somebody else: it is no vault of the cloud that its name says; check vault_url", p.service())
	}
	found := entra.FindStringSubmatch(text)
	if found == nil {
		first, _, _ := strings.Cut(text, "\n")
		return fault.New(fault.DeviceError, "no Azure credentials can be had for the daemon (%s); configure tenant_id, client_id and a client_secret or client_certificate, or give its machine a managed identity", first)
	}
	next := "check tenant_id, client_id and the secret or certificate"
	switch found[1] {
	case "AADSTS7000222":
		next = "the client secret has expired: make a new one (az ad app credential reset) and replace the file"
	case "AADSTS7000215":
		next = "the client secret is wrong: give the secret's value and not its id"
	case "AADSTS700016":
		next = "the tenant does not know the application: check client_id and tenant_id"
	case "AADSTS90002", "AADSTS900023":
		next = "there is no such tenant: check tenant_id and authority"
	case "AADSTS700027":
		next = "the application does not know the certificate: upload it to the application, or configure the right one"
	case "AADSTS700024", "AADSTS500133":
		next = "the clocks differ: set the daemon's clock (chronyc makestep, timedatectl)"
	}
	return fault.New(fault.DeviceError, "Microsoft Entra does not accept the daemon's credentials (%s); %s", strings.TrimSpace(found[0]), next)
}

// explainTransport tells of failures before or after the service had its say.
func (p *Provider) explainTransport(err error) error {
	text := err.Error()
	next := "check the network, a proxy and vault_url"
	switch {
	case strings.Contains(text, "no such host"):
		next = "check vault_url and the name server: a deleted vault has no name"
	case strings.Contains(text, "certificate"):
		next = "check the daemon's clock, its certificate authorities and what stands between it and Azure"
	}
	return fault.New(fault.DeviceError, "%s cannot be reached: %w; %s", p.service(), err, next)
}
