package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// results are all that a run found out, as -json writes it.
type results struct {
	Machine string    `json:"machine"`
	Taken   string    `json:"taken"`
	Targets []string  `json:"targets"`
	Figures []figures `json:"figures"`
	Cost    *cost     `json:"cost,omitempty"`
	Profile []profile `json:"profile,omitempty"`
}

// profile is where the daemon's time goes in one operation.
type profile struct {
	Op      string `json:"op"`
	Threads int    `json:"threads"`
	Parts   []part `json:"parts"`
}

func (r *results) find(op, target string, threads int) (figures, bool) {
	i := slices.IndexFunc(r.Figures, func(f figures) bool { return f.Op == op && f.Target == target && f.Threads == threads })
	if i < 0 || r.Figures[i].Error != "" {
		return figures{}, false
	}
	return r.Figures[i], true
}

// goalTable compares with issue 4's goals: a row for each operation and number of callers that has one.
func (r *results) goalTable() string {
	type row struct {
		op      string
		threads int
	}
	var rows []row
	for _, g := range goals {
		if at := (row{g.op, g.threads}); !slices.Contains(rows, at) {
			rows = append(rows, at)
		}
	}
	place := func(op string) int {
		if i := slices.IndexFunc(operations, func(o operation) bool { return o.name == op }); i >= 0 {
			return i
		}
		return len(operations)
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		if a.op == b.op {
			return a.threads - b.threads
		}
		return place(a.op) - place(b.op)
	})
	var text strings.Builder
	text.WriteString("| operation | callers | SoftHSM | p11-kit | ours | ours, TLS | against p11-kit | against SoftHSM |\n|---|---|---|---|---|---|---|---|\n")
	reached, of := 0, 0
	judge := func(at row, other string) string {
		var cells []string
		for _, g := range goals {
			if g.op != at.op || g.threads != at.threads || g.against != other {
				continue
			}
			ours, ok1 := r.find(g.op, g.ours, g.threads)
			others, ok2 := r.find(g.op, g.against, g.threads)
			measured, ok := ratio(ours, others)
			if !ok || !ok1 || !ok2 {
				cells = append(cells, fmt.Sprintf("– of %s", number(g.ratio)))
				continue
			}
			of++
			cell := fmt.Sprintf("%s of %s ✗", number(measured), number(g.ratio))
			if measured >= g.ratio {
				reached++
				cell = fmt.Sprintf("**%s** of %s ✓", number(measured), number(g.ratio))
			}
			if g.ours == "anyhsm-tls" {
				cell += " (TLS)"
			}
			if other == keyFile {
				cell += " (key file)"
			}
			cells = append(cells, cell)
		}
		return strings.Join(cells, ", ")
	}
	for _, at := range rows {
		unit, cells := "/s", []string{}
		if at.threads == 1 {
			unit = " µs"
		}
		for _, target := range []string{"softhsm", "p11-kit", "anyhsm", "anyhsm-tls"} {
			cell := "–"
			if f, ok := r.find(at.op, target, at.threads); ok {
				figure := f.PerSecond
				if at.threads == 1 {
					figure = f.P50
				}
				cell = number(figure) + unit
			}
			cells = append(cells, cell)
		}
		others := judge(at, "softhsm")
		if file := judge(at, keyFile); file != "" {
			others += ", " + file
		}
		fmt.Fprintf(&text, "| %s | %d | %s | %s | %s |\n", at.op, at.threads, strings.Join(cells, " | "), judge(at, "p11-kit"), others)
	}
	text.WriteString("\n| limit | callers | wanted | measured |\n|---|---|---|---|\n")
	for _, l := range limits {
		f, ok := r.find(l.op, "anyhsm", l.threads)
		if !ok {
			continue
		}
		of++
		sign, mark := "≥", "✗"
		if l.most {
			sign = "≤"
		}
		if l.reached(f) {
			reached++
			mark = "✓"
		}
		fmt.Fprintf(&text, "| %s, %s | %d | %s %s | %s %s |\n", l.op, l.what, l.threads, sign, number(l.figure), number(l.of(f)), mark)
	}
	return fmt.Sprintf("%d of %d goals are reached (✓).\n\n%s", reached, of, text.String())
}

