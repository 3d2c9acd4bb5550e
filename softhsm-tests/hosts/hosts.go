// Package hosts runs C programs that load the module as applications do: they fork, race, catch signals and call with
// arguments that make no sense. Each programs/*.c is one host; the tests compile and run them.
package hosts

import (
	"fmt"
	"regexp"
	"strings"
)

var prototype = regexp.MustCompile(`(?s)extern CK_RV (C_\w+)\(([^)]*)\);`)

// Signatures makes signatures.h from pkcs11.h: a letter per parameter of each function, s for a session, p for a
// pointer, u for a number.
func Signatures(header string) string {
	var b strings.Builder
	for _, f := range prototype.FindAllStringSubmatch(header, -1) {
		letters := ""
		for parameter := range strings.SplitSeq(f[2], ",") {
			switch kind := strings.Fields(parameter)[0]; {
			case kind == "CK_SESSION_HANDLE":
				letters += "s"
			case strings.HasSuffix(kind, "_PTR"), kind == "CK_NOTIFY":
				letters += "p"
			default:
				letters += "u"
			}
		}
		fmt.Fprintf(&b, "FUNCTION(%s, %q)\n", f[1], letters)
	}
	return b.String()
}
