package diagnosis

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// ModuleName is the file that applications load.
const ModuleName = "anyhsm-pkcs11.so"

// machines are the ELF machines of Go's architectures that we build for.
var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM, "riscv64": elf.EM_RISCV,
	"ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH,
}

// ModulePaths lists where the module is usually put: beside this program, and where p11-kit looks.
func ModulePaths() []string {
	var paths []string
	if program, err := os.Executable(); err == nil {
		paths = append(paths, filepath.Join(filepath.Dir(program), ModuleName))
	}
	for _, pattern := range []string{"/usr/local/lib", "/usr/local/lib/pkcs11", "/usr/lib/anyhsm", "/usr/lib/*/pkcs11", "/usr/lib/pkcs11", "/usr/lib64/pkcs11", "/opt/anyhsm/lib"} {
		directories, _ := filepath.Glob(pattern)
		for _, directory := range directories {
			paths = append(paths, filepath.Join(directory, ModuleName))
		}
	}
	return paths
}

// Module checks the module's file: at path, or the first of the usual places.
func Module(path string) Finding {
	if path == "" {
		paths := ModulePaths()
		at := slices.IndexFunc(paths, func(p string) bool { _, err := os.Stat(p); return err == nil })
		if at < 0 {
			return Finding{
				"module", Warning, ModuleName + " is not in " + strings.Join(paths, ", "),
				"name the file that the application loads with --module",
			}
		}
		path = paths[at]
	}
	if err := loadable(path); err != nil {
		step := "build it anew: make build"
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			step = "correct the path, or its permissions"
		}
		return Finding{"module", Problem, fmt.Sprintf("%s: %v", path, err), step}
	}
	return Finding{Check: "module", Result: OK, Detail: path}
}

// loadable tells why a process of this architecture could not load the file as a PKCS#11 module.
func loadable(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.New("this is no ELF file")
		}
		return err
	}
	defer file.Close()
	if want, known := machines[runtime.GOARCH]; known && file.Machine != want {
		return fmt.Errorf("it is built for %s, this host is %s", file.Machine, want)
	}
	if file.Type != elf.ET_DYN {
		return fmt.Errorf("it is no shared library but %s", file.Type)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("it exports nothing: %w", err)
	}
	for _, s := range symbols {
		if s.Name == "C_GetFunctionList" && s.Section != elf.SHN_UNDEF {
			return nil
		}
	}
	return errors.New("it does not export C_GetFunctionList: it is no PKCS#11 module")
}