// figureTables have everything that was measured, a table for each number of callers.
func (r *results) figureTables() string {
	var threads []int
	for _, f := range r.Figures {
		if !slices.Contains(threads, f.Threads) && !strings.HasPrefix(f.Op, "nginx") {
			threads = append(threads, f.Threads)
		}
	}
	slices.Sort(threads)
	var text strings.Builder
	for _, n := range threads {
		plural := "s"
		if n == 1 {
			plural = ""
		}
		fmt.Fprintf(&text, "<details><summary>%d caller%s</summary>\n\n%s</details>\n\n", n, plural, r.figureTable(func(f figures) bool {
			return f.Threads == n && !strings.HasPrefix(f.Op, "nginx")
		}))
	}
	return text.String()
}

const figureHead = "| operation | module | p50 µs | p99 µs | p99.9 µs | operations/s | CPU of caller + server, µs |\n|---|---|---|---|---|---|---|\n"

func (r *results) figureTable(chosen func(figures) bool) string {
	var text strings.Builder
	text.WriteString(figureHead)
	for _, f := range r.Figures {
		switch {
		case !chosen(f):
		case f.Error != "":
			fmt.Fprintf(&text, "| %s | %s | – | – | – | – | – |\n", f.Op, f.Target)
		default:
			fmt.Fprintf(&text, "| %s | %s | %s | %s | %s | %s | %s + %s |\n", f.Op, f.Target, number(f.P50), number(f.P99), number(f.P999),
				number(f.PerSecond), number(f.ClientCPU), number(f.ServerCPU))
		}
	}
	return text.String()
}

func (r *results) nginxTable() string {
	var text strings.Builder
	text.WriteString("| handshakes a second | key file | SoftHSM | p11-kit | ours | ours, TLS |\n|---|---|---|---|---|---|\n")
	for _, op := range []string{"nginx-p256", "nginx-rsa2048"} {
		fmt.Fprintf(&text, "| %s |", op)
		for _, target := range []string{keyFile, "softhsm", "p11-kit", "anyhsm", "anyhsm-tls"} {
			cell := "–"
			if f, ok := r.find(op, target, clients); ok {
				cell = number(f.PerSecond)
			}
			fmt.Fprintf(&text, " %s |", cell)
		}
		text.WriteString("\n")
	}
	return text.String()
}

func (c *cost) table() string {
	var text strings.Builder
	fmt.Fprintf(&text, "The module adds %.1f MB of resident memory, %d threads and %s µs of CPU a second to a C process that has signed once and then waits.\n\n",
		float64(c.Module.Kilobytes)/1024, c.Module.Threads, number(c.Module.CPU))
	text.WriteString("| idle connections | daemon's memory, MB | threads | CPU µs/s |\n|---|---|---|---|\n")
	for _, step := range connectionSteps {
		if u, ok := c.Connections[step]; ok {
			fmt.Fprintf(&text, "| %s | %.1f | %d | %s |\n", number(float64(step)), float64(u.Kilobytes)/1024, u.Threads, number(u.CPU))
		}
	}
	text.WriteString("\n| objects in the token | find by label, p50 µs | p99 µs | process start to first signature, ms | daemon's memory, MB |\n|---|---|---|---|---|\n")
	for _, g := range c.Sizes {
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %.1f |\n", number(float64(g.Items)), number(g.Find.P50), number(g.Find.P99), number(g.Start.P50/1000), float64(g.Daemon.Kilobytes)/1024)
	}
	return text.String()
}

func (r *results) profileTable() string {
	if len(r.Profile) == 0 {
		return "perf is not installed, or could not be used.\n"
	}
	var text, line strings.Builder
	var names []string
	text.WriteString("| part |")
	for _, p := range r.Profile {
		plural := "s"
		if p.Threads == 1 {
			plural = ""
		}
		fmt.Fprintf(&text, " %s, %d caller%s |", p.Op, p.Threads, plural)
		line.WriteString("---|")
		for _, part := range p.Parts {
			if !slices.Contains(names, part.Name) {
				names = append(names, part.Name)
			}
		}
	}
	fmt.Fprintf(&text, "\n|---|%s\n", line.String())
	for _, name := range names {
		fmt.Fprintf(&text, "| %s |", name)
		for _, p := range r.Profile {
			cell := "–"
			if i := slices.IndexFunc(p.Parts, func(part part) bool { return part.Name == name }); i >= 0 {
				cell = fmt.Sprintf("%.0f %%", 100*p.Parts[i].Share)
			}
			fmt.Fprintf(&text, " %s |", cell)
		}
		text.WriteString("\n")
	}
	return text.String()
}

// number writes a figure with as many digits as mean something.
func number(x float64) string {
	switch {
	case x < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	text := strconv.FormatFloat(x, 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
