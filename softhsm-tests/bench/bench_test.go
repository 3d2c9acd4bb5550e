package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	var sorted []time.Duration
	for i := range 1001 {
		sorted = append(sorted, time.Duration(i))
	}
	for q, want := range map[float64]time.Duration{0: 0, 0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if got := quantile(sorted[7:8], 0.99); got != 7 {
		t.Errorf("the quantile of one is %d", got)
	}
}

func TestMedian(t *testing.T) {
	runs := []figures{{P50: 9}, {Error: "x", P50: 1}, {P50: 3}, {P50: 5}}
	if got := median(runs).P50; got != 5 {
		t.Errorf("the median is %v", got)
	}
	if got := median([]figures{{Error: "a"}, {Error: "b"}}).Error; got != "a" {
		t.Errorf("nothing but errors gives %q", got)
	}
}

func TestRatio(t *testing.T) {
	for name, test := range map[string]struct {
		ours, other figures
		want        float64
		ok          bool
	}{
		"one caller, by p50":    {figures{Threads: 1, Count: 1, P50: 10, PerSecond: 1}, figures{Threads: 1, Count: 1, P50: 25, PerSecond: 9}, 2.5, true},
		"many, by throughput":   {figures{Threads: 4, Count: 1, P50: 10, PerSecond: 300}, figures{Threads: 4, Count: 1, P50: 1, PerSecond: 100}, 3, true},
		"the other cannot":      {figures{Threads: 1, Count: 1, P50: 10}, figures{Threads: 1, Error: "0x70"}, 0, false},
		"ours was not measured": {figures{}, figures{Threads: 1, Count: 1, P50: 10}, 0, false},
	} {
		if got, ok := ratio(test.ours, test.other); got != test.want || ok != test.ok {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}

// TestGoals: every goal and limit is about something that is measured with so many callers.
func TestGoals(t *testing.T) {
	for _, g := range goals {
		o, ok := operationOf(g.op)
		if strings.HasPrefix(g.op, "nginx") {
			continue
		}
		if !ok || !slices.Contains(o.threads, g.threads) || g.ratio <= 0 || g.ours == "anyhsm-tls" && o.near {
			t.Errorf("%+v is never measured", g)
		}
	}
	for _, l := range limits {
		if o, ok := operationOf(l.op); !ok || !slices.Contains(o.threads, l.threads) {
			t.Errorf("%s with %d callers is never measured", l.op, l.threads)
		}
	}
	if got := sizes(operations); !slices.Equal(got, []int{0, thousand, lakh}) {
		t.Errorf("tokens of %v items", got)
	}
}

func TestGoalTable(t *testing.T) {
	r := results{Figures: []figures{
		{Target: "anyhsm", Op: "p256-sign", Threads: 1, Count: 1, P50: 10},
		{Target: "p11-kit", Op: "p256-sign", Threads: 1, Count: 1, P50: 100},
		{Target: "softhsm", Op: "p256-sign", Threads: 1, Count: 1, P50: 11},
		{Target: "softhsm", Op: "gcm-1k", Threads: 1, Error: "0x70"},
		{Target: "anyhsm", Op: "nginx-p256", Threads: clients, Count: 1, PerSecond: 95},
		{Target: keyFile, Op: "nginx-p256", Threads: clients, Count: 1, PerSecond: 100},
		{Target: "anyhsm", Op: "round-trip", Threads: 1, Count: 1, P50: 13},
	}}
	got := r.goalTable()
	for _, want := range []string{
		"2 of 4 goals are reached",
		"| p256-sign | 1 | 11.0 µs | 100 µs | 10.0 µs | – | **10.0** of 2.50 ✓, – of 2.00 | 1.10 of 1.15 ✗, – of 1.00 |\n",
		"| gcm-1k | 1 | – | – | – | – | – of 5.00 | – of 1.60 |\n",
		"| nginx-p256 | 8 | – | – | 95.0/s | – | – of 1.25 | – of 0.95, **0.95** of 0.90 ✓ (key file) |\n",
		"| round-trip, p50 in µs | 1 | ≤ 12.0 | 13.0 ✗ |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the table has no %q:\n%s", want, got)
		}
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1,234", 1234567: "1,234,567"} {
		if got := number(x); got != want {
			t.Errorf("%v is written %s, want %s", x, got, want)
		}
	}
}

func TestReplace(t *testing.T) {
	page := "a\n<!-- bench: x -->\nold\n<!-- end: x -->\nb\n<!-- bench: y -->\n<!-- end: y -->\n"
	got, err := replace(page, map[string]string{"x": "new\n"})
	if want := "a\n<!-- bench: x -->\n\nnew\n\n<!-- end: x -->\nb\n<!-- bench: y -->\n<!-- end: y -->\n"; err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if again, err := replace(got, map[string]string{"x": "new"}); err != nil || again != got {
		t.Errorf("replaced again: %q, %v", again, err)
	}
	if _, err := replace(page, map[string]string{"z": ""}); err == nil {
		t.Error("a mark that is not there is not missed")
	}
}

// TestPage: the page has all marks.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	r := results{Figures: []figures{{}}, Cost: &cost{}, Profile: []profile{{Op: "x"}}}
	if _, err := replace(string(page), r.sections()); err != nil {
		t.Error(err)
	}
}

func TestShares(t *testing.T) {
	samples := `
	ffffffff81 finish_task_switch
	    ffffff do_syscall_64
	     4a3b2 github.com/anyhsm/anyhsm/internal/grpcwire.(*socket).read
	     55555 syscall.read

	     1 runtime.mallocgc
	     2 github.com/anyhsm/anyhsm/internal/softkey.(*Key).signECDSA
	     3 github.com/anyhsm/anyhsm/daemon/internal/keyservice.(*Service).Sign

	     1 runtime.scanObject
	     2 runtime.gcBgMarkWorker

	     7f01 [unknown] (/usr/lib/x86_64-linux-gnu/libcrypto.so.3)
`
	want := []part{{"the operation itself", 0.5}, {"garbage collection", 0.25}, {"reading and waiting for requests (system calls)", 0.25}}
	if got := shares([]byte(samples)); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestStatusField(t *testing.T) {
	status := "Name:\tx\nVmRSS:\t   12345 kB\nThreads:\t7\n"
	if rss, threads, none := statusField(status, "VmRSS"), statusField(status, "Threads"), statusField(status, "VmSwap"); rss != 12345 || threads != 7 || none != -1 {
		t.Errorf("%d, %d, %d", rss, threads, none)
	}
	if spent := cpuOf(os.Getpid()); spent <= 0 {
		t.Errorf("this process has used %d ns", spent)
	}
}

// TestDriver builds the driver and lets it do each operation once with SoftHSM, in a token whose items are copied files.
func TestDriver(t *testing.T) {
	dir := t.TempDir()
	l := &laboratory{dir: dir, driver: filepath.Join(dir, "driver")}
	defer l.end()
	sources, err := filepath.Glob("driver/*.c")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("gcc", append([]string{"-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I../../include", "-o", l.driver, "-ldl", "-lpthread"}, sources...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const items = 40
	if err := l.start([]string{"softhsm"}, []int{items}); err != nil {
		t.Fatal(err)
	}
	tested := l.targets[0]
	for _, o := range operations {
		o.items = items
		if f := l.measure(tested, tested.tokens[items], o, 1, 0.001); f.Error != "" || f.Count == 0 || f.P50 <= 0 || f.P50 > f.P999 || f.Op != o.name {
			t.Errorf("%s: %+v", o.name, f)
		}
	}
}
