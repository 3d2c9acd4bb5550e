package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// show prints a result: as JSON for machines, or as people writes it.
func (c *cli) show(value any, people func(w io.Writer)) error {
	if !c.json {
		people(c.Out)
		return nil
	}
	encoder := json.NewEncoder(c.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// table prints rows under a header, in columns.
func table(w io.Writer, header []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	writeRow(t, header)
	for _, row := range rows {
		writeRow(t, row)
	}
	_ = t.Flush()
}

// fields prints names and values, one pair a line; pairs without a value are left out.
func fields(w io.Writer, pairs ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			_, _ = fmt.Fprintf(t, "%s:\t%s\n", pairs[i], clean(pairs[i+1]))
		}
	}
	_ = t.Flush()
}

func writeRow(w io.Writer, cells []string) {
	cleaned := make([]string, len(cells))
	for i, cell := range cells {
		if cell == "" {
			cell = "-"
		}
		cleaned[i] = clean(cell)
	}
	_, _ = fmt.Fprintln(w, strings.Join(cleaned, "\t"))
}

// clean makes text harmless for a terminal: labels are whatever an application wrote, also escape sequences.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r) {
			return '�'
		}
		return r
	}, text)
}

// stamp is a time for machines; nil for none.
func stamp(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	utc := t.AsTime().UTC()
	return &utc
}

// yesNo is a truth for people.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// list makes an empty JSON list of nil, so that machines always find a list.
func list[T any](values []T) []T {
	if values == nil {
		return []T{}
	}
	return values
}
