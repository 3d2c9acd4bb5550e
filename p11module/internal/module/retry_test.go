package module_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// TestKilledDaemon: the daemon dies after it made a key and before it said so. The repeated call has the same request
// id, and there is one key.
func TestKilledDaemon(t *testing.T) {
	h := start(t)
	s := h.user()
	var died atomic.Bool
	h.d.hook(nil, func(method string) error {
		if method == "CreateObject" && died.CompareAndSwap(false, true) {
			// Stop waits for this very call.
			go h.d.stop()
			time.Sleep(50 * time.Millisecond)
			go func() {
				time.Sleep(100 * time.Millisecond)
				h.d.start()
			}()
			return fault.New(fault.DeviceError, "lost")
		}
		return nil
	})
	object, err := s.CreateObject(data("x", token))
	h.must(err)
	if ids := h.d.ids["CreateObject"]; len(ids) < 2 || ids[0] != ids[len(ids)-1] {
		t.Errorf("request ids %v", ids)
	}
	if found := find(t, s); len(found) != 1 || found[0] != object {
		t.Errorf("found %v, want %v", found, object)
	}
	other, err := s.CreateObject(data("y", token))
	h.must(err)
	if ids := h.d.ids["CreateObject"]; ids[len(ids)-1] == ids[0] || other == object {
		t.Errorf("another call has the same request id: %v", ids)
	}
}

func TestRestartIsNotNoticed(t *testing.T) {
	h := start(t)
	s := h.user()
	_, key := h.p256(s)
	h.must(s.SignInit(ecdsa, key))
	h.d.stop()
	go func() {
		time.Sleep(200 * time.Millisecond)
		h.d.start()
	}()
	_, _, err := s.Sign(make([]byte, 32), 64)
	h.must(err)
}

func TestRefusalsAreNotRepeated(t *testing.T) {
	h := start(t)
	s := h.user()
	_, key := h.p256(s)
	for kind, calls := range map[fault.Kind]int{fault.NotGranted: 1, fault.FunctionFailed: 1, fault.Throttled: 3} {
		var seen atomic.Int32
		h.d.hook(func(method string) error {
			if method == "Sign" && int(seen.Add(1)) < 3 {
				return fault.New(kind, "not now")
			}
			return nil
		}, nil)
		h.must(s.SignInit(ecdsa, key))
		_, _, err := s.Sign(make([]byte, 32), 64)
		if int(seen.Load()) != calls {
			t.Errorf("kind %d: %d calls, want %d", kind, seen.Load(), calls)
		}
		if calls == 1 {
			want(t, err, kind.Row().RV)
		} else {
			want(t, err, cryptoki.CKR_OK)
		}
	}
}

func TestDeadline(t *testing.T) {
	d := newDaemon(t)
	h := newHost(t, d, ";timeout=300ms")
	s := h.user()
	_, key := h.p256(s)
	d.hook(func(method string) error {
		if method == "Sign" {
			time.Sleep(2 * time.Second)
		}
		return nil
	}, nil)
	h.must(s.SignInit(ecdsa, key))
	began := time.Now()
	_, _, err := s.Sign(make([]byte, 32), 64)
	want(t, err, cryptoki.CKR_DEVICE_ERROR)
	if took := time.Since(began); took < 250*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if s.Info().DeviceError != uint64(fault.DeadlineExceeded) {
		t.Errorf("ulDeviceError %d", s.Info().DeviceError)
	}
}

// TestThreads uses everything at once from many threads; -race watches.
func TestThreads(t *testing.T) {
	h := start(t)
	first := h.user()
	_, key := h.p256(first)
	var threads sync.WaitGroup
	for i := range 8 {
		threads.Add(1)
		go func() {
			defer threads.Done()
			handle, err := h.OpenSession(slotA, rw)
			if err != nil {
				t.Error(err)
				return
			}
			s, err := h.Session(handle)
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				if err := s.SignInit(ecdsa, key); err != nil {
					t.Error(err)
				}
				if _, _, err := s.Sign(make([]byte, 32), 64); err != nil {
					t.Error(err)
				}
				object, err := s.CreateObject(data("x", token, label(string(rune('a'+i)))))
				if err != nil {
					t.Error(err)
				}
				if err := s.FindInit(cryptoki.Attributes{label(string(rune('a' + i)))}); err != nil {
					t.Error(err)
				}
				if found, err := s.Find(10); err != nil || len(found) != 1 || found[0] != object {
					t.Errorf("found %v, %v; want %v", found, err, object)
				}
				if err := s.FindFinal(); err != nil {
					t.Error(err)
				}
				if err := s.DestroyObject(object); err != nil {
					t.Error(err)
				}
				s.Info()
			}
			if err := h.CloseSession(handle); err != nil {
				t.Error(err)
			}
		}()
	}
	threads.Wait()
}

// TestOneSessionManyThreads: applications should not, but nothing breaks when threads share a session.
func TestOneSessionManyThreads(t *testing.T) {
	h := start(t)
	s := h.user()
	_, key := h.p256(s)
	var threads sync.WaitGroup
	for range 8 {
		threads.Add(1)
		go func() {
			defer threads.Done()
			for range 20 {
				_ = s.SignInit(ecdsa, key)
				_, _, _ = s.Sign(make([]byte, 32), 64)
				_ = s.Login(cryptoki.CKU_USER, []byte(userPIN))
				_ = s.Cancel(cryptoki.CKF_SIGN)
				_ = s.FindInit(nil)
				_, _ = s.Find(1)
				_ = s.FindFinal()
				_ = s.Logout()
			}
		}()
	}
	threads.Wait()
	_ = s.Login(cryptoki.CKU_USER, []byte(userPIN))
	cancelAll(s)
	h.must(s.SignInit(ecdsa, key))
	_, _, err := s.Sign(make([]byte, 32), 64)
	h.must(err)
}
