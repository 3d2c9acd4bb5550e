package fault

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// golden is the numbering that travels on the wire: a kind's number never changes, new ones come at the end.
var golden = []string{
	"Internal", "HostMemory", "SlotIDInvalid", "FunctionFailed", "ArgumentsBad", "AttributeReadOnly",
	"AttributeSensitive", "AttributeTypeInvalid", "AttributeValueInvalid", "ActionProhibited", "DataInvalid",
	"DataLenRange", "DeviceError", "DeviceMemory", "DeviceRemoved", "EncryptedDataInvalid",
	"EncryptedDataLenRange", "AEADDecryptFailed", "FunctionCanceled", "FunctionNotSupported",
	"KeyHandleInvalid", "KeySizeRange", "KeyTypeInconsistent", "KeyFunctionNotPermitted", "KeyIndigestible",
	"KeyNotWrappable", "KeyUnextractable", "MechanismInvalid", "MechanismParamInvalid", "ObjectHandleInvalid",
	"OperationActive", "OperationNotInitialized", "OperationCancelFailed", "PINIncorrect", "PINInvalid",
	"PINLenRange", "PINExpired", "PINLocked", "SessionClosed", "SessionCount", "SessionHandleInvalid",
	"SessionParallelNotSupported", "SessionReadOnly", "SessionExists", "SessionReadOnlyExists",
	"SessionReadWriteSOExists", "SignatureInvalid", "SignatureLenRange", "TemplateIncomplete",
	"TemplateInconsistent", "TokenNotPresent", "TokenNotRecognized", "TokenWriteProtected",
	"UnwrappingKeyHandleInvalid", "UserAlreadyLoggedIn", "UserNotLoggedIn", "UserPINNotInitialized",
	"UserTypeInvalid", "UserAnotherAlreadyLoggedIn", "RandomSeedNotSupported", "RandomNoRNG",
	"DomainParamsInvalid", "CurveNotSupported", "BufferTooSmall", "SavedStateInvalid", "StateUnsaveable",
	"CryptokiNotInitialized", "CryptokiAlreadyInitialized", "FunctionRejected", "PublicKeyInvalid", "NotFound",
	"AlreadyExists", "InvalidInput", "Unauthenticated", "NotGranted", "Throttled", "Conflict",
	"VersionMismatch", "DeadlineExceeded", "StoreDamaged", "ParameterSetNotSupported",
}

