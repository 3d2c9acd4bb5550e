package providertest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/curve"
)

var update = flag.Bool("update", false, "write the tables of mechanisms into docs/providers")

// The table stands between these lines of a page.
const (
	beginTable = "<!-- mechanisms: written by go test -update, do not edit -->\n"
	endTable   = "<!-- end of mechanisms -->\n"
)

// Document checks that the table of mechanisms in a page of docs/providers is what the capabilities say. With -update
// it writes it.
func Document(t *testing.T, page string, capabilities provider.Capabilities) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), beginTable)
	_, after, ok2 := strings.Cut(rest, endTable)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for the table: the lines %q and %q", page, beginTable, endTable)
	}
	want := before + beginTable + table(capabilities) + endTable + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is stale: run go test with -update in this package", page)
	}
	if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// table writes capabilities for people.
func table(capabilities provider.Capabilities) string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "\n| mechanism | used to | key sizes | limits |\n|---|---|---|---|\n")
	for _, m := range capabilities.Mechanisms {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", m.Type, strings.Join(uses(m.Flags), ", "), sizes(m), strings.Join(limits(m), "; "))
	}
	var names []string
	for _, params := range capabilities.Curves {
		if c, err := curve.Parse(params); err == nil {
			names = append(names, c.Name)
		}
	}
	fmt.Fprintf(&out, "\nCurves: %s.\n\n", strings.Join(names, ", "))
	if capabilities.MaxData > 0 {
		fmt.Fprintf(&out, "One operation takes %d to %d bytes.\n\n", capabilities.MinData, capabilities.MaxData)
	}
	for _, keyType := range capabilities.NoImport {
		fmt.Fprintf(&out, "Keys of type %s are made there, and not taken from outside.\n\n", keyType)
	}
	if capabilities.OneUse {
		fmt.Fprintf(&out, "A key pair has one use: to sign, or else to decrypt, or else to derive.\n\n")
	}
	if capabilities.OneAlgorithm {
		fmt.Fprintf(&out, "A key has one mechanism, and RSA-PSS and OAEP one hash, chosen by CKA_ALLOWED_MECHANISMS when it is made.\n\n")
	}
	return out.String()
}

func uses(flags cryptoki.Flags) []string {
	var names []string
	for _, use := range []struct {
		flag cryptoki.Flags
		name string
	}{
		{cryptoki.CKF_GENERATE, "generate"},
		{cryptoki.CKF_GENERATE_KEY_PAIR, "generate pairs"},
		{cryptoki.CKF_SIGN, "sign"},
		{cryptoki.CKF_VERIFY, "verify"},
		{cryptoki.CKF_ENCRYPT, "encrypt"},
		{cryptoki.CKF_DECRYPT, "decrypt"},
		{cryptoki.CKF_DERIVE, "derive"},
	} {
		if flags&use.flag != 0 {
			names = append(names, use.name)
		}
	}
	return names
}

func sizes(m provider.Mechanism) string {
	unit := "bits"
	if strings.HasPrefix(m.Type.String(), "CKM_AES") {
		unit = "bytes"
	}
	if strings.HasPrefix(m.Type.String(), "CKM_ML_DSA") {
		unit = "bytes of public key"
	}
	if m.MinSize == m.MaxSize {
		return fmt.Sprintf("%d %s", m.MinSize, unit)
	}
	return fmt.Sprintf("%d to %d %s", m.MinSize, m.MaxSize, unit)
}

func limits(m provider.Mechanism) []string {
	var all []string
	if m.Hashes != nil {
		var names []string
		for _, h := range m.Hashes {
			names = append(names, h.String())
		}
		all = append(all, "only "+strings.Join(names, ", "))
	}
	if m.SameMGF {
		all = append(all, "one hash for data and mask")
	}
	if m.Sizes != nil {
		all = append(all, "only "+strings.Join(strings.Fields(strings.Trim(fmt.Sprint(m.Sizes), "[]")), ", "))
	}
	if m.DigestInfo != nil {
		var names []string
		for _, h := range m.DigestInfo {
			names = append(names, h.String())
		}
		all = append(all, "signs only a DigestInfo of "+strings.Join(names, ", "))
	}
	if m.NoEmpty {
		all = append(all, "does not decrypt an empty message rightly")
	}
	if m.ImplicitRejection {
		all = append(all, "what is wrongly padded decrypts to random bytes, without an error")
	}
	if m.SaltIsHash {
		all = append(all, "salt as long as the hash")
	}
	if m.MinSalt > 0 {
		all = append(all, fmt.Sprintf("a salt of at least %d", m.MinSalt))
	}
	if m.HashSized {
		all = append(all, "at most 64 bytes on P-521")
	}
	if m.IVSize > 0 {
		all = append(all, fmt.Sprintf("an IV of %d bytes", m.IVSize))
	}
	if m.TagSize > 0 {
		all = append(all, fmt.Sprintf("a tag of %d bytes", m.TagSize))
	}
	if m.AnyLength && m.Flags&cryptoki.CKF_SIGN != 0 {
		all = append(all, "messages of any length")
	}
	if m.NoLabel {
		all = append(all, "no label")
	}
	return all
}
