package seal

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// memory is a Meta for tests.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (m *memory) Meta(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key], nil
}

func (m *memory) InitMeta(_ context.Context, key string, value []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[string][]byte{}
	}
	if _, ok := m.values[key]; !ok {
		m.values[key] = value
	}
	return m.values[key], nil
}

func refused(t *testing.T, err error, words ...string) {
	t.Helper()
	if !fault.Is(err, fault.InvalidInput) {
		t.Errorf("got %v", err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not name %q", err, word)
		}
	}
}

func TestFileIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "root.key")
	meta := &memory{}
	first, err := FromFile(t.Context(), path, meta)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("a draft is left: %v", entries)
	}
	sealed, err := first.Seal("purpose", []byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := FromFile(t.Context(), path, meta)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := second.Open("purpose", sealed, nil); err != nil || string(got) != "secret" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
}

func TestFileIsNotMadeForAStoreThatHasAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	meta := &memory{}
	if _, err := FromFile(t.Context(), path, meta); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := FromFile(t.Context(), path, meta)
	refused(t, err, path, "missing", "backup")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("a new key was made")
	}
}

func TestWrongFile(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	meta := &memory{}
	if _, err := FromFile(t.Context(), a, meta); err != nil {
		t.Fatal(err)
	}
	if _, err := FromFile(t.Context(), b, &memory{}); err != nil {
		t.Fatal(err)
	}
	_, err := FromFile(t.Context(), b, meta)
	refused(t, err, b, "not the one")
}

func TestFileOthersCanReach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	meta := &memory{}
	if _, err := FromFile(t.Context(), path, meta); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o660, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := FromFile(t.Context(), path, meta)
		refused(t, err, path, "chmod 600")
	}
	if os.Geteuid() == 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		_, err := FromFile(t.Context(), path, meta)
		refused(t, err, path, "12345", "chown")
	}
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	digits := strings.Repeat("0a", KeySize)
	for _, content := range []string{
		"", "\n", digits, filePrefix, filePrefix + digits[1:] + "\n", filePrefix + digits + "00\n", filePrefix + "x" + digits[1:] + "\n",
		filePrefix + digits + "\n\n", strings.Repeat("x", 1<<20), "-----BEGIN PRIVATE KEY-----\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := FromFile(t.Context(), path, &memory{})
		refused(t, err, path)
		if err != nil && strings.Contains(err.Error(), digits[2:]) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
	_, err := FromFile(t.Context(), filepath.Dir(path), &memory{})
	refused(t, err, "not a regular file")
}

// Two daemons that start together on a new store agree on one key.
func TestStartTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	meta := &memory{}
	roots := make([]*Root, 8)
	var starts sync.WaitGroup
	for i := range roots {
		starts.Go(func() {
			var err error
			if roots[i], err = FromFile(t.Context(), path, meta); err != nil {
				t.Error(err)
			}
		})
	}
	starts.Wait()
	for _, root := range roots {
		if root == nil || string(root.MAC("x", nil)) != string(roots[0].MAC("x", nil)) {
			t.Fatal("two daemons have two keys")
		}
	}
}

func TestPassphrase(t *testing.T) {
	meta := &memory{}
	first, err := FromPassphrase(t.Context(), []byte("correct horse"), meta)
	if err != nil {
		t.Fatal(err)
	}
	again, err := FromPassphrase(t.Context(), []byte("correct horse"), meta)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.MAC("x", nil)) != string(again.MAC("x", nil)) {
		t.Error("one passphrase gives two keys")
	}
	other, err := FromPassphrase(t.Context(), []byte("correct horse"), &memory{})
	if err != nil {
		t.Fatal(err)
	}
	if string(first.MAC("x", nil)) == string(other.MAC("x", nil)) {
		t.Error("two stores with one passphrase have one key")
	}
	_, err = FromPassphrase(t.Context(), []byte("incorrect horse"), meta)
	refused(t, err, "passphrase")
	if err != nil && strings.Contains(err.Error(), "horse") {
		t.Errorf("the error holds the passphrase: %v", err)
	}
	_, err = FromPassphrase(t.Context(), []byte("short"), meta)
	refused(t, err, "at least")
}

func TestFileAndPassphraseDoNotMix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	byPassphrase, byFile := &memory{}, &memory{}
	if _, err := FromPassphrase(t.Context(), []byte("correct horse"), byPassphrase); err != nil {
		t.Fatal(err)
	}
	if _, err := FromFile(t.Context(), path, byFile); err != nil {
		t.Fatal(err)
	}
	_, err := FromFile(t.Context(), path, byPassphrase)
	refused(t, err, "passphrase")
	_, err = FromPassphrase(t.Context(), []byte("correct horse"), byFile)
	refused(t, err, "file")
}