// declared reads the kinds from the source, so that a new one cannot be forgotten here.
func declared(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "kind.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				if n.Name != "end" {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

func TestNumbering(t *testing.T) {
	names := declared(t)
	if len(names) != int(end)-1 {
		t.Fatalf("%d names for %d kinds", len(names), end-1)
	}
	for i, want := range golden {
		if i >= len(names) || names[i] != want {
			t.Fatalf("kind %d is not %s any more; numbers travel on the wire, so add new kinds at the end", i+1, want)
		}
	}
	if len(names) != len(golden) {
		t.Errorf("add the new kinds at the end of the golden list: %s", strings.Join(names[len(golden):], ", "))
	}
}

func TestEveryKindHasARow(t *testing.T) {
	for kind := Internal; kind < end; kind++ {
		row := table[kind]
		if row.RV == cryptoki.CKR_OK {
			t.Errorf("kind %d means success", kind)
		}
		if strings.Contains(row.RV.String(), "0x") {
			t.Errorf("kind %d has a CK_RV without a name: %v", kind, row.RV)
		}
		if row.Code == codes.OK || row.Code == codes.Unknown || row.Code > codes.Unauthenticated {
			t.Errorf("kind %d has the code %v", kind, row.Code)
		}
		if row.Retry && row.Code == codes.InvalidArgument {
			t.Errorf("kind %d: wrong input does not get right by trying again", kind)
		}
		if kind.Row() != row || !kind.Valid() {
			t.Errorf("kind %d: Row or Valid", kind)
		}
		// A bare CK_RV becomes the first kind of that CK_RV, and means the same.
		if back := KindOf(row.RV); back > kind || back.Row().RV != row.RV {
			t.Errorf("kind %d: its CK_RV %v becomes kind %d", kind, row.RV, back)
		}
	}
	for _, kind := range []Kind{0, end, end + 1, ^Kind(0)} {
		if kind.Valid() || kind.Row() != table[Internal] {
			t.Errorf("kind %d is none", kind)
		}
	}
}

// TestReturnValuesUsed: what the standard's functions of this product return has a kind, so that a bare CK_RV keeps its
// meaning over the wire.
func TestReturnValuesUsed(t *testing.T) {
	for _, rv := range []cryptoki.RV{
		cryptoki.CKR_HOST_MEMORY, cryptoki.CKR_SLOT_ID_INVALID, cryptoki.CKR_GENERAL_ERROR, cryptoki.CKR_FUNCTION_FAILED,
		cryptoki.CKR_ARGUMENTS_BAD, cryptoki.CKR_ATTRIBUTE_READ_ONLY, cryptoki.CKR_ATTRIBUTE_SENSITIVE,
		cryptoki.CKR_ATTRIBUTE_TYPE_INVALID, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID, cryptoki.CKR_ACTION_PROHIBITED,
		cryptoki.CKR_DATA_INVALID, cryptoki.CKR_DATA_LEN_RANGE, cryptoki.CKR_DEVICE_ERROR, cryptoki.CKR_DEVICE_MEMORY,
		cryptoki.CKR_DEVICE_REMOVED, cryptoki.CKR_ENCRYPTED_DATA_INVALID, cryptoki.CKR_ENCRYPTED_DATA_LEN_RANGE,
		cryptoki.CKR_AEAD_DECRYPT_FAILED, cryptoki.CKR_FUNCTION_CANCELED, cryptoki.CKR_FUNCTION_NOT_SUPPORTED,
		cryptoki.CKR_KEY_HANDLE_INVALID, cryptoki.CKR_KEY_SIZE_RANGE, cryptoki.CKR_KEY_TYPE_INCONSISTENT,
		cryptoki.CKR_KEY_FUNCTION_NOT_PERMITTED, cryptoki.CKR_MECHANISM_INVALID, cryptoki.CKR_MECHANISM_PARAM_INVALID,
		cryptoki.CKR_OBJECT_HANDLE_INVALID, cryptoki.CKR_OPERATION_ACTIVE, cryptoki.CKR_OPERATION_NOT_INITIALIZED,
		cryptoki.CKR_PIN_INCORRECT, cryptoki.CKR_PIN_INVALID, cryptoki.CKR_PIN_LEN_RANGE, cryptoki.CKR_PIN_EXPIRED,
		cryptoki.CKR_PIN_LOCKED, cryptoki.CKR_SESSION_CLOSED, cryptoki.CKR_SESSION_COUNT, cryptoki.CKR_SESSION_HANDLE_INVALID,
		cryptoki.CKR_SESSION_READ_ONLY, cryptoki.CKR_SESSION_EXISTS, cryptoki.CKR_SESSION_READ_ONLY_EXISTS,
		cryptoki.CKR_SESSION_READ_WRITE_SO_EXISTS, cryptoki.CKR_SIGNATURE_INVALID, cryptoki.CKR_SIGNATURE_LEN_RANGE,
		cryptoki.CKR_TEMPLATE_INCOMPLETE, cryptoki.CKR_TEMPLATE_INCONSISTENT, cryptoki.CKR_TOKEN_NOT_PRESENT,
		cryptoki.CKR_TOKEN_WRITE_PROTECTED, cryptoki.CKR_USER_ALREADY_LOGGED_IN, cryptoki.CKR_USER_NOT_LOGGED_IN,
		cryptoki.CKR_USER_PIN_NOT_INITIALIZED, cryptoki.CKR_USER_TYPE_INVALID, cryptoki.CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
		cryptoki.CKR_RANDOM_SEED_NOT_SUPPORTED, cryptoki.CKR_RANDOM_NO_RNG, cryptoki.CKR_DOMAIN_PARAMS_INVALID,
		cryptoki.CKR_CURVE_NOT_SUPPORTED, cryptoki.CKR_BUFFER_TOO_SMALL, cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED,
		cryptoki.CKR_CRYPTOKI_ALREADY_INITIALIZED, cryptoki.CKR_FUNCTION_REJECTED, cryptoki.CKR_PUBLIC_KEY_INVALID,
		cryptoki.CKR_KEY_UNEXTRACTABLE, cryptoki.CKR_KEY_INDIGESTIBLE, cryptoki.CKR_STATE_UNSAVEABLE,
	} {
		if got := KindOf(rv).Row().RV; got != rv {
			t.Errorf("%v becomes %v", rv, got)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("the cause")
	e := New(KeySizeRange, "too short: %w", cause)
	for _, err := range []error{e, fmt.Errorf("around: %w", e)} {
		if From(err) != e || RV(err) != cryptoki.CKR_KEY_SIZE_RANGE || !Is(err, KeySizeRange) || Is(err, Internal) || !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	}
	if e.Error() != "too short: the cause" {
		t.Error(e)
	}
	bare := fmt.Errorf("around: %w", cryptoki.CKR_PIN_LOCKED)
	if RV(bare) != cryptoki.CKR_PIN_LOCKED || From(bare).Kind != PINLocked || !Is(bare, PINLocked) {
		t.Error(bare)
	}
	if strange := error(cryptoki.CKR_MUTEX_BAD); RV(strange) != cryptoki.CKR_MUTEX_BAD || From(strange).Kind != Internal {
		t.Error(strange)
	}
	if RV(cause) != cryptoki.CKR_GENERAL_ERROR || From(cause).Kind != Internal {
		t.Error(cause)
	}
	if From(nil) != nil || RV(nil) != cryptoki.CKR_OK || Is(nil, Internal) {
		t.Error("nil is no error")
	}
}
