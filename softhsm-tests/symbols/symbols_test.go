// Package symbols looks at the module as the dynamic loader sees it.
package symbols

import (
	"debug/elf"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

func open(t *testing.T) *elf.File {
	t.Helper()
	file, err := elf.Open(daemontest.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestExports holds the dynamic symbols against the header: each function of the standard and nothing else, so that no
// name of the Go runtime meets that of another Go image in the process.
func TestExports(t *testing.T) {
	header, err := os.ReadFile(filepath.Join(daemontest.Root(), "include", "pkcs11.h"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, match := range regexp.MustCompile(`extern CK_RV (C_\w+)\(`).FindAllSubmatch(header, -1) {
		want = append(want, string(match[1]))
	}
	if len(want) != 104 {
		t.Fatalf("the header has %d functions, PKCS#11 3.2 has 104", len(want))
	}
	symbols, err := open(t).DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, symbol := range symbols {
		if symbol.Section == elf.SHN_UNDEF {
			continue
		}
		got = append(got, symbol.Name)
		if elf.ST_TYPE(symbol.Info) != elf.STT_FUNC {
			t.Errorf("%s is no function", symbol.Name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("exported: %q\nwant: %q", got, want)
	}
}

// TestLibraries allows the C library only: whatever else a module pulled in would meet the host's own copy.
func TestLibraries(t *testing.T) {
	libraries, err := open(t).ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, library := range libraries {
		if !slices.Contains([]string{"libc.so.6", "libpthread.so.0", "libdl.so.2", "libresolv.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}, library) {
			t.Errorf("the module needs %s", library)
		}
	}
}

// TestFlags: the image must never be unmapped (Go's threads run in it), its own names come first, and neither its stack
// nor its code may be written and executed.
func TestFlags(t *testing.T) {
	file := open(t)
	flags, err := file.DynValue(elf.DT_FLAGS_1)
	if err != nil || len(flags) != 1 || elf.DynFlag1(flags[0])&elf.DF_1_NODELETE == 0 {
		t.Errorf("DT_FLAGS_1 is %x (%v), without NODELETE", flags, err)
	}
	for _, segment := range file.Progs {
		if segment.Flags&elf.PF_W != 0 && segment.Flags&elf.PF_X != 0 {
			t.Errorf("a segment of type %v is writable and executable", segment.Type)
		}
	}
	for _, name := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		if values, err := file.DynString(name); err == nil && len(values) > 0 {
			t.Errorf("%v is %q: the host's libraries must be found as the host finds them", name, values)
		}
	}
}

// TestSize holds the module against a budget: each process that loads it maps and relocates it, and a fork copies it.
func TestSize(t *testing.T) {
	const budget = 13 << 20
	info, err := os.Stat(daemontest.Module(t))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > budget {
		t.Errorf("the module has %d bytes, its budget is %d; look with `go tool nm -size -sort size` at what came in", info.Size(), budget)
	}
}
