package azurefake

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Fault is what is to go wrong with the next calls of an operation.
type Fault struct {
	// Operation is create, import, get, sign…; empty for all.
	Operation string
	// Times is how many calls it takes; 0 for all that come.
	Times int
	// Status, Code and Inner are the answer; no status lets the call through.
	Status      int
	Code, Inner string
	// RetryAfter is the header, in seconds.
	RetryAfter int
	// Delay is waited first.
	Delay time.Duration
	// Lost lets the call be carried out and its answer get lost: the status if there is one, else the connection.
	Lost bool
	// Race runs before the call is carried out.
	Race func()
}

// Inject adds a fault. The first that fits is taken.
func (v *Vault) Inject(f Fault) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.Times == 0 {
		f.Times = -1
	}
	v.faults = append(v.faults, &f)
}

// Heal ends all faults and gives all permissions back.
func (v *Vault) Heal() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults = nil
	clear(v.denied)
}

// Deny takes the permission for operations away.
func (v *Vault) Deny(operations ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, o := range operations {
		v.denied[o] = true
	}
}

// fault takes the fault for a call.
func (v *Vault) fault(operation string) *Fault {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.faults {
		if f.Times != 0 && (f.Operation == "" || f.Operation == operation) {
			f.Times--
			return f
		}
	}
	return nil
}

// before does what a fault does before the call; true if there is nothing left to do.
func (f *Fault) before(w http.ResponseWriter, r *http.Request) bool {
	if f.Delay > 0 {
		// A client that goes is noticed only when its request has been read.
		text, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(text))
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
			return true
		}
	}
	if f.Race != nil {
		f.Race()
	}
	if f.Lost || f.Status == 0 {
		return false
	}
	return f.answer(w)
}

// after loses the answer.
func (f *Fault) after(w http.ResponseWriter) bool {
	if !f.Lost {
		return false
	}
	if f.Status == 0 {
		panic(http.ErrAbortHandler)
	}
	return f.answer(w)
}

func (f *Fault) answer(w http.ResponseWriter) bool {
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	refuse(w, f.Status, f.Code, f.Inner, "the test wants this to fail")
	return true
}