func TestDamagedSalt(t *testing.T) {
	for _, salt := range []string{"", "x", "argon2id m=1 t=3 p=4 0011223344556677", "argon2id m=65536 t=3 p=4 00", "argon2id m=65536 t=3 p=4 0011223344556677 "} {
		meta := &memory{values: map[string][]byte{MetaSalt: []byte(salt)}}
		if _, err := FromPassphrase(t.Context(), []byte("correct horse"), meta); !fault.Is(err, fault.StoreDamaged) {
			t.Errorf("%q: %v", salt, err)
		}
	}
}

func TestKeyring(t *testing.T) {
	ctx := t.Context()
	root := testRoot(t, 1)
	store := map[string][]byte{}
	loads := 0
	load := func(_ context.Context, token string) ([]byte, error) {
		loads++
		if sealed, ok := store[token]; ok {
			return sealed, nil
		}
		return nil, fault.New(fault.NotFound, "no token %s", token)
	}
	ring := NewKeyring(root, load)
	for _, token := range []string{"a", "b"} {
		sealed, err := ring.NewKey(token)
		if err != nil {
			t.Fatal(err)
		}
		store[token] = sealed
	}
	sealed, err := ring.Seal(ctx, "a", []byte("secret"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	replica := NewKeyring(root, load)
	if got, err := replica.Open(ctx, "a", sealed, []byte("aad")); err != nil || string(got) != "secret" {
		t.Errorf("another replica: %q, %v", got, err)
	}
	for what, f := range map[string]func() ([]byte, error){
		"another token":   func() ([]byte, error) { return ring.Open(ctx, "b", sealed, []byte("aad")) },
		"associated data": func() ([]byte, error) { return ring.Open(ctx, "a", sealed, []byte("aae")) },
		"cut":             func() ([]byte, error) { return ring.Open(ctx, "a", sealed[:9], []byte("aad")) },
	} {
		if got, err := f(); !fault.Is(err, fault.StoreDamaged) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	before := loads
	for range 10 {
		if _, err := ring.Open(ctx, "a", sealed, []byte("aad")); err != nil {
			t.Fatal(err)
		}
	}
	if loads != before {
		t.Errorf("a cached key was loaded %d times", loads-before)
	}

	delete(store, "a")
	ring.Forget("a")
	if _, err := ring.Open(ctx, "a", sealed, []byte("aad")); !fault.Is(err, fault.NotFound) {
		t.Errorf("a deleted token: %v", err)
	}
	// A key swapped between two rows does not open.
	store["a"] = store["b"]
	if _, err := ring.Seal(ctx, "a", nil, nil); !fault.Is(err, fault.StoreDamaged) {
		t.Errorf("a swapped key: %v", err)
	}
}

// A key that is loaded while its token is deleted does not stay in memory.
func TestForgetDuringLoad(t *testing.T) {
	var ring *Keyring
	var sealed []byte
	ring = NewKeyring(testRoot(t, 1), func(context.Context, string) ([]byte, error) {
		ring.Forget("a")
		return sealed, nil
	})
	sealed, _ = ring.NewKey("a")
	if _, err := ring.Seal(t.Context(), "a", nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(ring.boxes) != 0 {
		t.Error("the key stayed")
	}
}

// late is a store whose rotation, begun by a daemon that was killed, is committed while another one starts: after a
// number of looks.
type late struct {
	memory
	looks int
	check []byte
}

func (l *late) look() {
	if l.looks--; l.looks == 0 {
		l.mu.Lock()
		l.values[MetaCheck] = l.check
		l.mu.Unlock()
	}
}

func (l *late) Meta(ctx context.Context, key string) ([]byte, error) {
	l.look()
	return l.memory.Meta(ctx, key)
}

func (l *late) InitMeta(ctx context.Context, key string, value []byte) ([]byte, error) {
	l.look()
	return l.memory.InitMeta(ctx, key, value)
}

func TestOpenWhileARotationIsCommitted(t *testing.T) {
	for looks := 1; looks < 8; looks++ {
		path := filepath.Join(t.TempDir(), "root.key")
		meta := &late{}
		before, err := FromFile(t.Context(), path, meta)
		if err != nil {
			t.Fatal(err)
		}
		if err := CreateKey(NextFile(path)); err != nil {
			t.Fatal(err)
		}
		next, err := Source{File: NextFile(path)}.Read(nil)
		if err != nil {
			t.Fatal(err)
		}
		meta.looks, meta.check = looks, next.Check()
		root, err := Open(t.Context(), Source{File: path}, Source{}, meta)
		if err != nil {
			t.Fatalf("committed at look %d: %v", looks, err)
		}
		current, staged := string(root.Check()), string(root.Staged())
		if current != string(next.Check()) && (current != string(before.Check()) || staged != string(next.Check())) {
			t.Errorf("committed at look %d: the key is neither the new one, nor the old one with the new one staged", looks)
		}
	}
}
