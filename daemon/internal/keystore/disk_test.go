package keystore

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/anyhsm/anyhsm/daemon/internal/audit"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// fill makes objects until the store takes no more, and returns how many it took.
func fill(t *testing.T, s *Store, token string, first int) int {
	t.Helper()
	for n := first; n < first+20_000; n++ {
		if _, err := makeObject(t.Context(), s, token, n); err != nil {
			wantKind(t, "a full disk", err, fault.DeviceMemory)
			return n
		}
	}
	t.Fatal("the disk does not get full")
	return 0
}

// wantFull checks that a full store refuses changes, keeps what it has, and still answers.
func wantFull(t *testing.T, s *Store, token string, objects int) {
	t.Helper()
	ctx := t.Context()
	_, err := makeObject(ctx, s, token, objects)
	wantKind(t, "another object", err, fault.DeviceMemory)
	for range 200 { // until the last free bytes of the last page are used
		if err = s.AppendEvents(ctx, []audit.Event{{Operation: "sign", Detail: fmt.Sprintf("%01000d", 0)}}); err != nil {
			break
		}
	}
	wantKind(t, "an audit event", err, fault.DeviceMemory)
	if n, err := s.CountObjects(ctx, token); err != nil || n != uint64(objects) {
		t.Errorf("%d objects, %v, want %d", n, err, objects)
	}
	wantVerified(t, s)
}

// The store's own limit of pages stands for a full disk where no file system can be mounted.
func TestFullByPages(t *testing.T) {
	s := onSQLite.fresh(t)
	token := newToken(t, s, "a")
	if _, err := s.write.Exec("PRAGMA max_page_count = 150"); err != nil {
		t.Fatal(err)
	}
	objects := fill(t, s, token.UID, 0)
	wantFull(t, s, token.UID, objects)
	if _, err := s.write.Exec("PRAGMA max_page_count = 100000"); err != nil {
		t.Fatal(err)
	}
	if replayed, err := makeObject(t.Context(), s, token.UID, objects); err != nil || replayed {
		t.Errorf("when there is room again: %v, %v", replayed, err)
	}
	wantVerified(t, s)
}

// A real full disk: a small file system in memory. Only root can mount one; TestFullByPages runs everywhere.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Logf("no file system can be mounted here (%v)", err)
		return
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.db")
	s := open(t, path)
	token := newToken(t, s, "a")
	objects := fill(t, s, token.UID, 0)
	wantFull(t, s, token.UID, objects)
	looked := false
	_, err := s.TryPIN(t.Context(), token.UID, true, 3, func(string) bool { looked = true; return true })
	if err != nil {
		wantKind(t, "a PIN that cannot be counted", err, fault.DeviceMemory)
		if looked {
			t.Error("the PIN was looked at before it was counted")
		}
	}

	// A restart on the full disk works, or says what is wrong.
	s.Close()
	again, err := Open(t.Context(), path)
	if err == nil {
		again.Authenticate(keyed("root"))
		if n, err := again.CountObjects(t.Context(), token.UID); err != nil || n != uint64(objects) {
			t.Errorf("after a restart: %d objects, %v", n, err)
		}
		again.Close()
	} else {
		wantKind(t, "a restart", err, fault.DeviceMemory)
	}
	_, err = Open(t.Context(), filepath.Join(dir, "new.db"))
	if err != nil {
		wantKind(t, "a new store", err, fault.DeviceMemory)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if replayed, err := makeObject(t.Context(), s, token.UID, objects); err != nil || replayed {
		t.Errorf("when there is room again: %v, %v", replayed, err)
	}
	wantVerified(t, s)
}
