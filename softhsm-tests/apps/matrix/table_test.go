package matrix

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The table stands between these lines of the page.
const (
	beginTable = "<!-- applications: written by go test -update, do not edit -->\n"
	endTable   = "<!-- end of applications -->\n"
)

func insert(t *testing.T, page, table string) string {
	t.Helper()
	before, rest, ok1 := strings.Cut(page, beginTable)
	_, after, ok2 := strings.Cut(rest, endTable)
	if !ok1 || !ok2 {
		t.Fatalf("the page has no place for the table: the lines %q and %q", beginTable, endTable)
	}
	return before + beginTable + table + endTable + after
}

// notes numbers reasons in the order in which they are met.
type notes []string

func (n *notes) number(reason string) string {
	i := slices.Index(*n, reason)
	if i < 0 {
		*n = append(*n, reason)
		i = len(*n) - 1
	}
	return fmt.Sprintf("[%d]", i+1)
}

// table writes what all applications did in all places.
func table(all []*place) string {
	var out strings.Builder
	var reasons notes
	fmt.Fprintf(&out, "\n| provider | key | %s |\n|---|---|%s\n", strings.Join(applications, " | "), strings.Repeat("---|", len(applications)))
	for _, p := range all {
		for _, k := range kinds {
			cells := make([]string, len(applications))
			if p.keys[k.label] == nil {
				cells[0] = "no such key " + reasons.number(p.declared.lacksKind(k))
			} else {
				for i, application := range applications {
					cells[i] = p.cell(k, application, &reasons)
				}
			}
			fmt.Fprintf(&out, "| %s | %s | %s |\n", p.name, k.name, strings.Join(cells, " | "))
		}
	}
	out.WriteString("\n")
	for i, reason := range reasons {
		fmt.Fprintf(&out, "%d. %s\n", i+1, reason)
	}
	out.WriteString("\n")
	return out.String()
}

// cell names what works, and what does not with the reason.
func (p *place) cell(k kind, application string, reasons *notes) string {
	if why := k.not[application]; why != "" {
		return "no " + reasons.number(why)
	}
	var works, fails []string
	for _, o := range p.outcomes[k.label+" "+application] {
		if o.why == "" {
			works = append(works, o.name)
		} else {
			fails = append(fails, "no "+o.name+" "+reasons.number(o.why))
		}
	}
	return strings.Join(append(works, fails...), ", ")
}
