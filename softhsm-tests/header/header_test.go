// Package header compares include/pkcs11.h with Debian's p11-kit header: every constant, size and offset that both
// have must agree. Each header is compiled on its own, since they define the same names.
package header

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const ours = "../../include/pkcs11.h"

// The compiled programs must see at least this much in both headers, else the comparison has gone blind.
const (
	leastConstants = 680
	leastStructs   = 21
)

var (
	defined   = regexp.MustCompile(`(?m)^#define (CK[A-Z]?_\w+) +\S`)
	structure = regexp.MustCompile(`(?s)\nstruct (CK_\w+) \{\n(.*?)\n\};`)
	member    = regexp.MustCompile(`(?m)^\s*\w+ (\w+)(?:\[\d+\])?;$`)
	function  = regexp.MustCompile(`(?m)^extern CK_RV (C_\w+)\(`)
)

func theirs(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("pkg-config", "--variable=includedir", "p11-kit-1").Output()
	directory := strings.TrimSpace(string(out))
	if err != nil || directory == "" {
		directory = "/usr/include/p11-kit-1"
	}
	for _, name := range []string{filepath.Join(directory, "p11-kit/pkcs11.h"), "/usr/include/p11-kit-1/p11-kit/pkcs11.h"} {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	t.Fatal("p11-kit's header is not here; install libp11-kit-dev")
	return ""
}

// compile builds a program against one header and returns what it prints.
func compile(t *testing.T, header, body string) (string, error) {
	t.Helper()
	directory := t.TempDir()
	source, program := filepath.Join(directory, "p.c"), filepath.Join(directory, "p")
	path, err := filepath.Abs(header)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#include <stdio.h>\n#include <stddef.h>\n#include %q\nint main(void) {\n%s\nreturn 0; }\n", path, body)
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-std=gnu11", "-w", "-o", program, source).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	out, err := exec.Command(program).Output()
	return string(out), err
}

func read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(ours)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// facts runs the same program against both headers and compares line by line.
func facts(t *testing.T, body string) int {
	t.Helper()
	var lines [2]map[string]string
	for i, header := range []string{ours, theirs(t)} {
		out, err := compile(t, header, body)
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = map[string]string{}
		for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
			name, value, _ := strings.Cut(line, " ")
			lines[i][name] = value
		}
	}
	both := 0
	for name, value := range lines[1] {
		mine, ok := lines[0][name]
		if !ok {
			t.Errorf("p11-kit has %s, ours has not", name)
			continue
		}
		both++
		if mine != value {
			t.Errorf("%s is %s here and %s in p11-kit's header", name, mine, value)
		}
	}
	return both
}

func TestConstants(t *testing.T) {
	var body strings.Builder
	for _, match := range defined.FindAllStringSubmatch(read(t), -1) {
		name := match[1]
		if name == "CK_PTR" || standardDiffers[name] != "" {
			continue
		}
		fmt.Fprintf(&body, "#ifdef %s\nprintf(\"%s %%lu\\n\", (unsigned long)(%s));\n#endif\n", name, name, name)
	}
	if both := facts(t, body.String()); both < leastConstants {
		t.Errorf("compared only %d constants", both)
	}
}

// TestComplete looks for constants of p11-kit's header that ours lacks.
func TestComplete(t *testing.T) {
	text, err := os.ReadFile(theirs(t))
	if err != nil {
		t.Fatal(err)
	}
	mine := map[string]bool{}
	for _, match := range defined.FindAllStringSubmatch(read(t), -1) {
		mine[match[1]] = true
	}
	for _, match := range regexp.MustCompile(`(?m)^#define\s+(CK[A-Z]_\w+)\s+\(?[0-9(]`).FindAllStringSubmatch(string(text), -1) {
		if name := match[1]; !mine[name] && beyondStandard[name] == "" {
			t.Errorf("p11-kit has %s, ours has not", name)
		}
	}
}

func TestStructures(t *testing.T) {
	header := theirs(t)
	var body strings.Builder
	compared := 0
	for _, match := range structure.FindAllStringSubmatch(read(t), -1) {
		name := match[1]
		if strings.HasPrefix(name, "CK_FUNCTION_LIST") {
			continue
		}
		if _, err := compile(t, header, "(void)sizeof("+name+");"); err != nil {
			continue // p11-kit does not have the structure
		}
		compared++
		fmt.Fprintf(&body, "printf(\"%s %%zu\\n\", sizeof(%s));\n", name, name)
		for _, m := range member.FindAllStringSubmatch(match[2], -1) {
			fmt.Fprintf(&body, "printf(\"%s.%s %%zu\\n\", offsetof(%s, %s));\n", name, m[1], name, m[1])
		}
	}
	if compared < leastStructs {
		t.Errorf("compared only %d structures", compared)
	}
	facts(t, body.String())
}

// TestFunctionLists compares the place of each function in the lists.
func TestFunctionLists(t *testing.T) {
	functions := function.FindAllStringSubmatch(read(t), -1)
	if len(functions) != 104 {
		t.Fatalf("the header declares %d functions, the standard 104", len(functions))
	}
	var body strings.Builder
	body.WriteString("printf(\"CK_FUNCTION_LIST %zu\\n\", sizeof(CK_FUNCTION_LIST));\n")
	for _, match := range functions[:68] {
		fmt.Fprintf(&body, "printf(\"%s %%zu\\n\", offsetof(CK_FUNCTION_LIST, %s));\n", match[1], match[1])
	}
	if both := facts(t, body.String()); both != 69 {
		t.Errorf("compared %d members", both)
	}
	// Debian 12's p11-kit ends at 2.40; the longer lists only append.
	out, err := compile(t, ours, `printf("%zu %zu %zu", offsetof(CK_FUNCTION_LIST_3_2, C_WaitForSlotEvent) - offsetof(CK_FUNCTION_LIST, C_WaitForSlotEvent),
		sizeof(CK_FUNCTION_LIST_3_0), sizeof(CK_FUNCTION_LIST_3_2));`)
	if want := fmt.Sprint(0, 8+92*8, 8+104*8); err != nil || out != want {
		t.Errorf("shift of the 2.40 part and sizes of the 3.0 and 3.2 lists: %s, want %s: %v", out, want, err)
	}
}
