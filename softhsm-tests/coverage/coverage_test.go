// Package coverage writes docs/coverage.md from the module's source and the table of mechanisms, and fails when the
// page is stale. `go test ./softhsm-tests/coverage -update` writes it anew.
package coverage

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/mechanism"
)

var update = flag.Bool("update", false, "write docs/coverage.md")

const root = "../.."

var declaration = regexp.MustCompile(`(?m)^extern CK_RV (C_\w+)\(`)

func TestPage(t *testing.T) {
	page := filepath.Join(root, "docs", "coverage.md")
	want := write(t)
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(page); err != nil || string(got) != want {
		t.Errorf("docs/coverage.md is stale; run go test ./softhsm-tests/coverage -update: %v", err)
	}
}

func write(t *testing.T) string {
	t.Helper()
	header, err := os.ReadFile(filepath.Join(root, "include", "pkcs11.h"))
	if err != nil {
		t.Fatal(err)
	}
	answers := exported(t)
	var done, later []string
	for _, match := range declaration.FindAllStringSubmatch(string(header), -1) {
		name := match[1]
		answer, found := answers[name]
		switch {
		case !found && !inC[name]:
			t.Errorf("%s is in the header but not in p11module", name)
		case answer == "unsupported":
			later = append(later, name)
		default:
			done = append(done, name)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "# Coverage of PKCS#11 3.2\n\nWritten by `go test ./softhsm-tests/coverage -update` from the source.\n\n")
	fmt.Fprintf(&out, "## Functions\n\n%d of %d are implemented:\n\n%s\n\n", len(done), len(done)+len(later), names(done))
	fmt.Fprintf(&out, "These answer CKR_FUNCTION_NOT_SUPPORTED, after the initialised and session checks:\n\n%s\n\n", names(later))
	out.WriteString("C_GetFunctionStatus and C_CancelFunction answer CKR_FUNCTION_NOT_PARALLEL, as the standard demands.\n\n")
	out.WriteString("## Mechanisms\n\nWhat `software` can do, and any other provider as far as its own service can: see `docs/providers`.\n\n")
	out.WriteString("| mechanism | keys | sizes | uses |\n|---|---|---|---|\n")
	for _, info := range mechanism.All() {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", info.Type, keys(info), sizes(info), uses(info.Flags))
	}
	return out.String()
}

// inC are the functions that p11module/front.c answers itself.
var inC = map[string]bool{"C_GetFunctionList": true, "C_GetInterfaceList": true, "C_GetInterface": true}

// exported reads p11module's functions; the value is the function that the whole body calls, if it is one return.
func exported(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "p11module", "abi_*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no abi_*.go: %v", err)
	}
	answers := map[string]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			function, ok := d.(*ast.FuncDecl)
			name, isOurs := "", false
			if ok {
				name, isOurs = strings.CutPrefix(function.Name.Name, "anyhsm_")
			}
			if !isOurs {
				continue
			}
			answers[name] = ""
			if len(function.Body.List) == 1 {
				if r, ok := function.Body.List[0].(*ast.ReturnStmt); ok && len(r.Results) == 1 {
					if c, ok := r.Results[0].(*ast.CallExpr); ok {
						if called, ok := c.Fun.(*ast.Ident); ok {
							answers[name] = called.Name
						}
					}
				}
			}
		}
	}
	return answers
}

func names(functions []string) string { return "`" + strings.Join(functions, "` `") + "`" }

func keys(info mechanism.Info) string {
	var types []string
	for _, t := range info.KeyTypes {
		types = append(types, strings.TrimPrefix(t.String(), "CKK_"))
	}
	return strings.Join(types, ", ")
}

func sizes(info mechanism.Info) string {
	switch {
	case info.MaxSize == 0:
		return ""
	case info.MinSize == info.MaxSize:
		return fmt.Sprint(info.MinSize)
	}
	return fmt.Sprintf("%d–%d", info.MinSize, info.MaxSize)
}

var useNames = []struct {
	flag cryptoki.Flags
	name string
}{
	{cryptoki.CKF_GENERATE, "generate"},
	{cryptoki.CKF_GENERATE_KEY_PAIR, "generate pair"},
	{cryptoki.CKF_SIGN, "sign"},
	{cryptoki.CKF_VERIFY, "verify"},
	{cryptoki.CKF_ENCRYPT, "encrypt"},
	{cryptoki.CKF_DECRYPT, "decrypt"},
	{cryptoki.CKF_DIGEST, "digest"},
	{cryptoki.CKF_DERIVE, "derive"},
	{cryptoki.CKF_WRAP, "wrap"},
	{cryptoki.CKF_UNWRAP, "unwrap"},
}

func uses(flags cryptoki.Flags) string {
	var out []string
	for _, use := range useNames {
		if flags&use.flag != 0 {
			out = append(out, use.name)
		}
	}
	return strings.Join(out, ", ")
}
