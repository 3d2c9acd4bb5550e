package main

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
)

// figures are one line of the driver.
type figures struct {
	Target    string  `json:"target"`
	Op        string  `json:"op"`
	Threads   int     `json:"threads"`
	Count     int     `json:"count"`
	PerSecond float64 `json:"ops_per_s"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	P999      float64 `json:"p999_us"`
	ClientCPU float64 `json:"client_cpu_us"`
	ServerCPU float64 `json:"server_cpu_us"`
	Error     string  `json:"error,omitempty"`
}

// interleaved measures one operation on all targets in turn, several times over.
func (l *laboratory) interleaved(o operation, threads int, seconds float64, rounds int) []figures {
	taken := make([][]figures, len(l.targets))
	for range rounds {
		for i, t := range l.targets {
			if t.name == "anyhsm-tls" && o.near {
				continue
			}
			if on, ok := t.tokens[o.items]; ok {
				taken[i] = append(taken[i], l.measure(t, on, o, threads, seconds))
			}
		}
	}
	var medians []figures
	for _, runs := range taken {
		if len(runs) > 0 {
			medians = append(medians, median(runs))
		}
	}
	return medians
}

func (l *laboratory) measure(t *target, on token, o operation, threads int, seconds float64) figures {
	f := figures{}
	text, err := l.drive(t.module, on, "--op", cmp.Or(o.driver, o.name), "--threads", strconv.Itoa(threads),
		"--items", strconv.Itoa(o.items), "--seconds", strconv.FormatFloat(seconds, 'f', -1, 64))
	if err == nil {
		err = json.Unmarshal([]byte(text), &f)
	}
	if err != nil {
		f.Error = err.Error()
	}
	// The driver knows neither the size of the token nor whose it is.
	f.Target, f.Op, f.Threads = t.name, o.name, threads
	return f
}

// median is the run in the middle, by p50; a run that failed counts only if all did.
func median(runs []figures) figures {
	good := slices.DeleteFunc(slices.Clone(runs), func(f figures) bool { return f.Error != "" })
	if len(good) == 0 {
		return runs[0]
	}
	slices.SortFunc(good, func(a, b figures) int { return cmp.Compare(a.P50, b.P50) })
	return good[len(good)/2]
}
