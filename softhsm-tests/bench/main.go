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
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// choice is what the command line says.
type choice struct {
	seconds            float64
	threads, ops       []string
	targets, parts     []string
	rounds             int
	build, json, write string
}

func main() {
	var c choice
	flag.Float64Var(&c.seconds, "seconds", 0.3, "how long each figure is measured")
	threads := flag.String("threads", "1,4,16,64", "numbers of calling threads, of those that an operation is measured with")
	ops := flag.String("ops", strings.Join(names(), ","), "operations")
	targets := flag.String("targets", "softhsm,p11-kit,anyhsm,anyhsm-tls", "modules: softhsm, p11-kit, anyhsm, anyhsm-tls (loopback TCP), anyhsm-grpc-go (grpc-go on both sides)")
	chosen := flag.String("parts", "calls,nginx,profile,cost", "calls: the operations; nginx: handshakes; profile: where the daemon's time goes; cost: memory, threads, growth")
	flag.IntVar(&c.rounds, "rounds", 1, "how often to measure each figure; the median by p50 counts")
	flag.StringVar(&c.build, "build", "build", "where the module, the daemon and the CLI are")
	flag.StringVar(&c.json, "json", "", "also write all figures to this `file`")
	flag.StringVar(&c.write, "write", "", "also write the tables into this `page`, between their marks")
	flag.Parse()
	split := func(list string) []string { return strings.Split(list, ",") }
	c.threads, c.ops, c.targets, c.parts = split(*threads), split(*ops), split(*targets), split(*chosen)
	if err := c.run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (c choice) run() error {
	var ops []operation
	for _, name := range c.ops {
		o, ok := operationOf(name)
		if !ok {
			return fmt.Errorf("-ops %s: there is no such operation; choose from %s", name, strings.Join(names(), ", "))
		}
		ops = append(ops, o)
	}
	if !slices.Contains(c.parts, "calls") {
		ops = nil
	}
	dir, err := os.MkdirTemp("", "anyhsm-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	bin, err := filepath.Abs(c.build)
	if err != nil {
		return err
	}
	l := &laboratory{dir: dir, build: bin, driver: filepath.Join(bin, "bench-driver")}
	defer l.end()
	r := &results{Machine: machine(), Taken: time.Now().Format("2006-01-02 15:04"), Targets: c.targets}
	if slices.ContainsFunc(c.parts, func(part string) bool { return part != "cost" }) {
		progress("starting %s", strings.Join(c.targets, ", "))
		wanted := sizes(ops)
		if slices.Contains(c.parts, "nginx") {
			wanted = append(wanted, forTLS)
		}
		if err := l.start(c.targets, wanted); err != nil {
			return err
		}
	}
	for _, o := range ops {
		for _, n := range o.threads {
			if slices.Contains(c.threads, strconv.Itoa(n)) {
				progress("%s, %d", o.name, n)
				r.Figures = append(r.Figures, l.interleaved(o, n, c.seconds, c.rounds)...)
			}
		}
	}
	if slices.Contains(c.parts, "nginx") {
		progress("nginx")
		handshakes, err := l.nginx(3*c.seconds, c.rounds)
		if err != nil {
			return err
		}
		r.Figures = append(r.Figures, handshakes...)
	}
	if slices.Contains(c.parts, "profile") && havePerf() {
		for _, p := range []profile{{Op: "round-trip", Threads: 1}, {Op: "hmac-sha256", Threads: 16}, {Op: "p256-sign", Threads: 1}, {Op: "p256-sign", Threads: 16}} {
			progress("profile of %s, %d", p.Op, p.Threads)
			if p.Parts, err = l.profile(p.Op, p.Threads); err != nil {
				return err
			}
			r.Profile = append(r.Profile, p)
		}
	}
	if slices.Contains(c.parts, "cost") {
		progress("cost")
		l.end()
		if r.Cost, err = l.cost(c.seconds); err != nil {
			return err
		}
	}
	return c.tell(r)
}

// tell prints the tables, and writes them where they are wanted.
func (c choice) tell(r *results) error {
	fmt.Printf("%s: %s\n", r.Taken, r.Machine)
	if len(r.Figures) > 0 {
		fmt.Printf("\n%s\n%s\n%s\n", r.figureTable(func(figures) bool { return true }), r.nginxTable(), r.goalTable())
		for _, f := range r.Figures {
			if f.Error != "" {
				fmt.Fprintf(os.Stderr, "bench: %s, %s, %d callers: %s\n", f.Op, f.Target, f.Threads, strings.TrimSpace(f.Error))
			}
		}
	}
	if len(r.Profile) > 0 {
		fmt.Println(r.profileTable())
	}
	if r.Cost != nil {
		fmt.Println(r.Cost.table())
	}
	if c.json != "" {
		text, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.json, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if c.write != "" {
		return write(c.write, r)
	}
	return nil
}

// progress says on standard error what is being measured.
func progress(format string, arguments ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", arguments...)
}
