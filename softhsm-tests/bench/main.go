// Command bench measures PKCS#11 modules against each other: SoftHSM in the caller's process, p11-kit's remote in front
// of SoftHSM, and ours in front of the software provider. Each figure is taken from one after the other before the next
// one is, so that whatever else the machine does hits all of them; the ratios mean more than the figures.
//
// Run it through `make bench`, which builds everything first.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// operations are those of driver/operations.c, in the order of the tables.
var operations = []string{
	"round-trip", "p256-sign", "rsa2048-sign", "gcm-1k", "hmac-sha256", "p256-verify", "rsa2048-verify", "find-sign",
	"attribute", "session", "random-32", "digest-256", "start",
}

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

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	seconds := flag.Float64("seconds", 0.35, "how long each figure is measured")
	threads := flag.String("threads", "1,4,16", "numbers of calling threads")
	ops := flag.String("ops", strings.Join(operations, ","), "operations")
	targets := flag.String("targets", "softhsm,p11-kit,anyhsm", "modules: softhsm, p11-kit, anyhsm, anyhsm-grpc-go (grpc-go on both sides), anyhsm-tls (loopback TCP)")
	rounds := flag.Int("rounds", 1, "how often to measure each figure; the median by p50 counts")
	build := flag.String("build", "build", "where the module, the daemon and the CLI are")
	out := flag.String("json", "", "also write all figures to this `file`")
	flag.Parse()

	dir, err := os.MkdirTemp("", "anyhsm-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin, err := filepath.Abs(*build)
	if err != nil {
		return err
	}
	l := &laboratory{dir: dir, build: bin, driver: filepath.Join(bin, "bench-driver")}
	defer l.end()
	if err := l.start(strings.Split(*targets, ",")); err != nil {
		return err
	}
	var all []figures
	for _, op := range strings.Split(*ops, ",") {
		for _, number := range strings.Split(*threads, ",") {
			callers, err := strconv.Atoi(number)
			if err != nil {
				return fmt.Errorf("-threads %s: %w", *threads, err)
			}
			if op == "start" && callers != 1 {
				continue
			}
			all = append(all, l.interleaved(op, callers, *seconds, *rounds)...)
		}
	}
	tables(os.Stdout, l.targets, all)
	if *out == "" {
		return nil
	}
	text, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(text, '\n'), 0o644)
}

// interleaved measures one operation on all targets in turn, several times over.
func (l *laboratory) interleaved(op string, threads int, seconds float64, rounds int) []figures {
	taken := make([][]figures, len(l.targets))
	for range rounds {
		for i, target := range l.targets {
			taken[i] = append(taken[i], l.measure(target, op, threads, seconds))
		}
	}
	medians := make([]figures, len(l.targets))
	for i := range taken {
		medians[i] = median(taken[i])
	}
	return medians
}

func (l *laboratory) measure(target *target, op string, threads int, seconds float64) figures {
	f := figures{Target: target.name, Op: op, Threads: threads}
	command := exec.Command(l.driver, append(target.arguments(), "--op", op, "--threads", strconv.Itoa(threads),
		"--seconds", strconv.FormatFloat(seconds, 'f', -1, 64), "--server", strconv.Itoa(target.server))...)
	command.Env = append(os.Environ(), target.env...)
	command.Stderr = os.Stderr
	text, err := command.Output()
	if len(text) == 0 {
		f.Error = fmt.Sprintf("the driver said nothing: %v", err)
		return f
	}
	if err := json.Unmarshal(text, &f); err != nil {
		f.Error = err.Error()
	}
	return f
}
