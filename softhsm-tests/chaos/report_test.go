package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anyhsm/anyhsm/softhsm-tests/chaos/history"
)

// report tells which load was held, what was done to it, and how slow it got.
func report(t *testing.T, records []history.Record, done []happened, began, ended time.Time) {
	t.Helper()
	type end struct {
		at   time.Time
		took time.Duration
		what string
	}
	type figures struct {
		ok, failed int
		took       []time.Duration
	}
	begun := map[string]history.Record{}
	kinds := map[history.Kind]*figures{}
	var slowest []end
	var answered []time.Time
	for _, r := range records {
		key := fmt.Sprint(r.Process, "/", r.ID)
		if r.Phase == history.Invoke {
			begun[key] = r
			continue
		}
		from := begun[key]
		f := kinds[from.Kind]
		if f == nil {
			f = &figures{}
			kinds[from.Kind] = f
		}
		took := r.Time.Sub(from.Time)
		f.took = append(f.took, took)
		if r.Phase != history.OK {
			f.failed++
			continue
		}
		f.ok++
		// A read may come from the module's cache.
		if from.Kind == history.Sign || from.Kind == history.Handshake {
			answered = append(answered, r.Time)
		}
		slowest = append(slowest, end{from.Time, took, fmt.Sprintf("%s %s of %s", from.Kind, from.Name, from.Process)})
	}
	var text strings.Builder
	seconds := ended.Sub(began).Seconds()
	fmt.Fprintf(&text, "%-10s %8s %8s %8s %10s %10s %10s\n", "operation", "ok", "failed", "ok/s", "median", "99 %", "slowest")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		f := kinds[kind]
		slices.Sort(f.took)
		at := func(share int) time.Duration {
			return f.took[(len(f.took)-1)*share/100].Round(time.Millisecond / 10)
		}
		fmt.Fprintf(&text, "%-10s %8d %8d %8.1f %10v %10v %10v\n", kind, f.ok, f.failed, float64(f.ok)/seconds, at(50), at(99), at(100))
	}
	counts := map[kind]int{}
	for _, h := range done {
		counts[h.kind]++
	}
	fmt.Fprintf(&text, "%d faults in %.0f s:", len(done), seconds)
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, " %s %d;", k, counts[k])
	}
	text.WriteString("\nslowest calls:\n")
	slices.SortFunc(slowest, func(a, b end) int { return int(b.took - a.took) })
	for _, e := range slowest[:min(5, len(slowest))] {
		fmt.Fprintf(&text, "  %8v at %6.1f s: %s; meanwhile:%s\n", e.took.Round(time.Millisecond), e.at.Sub(began).Seconds(), e.what, during(done, e.at, e.at.Add(e.took)))
	}
	slices.SortFunc(answered, time.Time.Compare)
	var gap time.Duration
	var since time.Time
	for i := 1; i < len(answered); i++ {
		if g := answered[i].Sub(answered[i-1]); g > gap {
			gap, since = g, answered[i-1]
		}
	}
	fmt.Fprintf(&text, "longest time in which nobody got a signature or a handshake: %v, at %.1f s:%s", gap.Round(time.Millisecond), since.Sub(began).Seconds(), during(done, since, since.Add(gap)))
	t.Log("\n" + text.String())
}

// during names the faults that overlapped a time.
func during(done []happened, from, to time.Time) string {
	var names strings.Builder
	for _, h := range done {
		if h.from.Before(to) && h.to.After(from) {
			fmt.Fprintf(&names, " %s (%d, %v)", h.kind, h.target, h.to.Sub(h.from).Round(time.Millisecond))
		}
	}
	return names.String()
}
