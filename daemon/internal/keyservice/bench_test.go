package keyservice_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/keyservice"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
)

// BenchmarkSign is a P-256 signature, which alone takes about 30 µs, with policy, ticket and audit. cpu-µs is what the
// whole process has worked, the audit's writer included; it says more than the time on a busy machine.
func BenchmarkSign(b *testing.B) {
	f, call := newBench(b)
	_, private := f.pair(call)
	measure(b, func() error {
		_, _, err := f.Sign(b.Context(), call, ref(private), cryptoki.Mechanism{Type: cryptoki.CKM_ECDSA}, digest, false)
		return err
	})
}

// BenchmarkHMAC is the cheapest use of a key: nearly all of it is what keyservice adds.
func BenchmarkHMAC(b *testing.B) {
	f, call := newBench(b)
	key := f.secret(call, cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.CKA_SIGN, true)
	measure(b, func() error {
		_, _, err := f.Sign(b.Context(), call, ref(key), cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, digest, false)
		return err
	})
}

// BenchmarkSessionHMAC is HMAC with a session key, which comes along as a blob.
func BenchmarkSessionHMAC(b *testing.B) {
	f, call := newBench(b)
	key := f.secret(call, cryptoki.CKM_GENERIC_SECRET_KEY_GEN, cryptoki.CKA_SIGN, false)
	measure(b, func() error {
		_, _, err := f.Sign(b.Context(), call, keyservice.KeyRef{Sealed: key.Sealed}, cryptoki.Mechanism{Type: cryptoki.CKM_SHA256_HMAC}, digest, false)
		return err
	})
}

// BenchmarkGCM encrypts 1 KiB.
func BenchmarkGCM(b *testing.B) {
	f, call := newBench(b)
	key := f.secret(call, cryptoki.CKM_AES_KEY_GEN, cryptoki.CKA_ENCRYPT, true)
	m := cryptoki.Mechanism{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: make([]byte, 12), TagBits: 128}}
	plaintext := make([]byte, 1024)
	measure(b, func() error {
		_, _, err := f.Encrypt(b.Context(), call, ref(key), m, plaintext, false)
		return err
	})
}

// BenchmarkLogin is a login with a PIN that was right before.
func BenchmarkLogin(b *testing.B) {
	f, call := newBench(b)
	measure(b, func() error {
		_, _, err := f.Login(b.Context(), f.public(call.Caller, call.Token), cryptoki.CKU_USER, []byte(userPIN))
		return err
	})
}

func newBench(b *testing.B) (*fixture, keyservice.Call) {
	f := newFixture(b)
	token := f.token("t", "")
	return f, f.user(f.application("web", token, everything...), token)
}

// secret makes a secret key that may do one thing.
func (f *fixture) secret(call keyservice.Call, kind cryptoki.MechanismType, use cryptoki.AttributeType, token bool) keyservice.Object {
	f.t.Helper()
	key, _, err := f.GenerateKey(f.ctx, call, cryptoki.Mechanism{Type: kind}, cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(32)), cryptoki.Bool(use, true), cryptoki.Bool(cryptoki.CKA_TOKEN, token),
	})
	ok(f.t, err)
	return key
}

func measure(b *testing.B, do func() error) {
	if err := do(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

// cpu is what the process has worked.
func cpu(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
