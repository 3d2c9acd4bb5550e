package awsfake

import (
	"net"
	"net/http"
	"time"
)

// Fault is what goes wrong with calls.
type Fault struct {
	// Operation is the call that is hit, all if empty; Times how often.
	Operation string
	Times     int
	// Skip lets so many calls pass first.
	Skip int
	// Delay comes before anything else.
	Delay time.Duration
	// Code and Status make an error answer, instead of the work; Lost does the work first and loses the answer: the
	// connection is closed halfway.
	Code, Message string
	Status        int
	Lost          bool
	// HalfClosed closes the connection before the work.
	HalfClosed bool
	// Forge replaces the answer after the work.
	Forge any
}

// Inject adds a fault.
func (k *KMS) Inject(f Fault) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = append(k.faults, &f)
}

// Heal takes all faults away.
func (k *KMS) Heal() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = nil
}

// next returns the fault that a call meets. The lock is held.
func (k *KMS) next(operation string) *Fault {
	for _, f := range k.faults {
		if f.Operation != "" && f.Operation != operation || f.Times <= 0 {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		f.Times--
		return f
	}
	return nil
}

// before does what comes before the work, and tells whether that was all.
func (f *Fault) before(w http.ResponseWriter, r *http.Request) bool {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-r.Context().Done():
		}
	}
	switch {
	case f.HalfClosed:
		hangUp(w, "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 400\r\n\r\n{\"Key")
		return true
	case f.Code != "" && !f.Lost:
		status := f.Status
		if status == 0 {
			status = http.StatusBadRequest
		}
		answer(w, nil, &refusal{status, f.Code, f.Message})
		return true
	case f.Status != 0 && !f.Lost:
		w.WriteHeader(f.Status)
		return true
	}
	return false
}

// after does what comes after the work, and tells whether that was the answer.
func (f *Fault) after(w http.ResponseWriter, _ *http.Request) bool {
	switch {
	case f.Lost:
		hangUp(w, "")
		return true
	case f.Forge != nil:
		answer(w, f.Forge, nil)
		return true
	}
	return false
}

// hangUp writes some bytes and closes the connection.
func hangUp(w http.ResponseWriter, text string) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte(text))
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
