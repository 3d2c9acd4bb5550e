package kmip

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// refusal is a server's answer that an operation failed.
type refusal struct {
	operation, reason uint32
	message           string
}

func (r *refusal) Error() string {
	name, ok := reasons[r.reason]
	if !ok {
		name.text = fmt.Sprintf("result reason 0x%x", r.reason)
	}
	text := fmt.Sprintf("the KMIP server refused %s with %s", nameOf(r.operation), name.text)
	if r.message != "" {
		// What a server writes is for people; a line break must not forge another line of a log.
		text += fmt.Sprintf(" (%s)", strings.Map(printable, r.message[:min(len(r.message), 300)]))
	}
	if name.hint != "" {
		text += "; " + name.hint
	}
	return text
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// reasons are the standard's result reasons with the kind of fault that they mean to us.
var reasons = map[uint32]struct {
	text string
	kind fault.Kind
	hint string
}{
	ttlv.ReasonItemNotFound:                       {"Item Not Found", fault.KeyHandleInvalid, "the key is gone from the server, or belongs to another user of it"},
	ttlv.ReasonObjectNotFound:                     {"Object Not Found", fault.KeyHandleInvalid, "the key is gone from the server, or belongs to another user of it"},
	ttlv.ReasonObjectDestroyed:                    {"Object Destroyed", fault.KeyHandleInvalid, "restore the key at the server, or delete the object"},
	ttlv.ReasonObjectArchived:                     {"Object Archived", fault.FunctionFailed, "recover the key at the server"},
	ttlv.ReasonResponseTooLarge:                   {"Response Too Large", fault.DataLenRange, "send less at once"},
	ttlv.ReasonAuthenticationNotSuccessful:        {"Authentication Not Successful", fault.DeviceError, "correct `username` and `password`, or let the server know our certificate; it must be marked for client authentication"},
	ttlv.ReasonBadPassword:                        {"Bad Password", fault.DeviceError, "correct `password`"},
	ttlv.ReasonInvalidMessage:                     {"Invalid Message", fault.DeviceError, "see whether the server speaks the configured `protocol`"},
	ttlv.ReasonUnsupportedProtocolVersion:         {"Unsupported Protocol Version", fault.DeviceError, "choose another `protocol`"},
	ttlv.ReasonOperationNotSupported:              {"Operation Not Supported", fault.FunctionNotSupported, ""},
	ttlv.ReasonFeatureNotSupported:                {"Feature Not Supported", fault.FunctionNotSupported, ""},
	ttlv.ReasonMissingData:                        {"Missing Data", fault.FunctionFailed, ""},
	ttlv.ReasonInvalidField:                       {"Invalid Field", fault.FunctionFailed, "the server does not take a value that the standard allows; see its log"},
	ttlv.ReasonUnsupportedAttribute:               {"Unsupported Attribute", fault.FunctionFailed, "the server lacks an attribute of the standard"},
	ttlv.ReasonInvalidAttribute:                   {"Invalid Attribute", fault.FunctionFailed, ""},
	ttlv.ReasonInvalidAttributeValue:              {"Invalid Attribute Value", fault.FunctionFailed, ""},
	ttlv.ReasonNonUniqueNameAttribute:             {"Non Unique Name Attribute", fault.FunctionFailed, ""},
	ttlv.ReasonObjectAlreadyExists:                {"Object Already Exists", fault.FunctionFailed, ""},
	ttlv.ReasonCryptographicFailure:               {"Cryptographic Failure", fault.FunctionFailed, "see the server's log"},
	ttlv.ReasonIllegalOperation:                   {"Illegal Operation", fault.FunctionRejected, ""},
	ttlv.ReasonIllegalObjectType:                  {"Illegal Object Type", fault.FunctionRejected, "the server does not do this with keys of this type"},
	ttlv.ReasonPermissionDenied:                   {"Permission Denied", fault.FunctionRejected, "grant it to our user at the server, or see whether the key is active and made for this use"},
	ttlv.ReasonNotAuthorised:                      {"Not Authorised", fault.FunctionRejected, "grant it to our user at the server"},
	ttlv.ReasonIncompatibleCryptographicUsageMask: {"Incompatible Cryptographic Usage Mask", fault.KeyFunctionNotPermitted, "the server's key was made for other uses"},
	ttlv.ReasonWrongKeyLifecycleState:             {"Wrong Key Lifecycle State", fault.KeyFunctionNotPermitted, "see the key's state at the server: only active keys are used"},
	ttlv.ReasonKeyFormatTypeNotSupported:          {"Key Format Type Not Supported", fault.FunctionFailed, ""},
	ttlv.ReasonKeyValueNotPresent:                 {"Key Value Not Present", fault.FunctionFailed, ""},
	ttlv.ReasonSensitive:                          {"Sensitive", fault.AttributeSensitive, ""},
	ttlv.ReasonNotExtractable:                     {"Not Extractable", fault.KeyUnextractable, ""},
	ttlv.ReasonUsageLimitExceeded:                 {"Usage Limit Exceeded", fault.FunctionRejected, "raise the key's usage limit at the server"},
	ttlv.ReasonServerLimitExceeded:                {"Server Limit Exceeded", fault.Throttled, "try again later, or raise the server's limit"},
	ttlv.ReasonBadCryptographicParameters:         {"Bad Cryptographic Parameters", fault.MechanismParamInvalid, "the server does not do the mechanism with this parameter"},
	ttlv.ReasonUnsupportedCryptographicParameters: {"Unsupported Cryptographic Parameters", fault.MechanismParamInvalid, "the server does not do the mechanism with this parameter"},
	ttlv.ReasonGeneralFailure:                     {"General Failure", fault.FunctionFailed, "see the server's log"},
}

// refused tells whether the server refused for one of some reasons.
func refused(err error, among ...uint32) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return false
	}
	for _, reason := range among {
		if r.reason == reason {
			return true
		}
	}
	return len(among) == 0
}

// gone tells that the server does not have an object, or not any more.
func gone(err error) bool {
	return refused(err, ttlv.ReasonItemNotFound, ttlv.ReasonObjectNotFound, ttlv.ReasonObjectDestroyed) || fault.Is(err, fault.KeyHandleInvalid)
}

// lost marks a call whose answer never came: the server may have done what was asked.
type lost struct{ cause error }

func (l *lost) Error() string { return l.cause.Error() }
func (l *lost) Unwrap() error { return l.cause }

// interrupted is the error of a call whose context has ended.
func interrupted(ctx context.Context, doing string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.DeadlineExceeded, "%s took longer than the call may: %w", doing, ctx.Err())
	}
	return fault.New(fault.FunctionCanceled, "%s was cancelled by the caller: %w", doing, ctx.Err())
}

// explain makes a fault of an error of ours and names the provider.
func (p *Provider) explain(operation string, err error) error {
	if err == nil {
		return nil
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return fault.New(known.Kind, "provider %s: %w", p.config.Name, known)
	}
	var own cryptoki.RV
	if errors.As(err, &own) {
		return fault.New(fault.KindOf(own), "provider %s: cannot %s: %w", p.config.Name, operation, err)
	}
	kind := fault.DeviceError
	var r *refusal
	if errors.As(err, &r) {
		kind = fault.FunctionFailed
		if row, ok := reasons[r.reason]; ok {
			kind = row.kind
		}
	}
	return fault.New(kind, "provider %s: cannot %s: %w", p.config.Name, operation, err)
}
