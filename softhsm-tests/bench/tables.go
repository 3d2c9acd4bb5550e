package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// median is the run in the middle, by p50; a run that failed counts only if all did.
func median(runs []figures) figures {
	good := slices.DeleteFunc(slices.Clone(runs), func(f figures) bool { return f.Error != "" })
	if len(good) == 0 {
		return runs[0]
	}
	slices.SortFunc(good, func(a, b figures) int {
		switch {
		case a.P50 < b.P50:
			return -1
		case a.P50 > b.P50:
			return 1
		}
		return 0
	})
	return good[len(good)/2]
}

// tables prints a table for each number of threads, and what each target is worth compared with the others.
func tables(w io.Writer, targets []*target, all []figures) {
	fmt.Fprintln(w, machine())
	var threads []int
	for _, f := range all {
		if !slices.Contains(threads, f.Threads) {
			threads = append(threads, f.Threads)
		}
	}
	for _, n := range threads {
		fmt.Fprintf(w, "\n### %d calling thread(s)\n\n| operation | target | p50 µs | p99 µs | p99.9 µs | operations/s | CPU µs/op caller + server | against the others |\n|---|---|---|---|---|---|---|---|\n", n)
		for len(all) > 0 && len(targets) > 0 {
			at := slices.IndexFunc(all, func(f figures) bool { return f.Threads == n })
			if at < 0 {
				break
			}
			group := all[at : at+len(targets)]
			for _, f := range group {
				row(w, f, group, n)
			}
			all = slices.Delete(slices.Clone(all), at, at+len(targets))
		}
	}
}

func row(w io.Writer, f figures, group []figures, threads int) {
	if f.Error != "" {
		fmt.Fprintf(w, "| %s | %s | – | – | – | – | – | %s |\n", f.Op, f.Target, f.Error)
		return
	}
	var ratios []string
	for _, other := range group {
		if other.Target == f.Target || other.Error != "" || !strings.HasPrefix(f.Target, "anyhsm") {
			continue
		}
		// One caller is served when its call is over, many when many calls are.
		ratio := f.PerSecond / other.PerSecond
		if threads == 1 {
			ratio = other.P50 / f.P50
		}
		ratios = append(ratios, fmt.Sprintf("%.2f × %s", ratio, other.Target))
	}
	fmt.Fprintf(w, "| %s | %s | %.1f | %.0f | %.0f | %.0f | %.1f + %.1f | %s |\n", f.Op, f.Target, f.P50, f.P99, f.P999,
		f.PerSecond, f.ClientCPU, f.ServerCPU, strings.Join(ratios, ", "))
}
