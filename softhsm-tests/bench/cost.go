package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// use is what a process takes at rest.
type use struct {
	Kilobytes int     `json:"kilobytes"`
	Threads   int     `json:"threads"`
	CPU       float64 `json:"cpu_us_per_s"`
}

// cost is what module and daemon take besides time.
type cost struct {
	// Module is what ours adds to a C process that waits.
	Module use `json:"module"`
	// Connections is the daemon at rest, by the number of idle connections.
	Connections map[int]use `json:"connections"`
	// Sizes is the search by label in tokens of so many objects, and what the daemon takes afterwards.
	Sizes []growth `json:"sizes"`
}

type growth struct {
	Items int     `json:"items"`
	Find  figures `json:"find"`
	Start figures `json:"start"`
	// Daemon is after both.
	Daemon use `json:"daemon"`
}

// The steps of the growth curves.
var (
	connectionSteps = []int{0, 100, 1000, 10_000}
	sizeSteps       = []int{1000, 10_000, lakh, 1_000_000}
)

// cost measures on daemons of their own.
func (l *laboratory) cost(seconds float64) (*cost, error) {
	c := &cost{Connections: map[int]use{}}
	idle := &target{name: "idle", tokens: map[int]token{}}
	if err := l.anyHSM(idle, []int{0}); err != nil {
		return nil, err
	}
	text, err := l.drive(idle.module, idle.tokens[0], "--op", "idle")
	if err == nil {
		err = json.Unmarshal([]byte(text), &c.Module)
	}
	if err != nil {
		return nil, fmt.Errorf("the module at rest: %w", err)
	}
	if err := l.connections(c, idle.tokens[0].server); err != nil {
		return nil, fmt.Errorf("idle connections: %w", err)
	}
	return c, l.grow(c, seconds)
}

// connections opens connections as the module does and leaves them alone.
func (l *laboratory) connections(c *cost, daemon int) error {
	var open []net.Conn
	defer func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}()
	for _, step := range connectionSteps {
		for len(open) < step {
			conn, err := net.Dial("unix", filepath.Join(l.dir, "idle", "s"))
			if err != nil {
				return fmt.Errorf("after %d: %w", len(open), err)
			}
			open = append(open, conn)
			// The client's preface and empty SETTINGS; the daemon answers with its own and waits for a call.
			if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
				return err
			}
			if _, err := conn.Read(make([]byte, 256)); err != nil {
				return fmt.Errorf("connection %d: %w", len(open), err)
			}
		}
		time.Sleep(time.Second)
		used, err := atRest(daemon, 2*time.Second)
		if err != nil {
			return err
		}
		c.Connections[step] = used
	}
	return nil
}

// grow fills tokens of rising size; the daemon is another one each time, so that each has only that token.
func (l *laboratory) grow(c *cost, seconds float64) error {
	for _, items := range sizeSteps {
		t := &target{name: fmt.Sprint("grow-", items), tokens: map[int]token{}}
		if err := l.anyHSM(t, []int{0, items}); err != nil {
			return err
		}
		on := t.tokens[items]
		find := l.measure(t, on, operation{name: "find-label", items: items}, 1, seconds)
		start := l.measure(t, on, operation{name: "start", items: items}, 1, seconds)
		if find.Error+start.Error != "" {
			return fmt.Errorf("%d items: %s %s", items, find.Error, start.Error)
		}
		used, err := atRest(on.server, time.Second)
		if err != nil {
			return err
		}
		c.Sizes = append(c.Sizes, growth{items, find, start, used})
		l.stop(l.processes[len(l.processes)-1])
		if err := os.RemoveAll(filepath.Join(l.dir, t.name)); err != nil {
			return err
		}
	}
	return nil
}

// atRest measures a process for a while.
func atRest(pid int, during time.Duration) (use, error) {
	before, err := ticks(pid)
	if err != nil {
		return use{}, err
	}
	time.Sleep(during)
	after, err := ticks(pid)
	if err != nil {
		return use{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return use{}, err
	}
	u := use{CPU: float64(after-before) / float64(during.Seconds()) / 1000}
	u.Kilobytes, u.Threads = statusField(string(status), "VmRSS"), statusField(string(status), "Threads")
	return u, nil
}

// statusField is a number of /proc/PID/status; -1 if there is none.
func statusField(status, name string) int {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB")); err == nil {
				return n
			}
		}
	}
	return -1
}

// cpuOf is the CPU time of a process and all its descendants that live, in nanoseconds.
func cpuOf(pid int) int64 {
	if pid == 0 {
		return 0
	}
	total, err := ticks(pid)
	if err != nil {
		return 0
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(child); err == nil {
			total += cpuOf(n)
		}
	}
	return total
}

// ticks is the CPU time of all threads of a process, in nanoseconds, from the scheduler's own count.
func ticks(pid int) (int64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	var total int64
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended meanwhile
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
