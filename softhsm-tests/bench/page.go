package main

import (
	"fmt"
	"os"
	"strings"
)

// sections are what the script writes into docs/performance.md; what was not measured this time stays as it is.
func (r *results) sections() map[string]string {
	written := map[string]string{}
	if len(r.Figures) > 0 {
		written["goals"] = fmt.Sprintf("%s: %s. SoftHSM %s, p11-kit %s.\n\n%s", r.Taken, r.Machine, version("softhsm2"), version("p11-kit"), r.goalTable())
		written["figures"] = r.figureTables()
		written["nginx"] = r.nginxTable()
	}
	if r.Cost != nil {
		written["cost"] = fmt.Sprintf("%s: %s.\n\n%s", r.Taken, r.Machine, r.Cost.table())
	}
	if len(r.Profile) > 0 {
		written["profile"] = fmt.Sprintf("%s: %s.\n\n%s", r.Taken, r.Machine, r.profileTable())
	}
	return written
}

// replace puts sections between their marks, which must be there.
func replace(page string, sections map[string]string) (string, error) {
	for name, text := range sections {
		begin, end := fmt.Sprintf("<!-- bench: %s -->\n", name), fmt.Sprintf("<!-- end: %s -->\n", name)
		before, rest, ok1 := strings.Cut(page, begin)
		_, after, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			return "", fmt.Errorf("the page has no %q followed by %q", strings.TrimSpace(begin), strings.TrimSpace(end))
		}
		page = before + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + after
	}
	return page, nil
}

func write(file string, r *results) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err := replace(string(page), r.sections())
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// version is that of a Debian package.
func version(name string) string {
	text, err := output(os.Environ(), "dpkg-query", "-W", "-f", "${Version}", name)
	if err != nil {
		return "unknown"
	}
	return text
}
