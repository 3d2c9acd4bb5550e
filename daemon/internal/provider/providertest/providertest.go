// Package providertest is the conformance suite that every provider passes. What a provider can do is taken from its
// Capabilities: all that they claim must work, checked by Go's crypto with the public key or a known value, and all
// that they do not claim must be refused with the right error.
package providertest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Subject is a provider under test.
type Subject struct {
	// Open connects to the same keys each time: what one connection has made, the next one can use.
	Open func(t *testing.T) provider.Provider
	// Token is the token that keys are made for.
	Token string
}

// callTime is the most that one call may take.
const callTime = 2 * time.Minute

// Run runs the suite.
func Run(t *testing.T, subject Subject) {
	s := &suite{subject: subject, provider: subject.Open(t), keys: map[string]*testKey{}}
	s.capabilities = s.provider.Capabilities()
	t.Run("capabilities", s.testCapabilities)
	t.Run("claims", s.testClaims)
	t.Run("sizes", s.testSizes)
	t.Run("curves", s.testCurves)
	t.Run("parameters", s.testParameters)
	t.Run("import", s.testImport)
	t.Run("export", s.testExport)
	t.Run("leave", s.testLeave)
	t.Run("arrive", s.testArrive)
	t.Run("idempotent generate", s.testIdempotent)
	t.Run("session keys", s.testSession)
	t.Run("references", s.testReferences)
	t.Run("reopen", s.testReopen)
	t.Run("list", s.testList)
	t.Run("destroy", s.testDestroy)
	t.Run("wrong data", s.testWrongData)
	t.Run("wrong keys", s.testWrongKeys)
	t.Run("random", s.testRandom)
	t.Run("concurrent use", s.testConcurrent)
	t.Run("context", s.testContext)
	t.Run("health", s.testHealth)
	t.Run("close", s.testClose)
}

// suite is one run.
type suite struct {
	subject      Subject
	provider     provider.Provider
	capabilities provider.Capabilities

	mu   sync.Mutex
	keys map[string]*testKey
}

// testKey is a key of the provider with what is known of it.
type testKey struct {
	provider.Key
	ref       provider.Reference
	generated provider.Generated
	// value is the value of a secret key that was imported.
	value []byte
	// public is the public key as Go knows it.
	public any
}

// ctx is the context of one call.
func (s *suite) ctx(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callTime)
	t.Cleanup(cancel)
	return ctx
}

// identity makes the identity of a new object.
func (s *suite) identity() provider.Identity {
	uid := make([]byte, 16)
	_, _ = rand.Read(uid)
	return provider.Identity{UID: hex.EncodeToString(uid), Token: s.subject.Token}
}

// open finds a generated key as keyservice does.
func (s *suite) open(t *testing.T, identity provider.Identity, generated provider.Generated, attributes cryptoki.Attributes) *testKey {
	t.Helper()
	if len(generated.Ref) == 0 || len(generated.Ref) > 64<<10 {
		t.Fatalf("the reference has %d bytes", len(generated.Ref))
	}
	k := &testKey{ref: provider.Reference{Identity: identity, Ref: generated.Ref, Attributes: attributes}, generated: generated}
	key, err := s.provider.Key(s.ctx(t), k.ref)
	if err != nil {
		t.Fatalf("Key of a new key: %v", err)
	}
	if got := key.Reference(); string(got.Ref) != string(generated.Ref) || got.Identity != identity {
		t.Errorf("the key's Reference is not what it was found by")
	}
	k.Key = key
	if class, _ := attributes.Class(); class == cryptoki.CKO_PRIVATE_KEY {
		k.public = publicKey(t, generated.Public, attributes)
	}
	return k
}

// make generates a key and opens it.
func (s *suite) make(t *testing.T, request provider.GenerateRequest) *testKey {
	t.Helper()
	request.Identity = s.identity()
	generated, err := s.provider.Generate(s.ctx(t), request)
	if err != nil {
		t.Fatalf("Generate with %s: %v", request.Mechanism.Type, err)
	}
	return s.open(t, request.Identity, generated, request.Private)
}

// shared generates the key of a recipe once for all tests.
func (s *suite) shared(t *testing.T, r recipe) *testKey {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.keys[r.name]; ok {
		return k
	}
	k := s.make(t, r.request())
	s.keys[r.name] = k
	return k
}

// can tells whether a recipe's key can be generated here.
func (s *suite) can(r recipe) bool { return s.capabilities.CheckGenerate(r.request()) == nil }

// wants checks that an error is there and of one of some kinds.
func wants(t *testing.T, err error, kinds ...fault.Kind) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one that means %s", kinds[0].Row().RV)
		return
	}
	for _, kind := range kinds {
		if fault.Is(err, kind) {
			return
		}
	}
	t.Errorf("the error means %s; want %s: %v", fault.RV(err), kinds[0].Row().RV, err)
}

// ability gives a key's ability, which it must have.
func ability[T any](t *testing.T, k provider.Key) T {
	t.Helper()
	a, ok := k.(T)
	if !ok {
		t.Fatalf("the key is no %T", *new(T))
	}
	return a
}

func (s *suite) sign(t *testing.T, k *testKey, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	t.Helper()
	return ability[provider.Signer](t, k.Key).Sign(s.ctx(t), m, data)
}

func (s *suite) decrypt(t *testing.T, k *testKey, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	t.Helper()
	return ability[provider.Decrypter](t, k.Key).Decrypt(s.ctx(t), m, data)
}

func (s *suite) encrypt(t *testing.T, k *testKey, m cryptoki.Mechanism, data []byte) ([]byte, error) {
	t.Helper()
	return ability[provider.Encrypter](t, k.Key).Encrypt(s.ctx(t), m, data)
}

func (s *suite) derive(t *testing.T, k *testKey, m cryptoki.Mechanism, length int) ([]byte, error) {
	t.Helper()
	return ability[provider.Deriver](t, k.Key).Derive(s.ctx(t), m, length)
}

// random returns test data.
func random(length int) []byte {
	b := make([]byte, length)
	_, _ = rand.Read(b)
	return b
}
