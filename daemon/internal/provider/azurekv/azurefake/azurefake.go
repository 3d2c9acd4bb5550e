// Package azurefake is Azure Key Vault for tests, as strict as the service: it asks for a token of the right tenant and
// audience, checks the api-version and every field, wants digests of exact lengths, heeds key_ops, states and dates,
// keeps deleted keys, and pages its lists. It also is the sign-in host that gives the tokens. It can be told to throttle,
// to fail and to lose answers. Only tests use it.
package azurefake

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// What the daemon signs in with.
const (
	Tenant       = "00000000-1111-2222-3333-444444444444"
	ClientID     = "55555555-6666-7777-8888-999999999999"
	ClientSecret = "not-a-secret~only-for-tests"
)

// apiVersion is the one that the fake knows.
const apiVersion = "2025-07-01"

// Options say what kind of vault it is.
type Options struct {
	// HSM makes it a Managed HSM, Premium a vault that has hardware keys as well.
	HSM, Premium bool
	// PurgeProtection refuses purging.
	PurgeProtection bool
	// PageSize is how many keys a page has; 0 for 25.
	PageSize int
	// DeletionPolls is how often a deleted key is asked for before the deletion is complete.
	DeletionPolls int
	// Now is the vault's clock; nil for the machine's.
	Now func() time.Time
	// Certificate is the DER of the certificate that the application may sign in with instead of the secret.
	Certificate []byte
}

// Vault is one vault.
type Vault struct {
	options Options

	mu      sync.Mutex
	keys    map[string]*entry
	deleted map[string]*entry
	tokens  map[string]token
	faults  []*Fault
	denied  map[string]bool
	calls   map[string]int
}

// entry is a key with its versions, the oldest first.
type entry struct {
	name     string
	versions []*Key
	polls    int
	since    time.Time
}

func (e *entry) current() *Key { return e.versions[len(e.versions)-1] }

// New makes an empty vault.
func New(options Options) *Vault {
	if options.PageSize == 0 {
		options.PageSize = 25
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Vault{
		options: options, keys: map[string]*entry{}, deleted: map[string]*entry{}, tokens: map[string]token{},
		denied: map[string]bool{}, calls: map[string]int{},
	}
}

// Calls returns how often an operation was asked for with a good token: create, import, get, sign…
func (v *Vault) Calls(operation string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[operation]
}

// Change changes the newest version of a key, as an administrator does.
func (v *Vault) Change(name string, change func(*Key)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.keys[strings.ToLower(name)]; e != nil {
		change(e.current())
	}
}

// Versions returns how many versions a key has; 0 if there is none.
func (v *Vault) Versions(name string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.keys[strings.ToLower(name)]; e != nil {
		return len(e.versions)
	}
	return 0
}

// Names returns the names of the keys, and of the deleted ones.
func (v *Vault) Names() (keys, deleted []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.keys {
		keys = append(keys, e.name)
	}
	for _, e := range v.deleted {
		deleted = append(deleted, e.name)
	}
	return keys, deleted
}

// ServeHTTP answers as the vault, or as the sign-in host.
func (v *Vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/"+Tenant+"/") {
		v.signIn(w, r)
		return
	}
	w.Header().Set("X-Ms-Request-Id", random(16))
	if !v.authorized(r) {
		// As the service does: the challenge names the sign-in host, the tenant and for what a token must be.
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://`+r.Host+`/`+Tenant+`", resource="`+resource(r)+`"`)
		refuse(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return
	}
	c, ok := v.route(r)
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound", "", "there is no "+r.Method+" "+r.URL.Path)
		return
	}
	if r.URL.Query().Get("api-version") != apiVersion {
		refuse(w, http.StatusBadRequest, "BadParameter", "", "The specified version ("+r.URL.Query().Get("api-version")+") is not recognized. Consider using the latest supported version ("+apiVersion+").")
		return
	}
	v.serve(w, r, c)
}

// serve carries a call out, with the faults that it is to have.
func (v *Vault) serve(w http.ResponseWriter, r *http.Request, c call) {
	v.mu.Lock()
	v.calls[c.operation]++
	denied := v.denied[c.operation]
	v.mu.Unlock()
	if denied {
		refuse(w, http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nAction: '"+c.operation+"'")
		return
	}
	fault := v.fault(c.operation)
	if fault != nil && fault.before(w, r) {
		return
	}
	answer, err := v.do(r, c)
	if fault != nil && fault.after(w) {
		return
	}
	if err != nil {
		err.write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if answer == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// refusal is an error of the service.
type refusal struct {
	status                int
	code, inner, sentence string
}

func (r *refusal) write(w http.ResponseWriter) { refuse(w, r.status, r.code, r.inner, r.sentence) }

func bad(sentence string) *refusal {
	return &refusal{http.StatusBadRequest, "BadParameter", "", sentence}
}

func forbidden(inner, sentence string) *refusal {
	return &refusal{http.StatusForbidden, "Forbidden", inner, sentence}
}

func refuse(w http.ResponseWriter, status int, code, inner, sentence string) {
	said := map[string]any{"code": code, "message": sentence}
	if inner != "" {
		said["innererror"] = map[string]any{"code": inner}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": said})
}

// random returns a random hexadecimal text of n bytes.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// Add makes a version of an EC key as an administrator does, and returns NAME/VERSION.
func (v *Vault) Add(name, curve string) string {
	kty := "EC"
	if v.options.HSM {
		kty = "EC-HSM"
	}
	k := &Key{Version: random(16), Kty: kty, Operations: purposes["EC"], Enabled: true, Created: v.options.Now()}
	if wrong := generate(k, curve, 0); wrong != nil {
		panic(wrong.sentence)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.keys[strings.ToLower(name)]
	if e == nil {
		e = &entry{name: name}
		v.keys[strings.ToLower(name)] = e
	}
	e.versions = append(e.versions, k)
	return name + "/" + k.Version
}

// Swap lets a key sign with the private key of another, as a service gone wrong would.
func (v *Vault) Swap(name, other string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys[strings.ToLower(name)].current().ec = v.keys[strings.ToLower(other)].current().ec
}
