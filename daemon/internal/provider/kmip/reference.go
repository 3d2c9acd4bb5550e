package kmip

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// reference names a key at the server. For one key it is always the same bytes, so that a key that is listed can be known
// again. Some servers give the identifier of a destroyed key to another one: name and date tell them apart.
type reference struct {
	ID      string               `json:"id"`
	Class   cryptoki.ObjectClass `json:"class"`
	KeyType cryptoki.KeyType     `json:"type"`
	Name    string               `json:"name,omitempty"`
	Made    int64                `json:"made,omitempty"`
	// Check is the start of a SHA-256 over the rest: a damaged reference must not name another key.
	Check []byte `json:"check"`
}

// maxReference is far above what encode makes.
const maxReference = 8 << 10

func (r reference) encode() []byte {
	r.Check = r.sum()
	// Numbers, text and bytes marshal.
	text, _ := json.Marshal(r)
	return text
}

func (r reference) sum() []byte {
	r.Check = nil
	text, _ := json.Marshal(r)
	sum := sha256.Sum256(text)
	return sum[:9]
}

// parseReference reads what encode made. All else is no key of ours.
func parseReference(ref []byte) (reference, error) {
	var r reference
	if len(ref) > maxReference {
		return r, fault.New(fault.KeyHandleInvalid, "the key's reference is too long for one of provider kmip")
	}
	decoder := json.NewDecoder(bytes.NewReader(ref))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil || decoder.InputOffset() != int64(len(ref)) || r.ID == "" || !bytes.Equal(r.Check, r.sum()) {
		return r, fault.New(fault.KeyHandleInvalid, "the key's reference is not one of provider kmip; the store is damaged, or the key belongs to another provider")
	}
	return r, nil
}

// known are objects that were looked at a short time ago, so that using a key costs one call and not two.
type known struct {
	mu      sync.Mutex
	objects map[string]knownObject
}

type knownObject struct {
	object
	at time.Time
}

const (
	knownTime = 10 * time.Second
	maxKnown  = 4096
)

func (k *known) get(ref []byte) (object, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o, ok := k.objects[string(ref)]
	if !ok || time.Since(o.at) > knownTime {
		return object{}, false
	}
	return o.object, true
}

func (k *known) put(ref []byte, o object) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.objects == nil || len(k.objects) >= maxKnown {
		k.objects = map[string]knownObject{}
	}
	k.objects[string(ref)] = knownObject{o, time.Now()}
}

func (k *known) remove(ref []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.objects, string(ref))
}
