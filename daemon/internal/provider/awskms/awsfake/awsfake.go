// Package awsfake is AWS KMS for tests: it speaks the service's protocol (awsJson 1.1, signature version 4) over HTTP and
// refuses what the service refuses. It keeps nothing and is never part of the daemon.
package awsfake

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// The account whose keys there are.
const (
	Account     = "111122223333"
	Region      = "eu-central-1"
	AccessKeyID = "AKIAIOSFODNN7EXAMPLE"
	SecretKey   = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// KMS is the service. It is an http.Handler.
type KMS struct {
	// Region is the one that it is; another than Region where a test has two.
	Region string

	mu      sync.Mutex
	keys    map[string]*key
	order   []string
	aliases map[string]string
	faults  []*Fault
	calls   map[string]int
	skew    time.Duration
	tokens  map[string]importToken
}

// wrapping is the key under which key material comes in. It is one for all fakes of a process: making it takes seconds.
var wrapping = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 4096)) })

// New makes a service without any key.
func New() *KMS {
	return &KMS{
		Region: Region, keys: map[string]*key{}, aliases: map[string]string{}, calls: map[string]int{}, tokens: map[string]importToken{},
	}
}

// refusal is an error answer.
type refusal struct {
	status        int
	code, message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(code, format string, args ...any) error {
	status := http.StatusBadRequest
	switch code {
	case "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException":
		status = http.StatusInternalServerError
	}
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) error { return refuse("ValidationException", format, args...) }

// operation is one call of the service. It reads the request into a struct of its own, so that a member which the
// service does not know is seen.
type operation func(k *KMS, body []byte) (any, error)

var operations = map[string]operation{
	"CreateKey": handle((*KMS).createKey), "CreateAlias": handle((*KMS).createAlias), "DeleteAlias": handle((*KMS).deleteAlias),
	"DescribeKey": handle((*KMS).describeKey), "GetPublicKey": handle((*KMS).getPublicKey),
	"ListKeys": handle((*KMS).listKeys), "ListAliases": handle((*KMS).listAliases), "ListResourceTags": handle((*KMS).listResourceTags),
	"Sign": handle((*KMS).sign), "GenerateMac": handle((*KMS).generateMac), "Decrypt": handle((*KMS).decrypt),
	"DeriveSharedSecret": handle((*KMS).deriveSharedSecret), "GenerateRandom": handle((*KMS).generateRandom),
	"GetParametersForImport": handle((*KMS).getParametersForImport), "ImportKeyMaterial": handle((*KMS).importKeyMaterial),
	"ScheduleKeyDeletion": handle((*KMS).scheduleKeyDeletion), "CancelKeyDeletion": handle((*KMS).cancelKeyDeletion),
	"EnableKey": handle((*KMS).enableKey), "DisableKey": handle((*KMS).disableKey), "TagResource": handle((*KMS).tagResource),
}

func handle[In, Out any](do func(*KMS, In) (Out, error)) operation {
	return func(k *KMS, body []byte) (any, error) {
		var in In
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&in); err != nil {
			return nil, refuse("SerializationException", "%v", err)
		}
		return do(k, in)
	}
}

// ServeHTTP answers one call.
func (k *KMS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", k.now().Format(http.TimeFormat))
	w.Header().Set("X-Amzn-Requestid", identifier())
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	do := operations[name]
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	k.mu.Lock()
	k.calls[name]++
	fault := k.next(name)
	k.mu.Unlock()
	if fault != nil && fault.before(w, r) {
		return
	}
	var out any
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/" || !ok || do == nil:
		err = &refusal{http.StatusBadRequest, "UnknownOperationException", "no operation " + name}
	case r.Header.Get("Content-Type") != "application/x-amz-json-1.1":
		err = refuse("SerializationException", "the content type is %q", r.Header.Get("Content-Type"))
	default:
		if err = k.authenticate(r, body); err == nil {
			out, err = do(k, body)
		}
	}
	if fault != nil && fault.after(w, r) {
		return
	}
	answer(w, out, err)
}

func answer(w http.ResponseWriter, out any, err error) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if err != nil {
		refused, ok := err.(*refusal)
		if !ok {
			refused = &refusal{http.StatusInternalServerError, "KMSInternalException", err.Error()}
		}
		w.WriteHeader(refused.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": refused.code, "message": refused.message})
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

// Calls returns how often an operation was called.
func (k *KMS) Calls(operation string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[operation]
}

// Skew sets the service's clock apart from the machine's.
func (k *KMS) Skew(by time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.skew = by
}

func (k *KMS) now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return time.Now().UTC().Add(k.skew)
}

// identifier makes a random UUID.
func identifier() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
