package fault

import (
	"google.golang.org/grpc/codes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// Kind is a row of the error table. Its number travels on the wire and never changes: add new kinds at the end.
type Kind uint32

// The kinds. The first of those that share a CK_RV is what a bare CK_RV becomes.
const (
	// Internal: a defect or an unexpected failure; the log has more.
	Internal Kind = iota + 1
	// HostMemory: no memory.
	HostMemory
	// SlotIDInvalid: no such slot.
	SlotIDInvalid
	// FunctionFailed: the provider refused or failed.
	FunctionFailed
	// ArgumentsBad: an argument makes no sense.
	ArgumentsBad
	// AttributeReadOnly: the attribute cannot be changed.
	AttributeReadOnly
	// AttributeSensitive: the attribute cannot be revealed.
	AttributeSensitive
	// AttributeTypeInvalid: the object has no such attribute.
	AttributeTypeInvalid
	// AttributeValueInvalid: the value is not one that the attribute can have.
	AttributeValueInvalid
	// ActionProhibited: the object forbids it.
	ActionProhibited
	// DataInvalid: the data is not what the mechanism takes.
	DataInvalid
	// DataLenRange: the data is too short or too long.
	DataLenRange
	// DeviceError: the daemon or provider could not be reached or failed.
	DeviceError
	// DeviceMemory: the store or the provider is full.
	DeviceMemory
	// DeviceRemoved: the provider's device is gone.
	DeviceRemoved
	// EncryptedDataInvalid: the ciphertext does not decrypt.
	EncryptedDataInvalid
	// EncryptedDataLenRange: the ciphertext's length is impossible.
	EncryptedDataLenRange
	// AEADDecryptFailed: the tag does not fit.
	AEADDecryptFailed
	// FunctionCanceled: the call was cancelled.
	FunctionCanceled
	// FunctionNotSupported: the function is not implemented.
	FunctionNotSupported
	// KeyHandleInvalid: no such key.
	KeyHandleInvalid
	// KeySizeRange: the key's size does not suit.
	KeySizeRange
	// KeyTypeInconsistent: the key's type does not suit the mechanism.
	KeyTypeInconsistent
	// KeyFunctionNotPermitted: the key's attributes do not allow it.
	KeyFunctionNotPermitted
	// KeyIndigestible: the key's value cannot be digested.
	KeyIndigestible
	// KeyNotWrappable: the key cannot be wrapped.
	KeyNotWrappable
	// KeyUnextractable: the key may not leave.
	KeyUnextractable
	// MechanismInvalid: the token does not have the mechanism.
	MechanismInvalid
	// MechanismParamInvalid: the mechanism's parameter is wrong or not supported.
	MechanismParamInvalid
	// ObjectHandleInvalid: no such object.
	ObjectHandleInvalid
	// OperationActive: another operation is active.
	OperationActive
	// OperationNotInitialized: no operation is active.
	OperationNotInitialized
	// OperationCancelFailed: the operation cannot be cancelled.
	OperationCancelFailed
	// PINIncorrect: the PIN is wrong.
	PINIncorrect
	// PINInvalid: the new PIN has forbidden characters.
	PINInvalid
	// PINLenRange: the new PIN is too short or too long.
	PINLenRange
	// PINExpired: the PIN must be changed.
	PINExpired
	// PINLocked: too many wrong PINs.
	PINLocked
	// SessionClosed: the session was closed during the call.
	SessionClosed
	// SessionCount: too many sessions.
	SessionCount
	// SessionHandleInvalid: no such session.
	SessionHandleInvalid
	// SessionParallelNotSupported: CKF_SERIAL_SESSION is not set.
	SessionParallelNotSupported
	// SessionReadOnly: the session may not write.
	SessionReadOnly
	// SessionExists: a session is open.
	SessionExists
	// SessionReadOnlyExists: a read-only session is open, so the SO cannot log in.
	SessionReadOnlyExists
	// SessionReadWriteSOExists: the SO is logged in, so no read-only session can be opened.
	SessionReadWriteSOExists
	// SignatureInvalid: the signature does not fit.
	SignatureInvalid
	// SignatureLenRange: the signature's length is impossible.
	SignatureLenRange
	// TemplateIncomplete: the template lacks an attribute.
	TemplateIncomplete
	// TemplateInconsistent: the template contradicts itself.
	TemplateInconsistent
	// TokenNotPresent: no token in the slot.
	TokenNotPresent
	// TokenNotRecognized: the token is not initialised.
	TokenNotRecognized
	// TokenWriteProtected: the caller may not change the token.
	TokenWriteProtected
	// UnwrappingKeyHandleInvalid: no such unwrapping key.
	UnwrappingKeyHandleInvalid
	// UserAlreadyLoggedIn: the user is logged in already.
	UserAlreadyLoggedIn
	// UserNotLoggedIn: the user is not logged in.
	UserNotLoggedIn
	// UserPINNotInitialized: the token has no user PIN.
	UserPINNotInitialized
	// UserTypeInvalid: no such user type.
	UserTypeInvalid
	// UserAnotherAlreadyLoggedIn: another user is logged in.
	UserAnotherAlreadyLoggedIn
	// RandomSeedNotSupported: the provider takes no seed.
	RandomSeedNotSupported
	// RandomNoRNG: the provider has no random numbers.
	RandomNoRNG
	// DomainParamsInvalid: the domain parameters are wrong.
	DomainParamsInvalid
	// CurveNotSupported: the curve is not supported.
	CurveNotSupported
	// BufferTooSmall: the buffer is too small.
	BufferTooSmall
	// SavedStateInvalid: the saved state is not ours.
	SavedStateInvalid
	// StateUnsaveable: the operation's state cannot be saved.
	StateUnsaveable
	// CryptokiNotInitialized: C_Initialize was not called.
	CryptokiNotInitialized
	// CryptokiAlreadyInitialized: C_Initialize was called already.
	CryptokiAlreadyInitialized
	// FunctionRejected: the user or an approver said no.
	FunctionRejected
	// PublicKeyInvalid: the public key is not on its curve or otherwise wrong.
	PublicKeyInvalid
	// NotFound: an administrator named something that is not there.
	NotFound
	// AlreadyExists: an administrator named something that is there already.
	AlreadyExists
	// InvalidInput: an administrator's input is wrong.
	InvalidInput
	// Unauthenticated: the caller is nobody we know.
	Unauthenticated
	// NotGranted: the caller has no grant for the operation.
	NotGranted
	// Throttled: the provider throttles.
	Throttled
	// Conflict: another change came first.
	Conflict
	// VersionMismatch: module and daemon do not understand each other.
	VersionMismatch
	// DeadlineExceeded: the call took too long.
	DeadlineExceeded
	// StoreDamaged: the store or a sealed value is damaged.
	StoreDamaged
	// ParameterSetNotSupported: CKA_PARAMETER_SET names none that is supported.
	ParameterSetNotSupported

	end
)

// Row is what a kind means on every protocol.
type Row struct {
	RV   cryptoki.RV
	Code codes.Code
	// Retry tells whether the same call may succeed later or elsewhere.
	Retry bool
}

var table = [end]Row{
	Internal:                    {RV: cryptoki.CKR_GENERAL_ERROR, Code: codes.Internal},
	HostMemory:                  {RV: cryptoki.CKR_HOST_MEMORY, Code: codes.ResourceExhausted},
	SlotIDInvalid:               {RV: cryptoki.CKR_SLOT_ID_INVALID, Code: codes.NotFound},
	FunctionFailed:              {RV: cryptoki.CKR_FUNCTION_FAILED, Code: codes.Internal},
	ArgumentsBad:                {RV: cryptoki.CKR_ARGUMENTS_BAD, Code: codes.InvalidArgument},
	AttributeReadOnly:           {RV: cryptoki.CKR_ATTRIBUTE_READ_ONLY, Code: codes.InvalidArgument},
	AttributeSensitive:          {RV: cryptoki.CKR_ATTRIBUTE_SENSITIVE, Code: codes.PermissionDenied},
	AttributeTypeInvalid:        {RV: cryptoki.CKR_ATTRIBUTE_TYPE_INVALID, Code: codes.InvalidArgument},
	AttributeValueInvalid:       {RV: cryptoki.CKR_ATTRIBUTE_VALUE_INVALID, Code: codes.InvalidArgument},
	ActionProhibited:            {RV: cryptoki.CKR_ACTION_PROHIBITED, Code: codes.PermissionDenied},
	DataInvalid:                 {RV: cryptoki.CKR_DATA_INVALID, Code: codes.InvalidArgument},
	DataLenRange:                {RV: cryptoki.CKR_DATA_LEN_RANGE, Code: codes.InvalidArgument},
	DeviceError:                 {RV: cryptoki.CKR_DEVICE_ERROR, Code: codes.Unavailable, Retry: true},
	DeviceMemory:                {RV: cryptoki.CKR_DEVICE_MEMORY, Code: codes.ResourceExhausted},
	DeviceRemoved:               {RV: cryptoki.CKR_DEVICE_REMOVED, Code: codes.Unavailable, Retry: true},
	EncryptedDataInvalid:        {RV: cryptoki.CKR_ENCRYPTED_DATA_INVALID, Code: codes.InvalidArgument},
	EncryptedDataLenRange:       {RV: cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE, Code: codes.InvalidArgument},
	AEADDecryptFailed:           {RV: cryptoki.CKR_AEAD_DECRYPT_FAILED, Code: codes.InvalidArgument},
	FunctionCanceled:            {RV: cryptoki.CKR_FUNCTION_CANCELED, Code: codes.Canceled},
	FunctionNotSupported:        {RV: cryptoki.CKR_FUNCTION_NOT_SUPPORTED, Code: codes.Unimplemented},
	KeyHandleInvalid:            {RV: cryptoki.CKR_KEY_HANDLE_INVALID, Code: codes.NotFound},
	KeySizeRange:                {RV: cryptoki.CKR_KEY_SIZE_RANGE, Code: codes.InvalidArgument},
	KeyTypeInconsistent:         {RV: cryptoki.CKR_KEY_TYPE_INCONSISTENT, Code: codes.InvalidArgument},
	KeyFunctionNotPermitted:     {RV: cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED, Code: codes.PermissionDenied},
	KeyIndigestible:             {RV: cryptoki.CKR_KEY_INDIGESTIBLE, Code: codes.InvalidArgument},
	KeyNotWrappable:             {RV: cryptoki.CKR_KEY_NOT_WRAPPABLE, Code: codes.InvalidArgument},
	KeyUnextractable:            {RV: cryptoki.CKR_KEY_UNEXTRACTABLE, Code: codes.PermissionDenied},
	MechanismInvalid:            {RV: cryptoki.CKR_MECHANISM_INVALID, Code: codes.InvalidArgument},
	MechanismParamInvalid:       {RV: cryptoki.CKR_MECHANISM_PARAM_INVALID, Code: codes.InvalidArgument},
	ObjectHandleInvalid:         {RV: cryptoki.CKR_OBJECT_HANDLE_INVALID, Code: codes.NotFound},
	OperationActive:             {RV: cryptoki.CKR_OPERATION_ACTIVE, Code: codes.FailedPrecondition},
	OperationNotInitialized:     {RV: cryptoki.CKR_OPERATION_NOT_INITIALIZED, Code: codes.FailedPrecondition},
	OperationCancelFailed:       {RV: cryptoki.CKR_OPERATION_CANCEL_FAILED, Code: codes.FailedPrecondition},
	PINIncorrect:                {RV: cryptoki.CKR_PIN_INCORRECT, Code: codes.Unauthenticated},
	PINInvalid:                  {RV: cryptoki.CKR_PIN_INVALID, Code: codes.InvalidArgument},
	PINLenRange:                 {RV: cryptoki.CKR_PIN_LEN_RANGE, Code: codes.InvalidArgument},
	PINExpired:                  {RV: cryptoki.CKR_PIN_EXPIRED, Code: codes.PermissionDenied},
	PINLocked:                   {RV: cryptoki.CKR_PIN_LOCKED, Code: codes.PermissionDenied},
	SessionClosed:               {RV: cryptoki.CKR_SESSION_CLOSED, Code: codes.Aborted},
	SessionCount:                {RV: cryptoki.CKR_SESSION_COUNT, Code: codes.ResourceExhausted},
	SessionHandleInvalid:        {RV: cryptoki.CKR_SESSION_HANDLE_INVALID, Code: codes.NotFound},
	SessionParallelNotSupported: {RV: cryptoki.CKR_SESSION_PARALLEL_NOT_SUPPORTED, Code: codes.InvalidArgument},
	SessionReadOnly:             {RV: cryptoki.CKR_SESSION_READ_ONLY, Code: codes.FailedPrecondition},
	SessionExists:               {RV: cryptoki.CKR_SESSION_EXISTS, Code: codes.FailedPrecondition},
	SessionReadOnlyExists:       {RV: cryptoki.CKR_SESSION_READ_ONLY_EXISTS, Code: codes.FailedPrecondition},
	SessionReadWriteSOExists:    {RV: cryptoki.CKR_SESSION_READ_WRITE_SO_EXISTS, Code: codes.FailedPrecondition},
	SignatureInvalid:            {RV: cryptoki.CKR_SIGNATURE_INVALID, Code: codes.InvalidArgument},
	SignatureLenRange:           {RV: cryptoki.CKR_SIGNATURE_LEN_RANGE, Code: codes.InvalidArgument},
	TemplateIncomplete:          {RV: cryptoki.CKR_TEMPLATE_INCOMPLETE, Code: codes.InvalidArgument},
	TemplateInconsistent:        {RV: cryptoki.CKR_TEMPLATE_INCONSISTENT, Code: codes.InvalidArgument},
	TokenNotPresent:             {RV: cryptoki.CKR_TOKEN_NOT_PRESENT, Code: codes.NotFound},
	TokenNotRecognized:          {RV: cryptoki.CKR_TOKEN_NOT_RECOGNIZED, Code: codes.FailedPrecondition},
	TokenWriteProtected:         {RV: cryptoki.CKR_TOKEN_WRITE_PROTECTED, Code: codes.PermissionDenied},
	UnwrappingKeyHandleInvalid:  {RV: cryptoki.CKR_UNWRAPPING_KEY_HANDLE_INVALID, Code: codes.NotFound},
	UserAlreadyLoggedIn:         {RV: cryptoki.CKR_USER_ALREADY_LOGGED_IN, Code: codes.AlreadyExists},
	UserNotLoggedIn:             {RV: cryptoki.CKR_USER_NOT_LOGGED_IN, Code: codes.Unauthenticated},
	UserPINNotInitialized:       {RV: cryptoki.CKR_USER_PIN_NOT_INITIALIZED, Code: codes.FailedPrecondition},
	UserTypeInvalid:             {RV: cryptoki.CKR_USER_TYPE_INVALID, Code: codes.InvalidArgument},
	UserAnotherAlreadyLoggedIn:  {RV: cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN, Code: codes.AlreadyExists},
	RandomSeedNotSupported:      {RV: cryptoki.CKR_RANDOM_SEED_NOT_SUPPORTED, Code: codes.Unimplemented},
	RandomNoRNG:                 {RV: cryptoki.CKR_RANDOM_NO_RNG, Code: codes.Unimplemented},
	DomainParamsInvalid:         {RV: cryptoki.CKR_DOMAIN_PARAMS_INVALID, Code: codes.InvalidArgument},
	CurveNotSupported:           {RV: cryptoki.CKR_CURVE_NOT_SUPPORTED, Code: codes.InvalidArgument},
	BufferTooSmall:              {RV: cryptoki.CKR_BUFFER_TOO_SMALL, Code: codes.OutOfRange},
	SavedStateInvalid:           {RV: cryptoki.CKR_SAVED_STATE_INVALID, Code: codes.InvalidArgument},
	StateUnsaveable:             {RV: cryptoki.CKR_STATE_UNSAVEABLE, Code: codes.FailedPrecondition},
	CryptokiNotInitialized:      {RV: cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED, Code: codes.FailedPrecondition},
	CryptokiAlreadyInitialized:  {RV: cryptoki.CKR_CRYPTOKI_ALREADY_INITIALIZED, Code: codes.FailedPrecondition},
	FunctionRejected:            {RV: cryptoki.CKR_FUNCTION_REJECTED, Code: codes.PermissionDenied},
	PublicKeyInvalid:            {RV: cryptoki.CKR_PUBLIC_KEY_INVALID, Code: codes.InvalidArgument},
	NotFound:                    {RV: cryptoki.CKR_ARGUMENTS_BAD, Code: codes.NotFound},
	AlreadyExists:               {RV: cryptoki.CKR_ARGUMENTS_BAD, Code: codes.AlreadyExists},
	InvalidInput:                {RV: cryptoki.CKR_ARGUMENTS_BAD, Code: codes.InvalidArgument},
	Unauthenticated:             {RV: cryptoki.CKR_TOKEN_NOT_PRESENT, Code: codes.Unauthenticated},
	NotGranted:                  {RV: cryptoki.CKR_ACTION_PROHIBITED, Code: codes.PermissionDenied},
	Throttled:                   {RV: cryptoki.CKR_FUNCTION_FAILED, Code: codes.ResourceExhausted, Retry: true},
	Conflict:                    {RV: cryptoki.CKR_FUNCTION_FAILED, Code: codes.Aborted, Retry: true},
	VersionMismatch:             {RV: cryptoki.CKR_DEVICE_ERROR, Code: codes.FailedPrecondition},
	DeadlineExceeded:            {RV: cryptoki.CKR_DEVICE_ERROR, Code: codes.DeadlineExceeded, Retry: true},
	StoreDamaged:                {RV: cryptoki.CKR_DEVICE_ERROR, Code: codes.DataLoss},
	ParameterSetNotSupported:    {RV: cryptoki.CKR_PARAMETER_SET_NOT_SUPPORTED, Code: codes.InvalidArgument},
}

var byRV = func() map[cryptoki.RV]Kind {
	m := map[cryptoki.RV]Kind{}
	for kind := Internal; kind < end; kind++ {
		if _, taken := m[table[kind].RV]; !taken {
			m[table[kind].RV] = kind
		}
	}
	return m
}()

// Row returns the kind's row; that of Internal for a number that is no kind.
func (k Kind) Row() Row {
	if k < Internal || k >= end {
		k = Internal
	}
	return table[k]
}

// Valid tells whether the number is a kind of this version.
func (k Kind) Valid() bool { return k >= Internal && k < end }

// KindOf returns the kind of a CK_RV; Internal if no row has it.
func KindOf(rv cryptoki.RV) Kind {
	if kind, ok := byRV[rv]; ok {
		return kind
	}
	return Internal
}
