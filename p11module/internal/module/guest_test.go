package module_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/p11module/internal/module"
)

// TestFinalizeLeavesNothing: after C_Finalize no goroutine of ours or of the connection is left, whatever was open.
func TestFinalizeLeavesNothing(t *testing.T) {
	d := newDaemon(t)
	m, err := module.Open("anyhsm: endpoints=unix://" + d.path)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{m, t, d}
	s := h.user()
	_, key := h.p256(s)
	h.must(s.SignInit(ecdsa, key))
	h.must(s.FindInit(nil))
	m.Close()
	_, _, err = s.Sign(make([]byte, 32), 64)
	want(t, err, cryptoki.CKR_OPERATION_NOT_INITIALIZED)
	_, err = s.GenerateRandom(1)
	want(t, err, cryptoki.CKR_CRYPTOKI_NOT_INITIALIZED)
	d.stop()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		left := 0
		for _, stack := range strings.Split(text, "\n\n") {
			if strings.Contains(stack, "google.golang.org/grpc") || strings.Contains(stack, "p11module/internal/session.") {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are left:\n%s", left, text)
		}
	}
}

// TestLogHoldsNoSecrets greps the most talkative log for PINs and key values, and sees that it is written at all.
func TestLogHoldsNoSecrets(t *testing.T) {
	d := newDaemon(t)
	log := filepath.Join(t.TempDir(), "log")
	h := newHost(t, d, ";log.level=debug;timeout=500ms;log.file="+log)
	s := h.open(slotA, rw)
	want(t, s.Login(cryptoki.CKU_USER, []byte("a wrong PIN")), cryptoki.CKR_PIN_INCORRECT)
	h.must(s.Login(cryptoki.CKU_USER, []byte(userPIN)))
	want(t, s.SetPIN([]byte("another wrong PIN"), []byte("a new PIN")), cryptoki.CKR_PIN_INCORRECT)
	_, err := s.CreateObject(secretKey(cryptoki.CKK_AES, []byte("a secret AES key"), token))
	h.must(err)
	d.stop()
	_, err = s.CreateObject(secretKey(cryptoki.CKK_AES, []byte("a secret AES key"), token))
	want(t, err, cryptoki.CKR_DEVICE_ERROR)
	text, err := os.ReadFile(log)
	h.must(err)
	if !strings.Contains(string(text), "tried again") || !strings.Contains(string(text), "CreateObject") {
		t.Errorf("the log does not say what happened:\n%s", text)
	}
	for _, secret := range []string{"wrong PIN", "a new PIN", "a secret AES key"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if info, err := os.Stat(log); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestLogThatCannotBeOpened: a worker with few rights still gets its keys.
func TestLogThatCannotBeOpened(t *testing.T) {
	h := newHost(t, newDaemon(t), ";log.file=/nowhere/at/all")
	h.user()
}
