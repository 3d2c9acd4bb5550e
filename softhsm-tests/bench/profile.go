package main

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// part is a share of the daemon's CPU time.
type part struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
}

// parts say by a function on the stack what a sample belongs to; the first that matches counts.
var parts = []struct {
	name    string
	symbols []string
}{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.gcStart", "runtime.bgscavenge"}},
	{"audit, in the background", []string{"daemon/internal/audit.", "keystore.(*Store).AppendEvents", "database/sql.", "modernc.org/sqlite"}},
	{"the operation itself", []string{"internal/softkey.", "golang-fips/openssl", "libcrypto.so", "crypto/rand.", "daemon/internal/provider/"}},
	{"the store's caches", []string{"daemon/internal/keystore."}},
	{"policy, ticket, routing, health", []string{"daemon/internal/keyservice.", "daemon/internal/policy.", "daemon/internal/ticket."}},
	{"protobuf", []string{"google.golang.org/protobuf"}},
	{"interceptors and metrics", []string{"daemon/internal/server."}},
	{"front end", []string{"daemon/internal/frontend/"}},
	{"HTTP/2 frames and headers", []string{"x/net/http2"}},
	{"writing the answer (system call)", []string{"syscall.write", "syscall.Write", "unix.Write", "sendto", "ksys_write", "__x64_sys_write", "__sys_sendto", "sendmsg", "writev"}},
	{"reading and waiting for requests (system calls)", []string{"syscall.read", "unix.Read", "recvfrom", "recvmsg", "ksys_read", "epoll", "poll"}},
	{"the rest of the transport", []string{"internal/grpcwire."}},
	{"Go's scheduler", []string{"runtime.schedule", "runtime.findRunnable", "runtime.mcall", "runtime.park_m", "runtime.exitsyscall", "runtime.mstart", "runtime.sysmon", "futex"}},
}

// profile takes perf's samples of the daemon while the driver keeps it busy.
func (l *laboratory) profile(op string, threads int) ([]part, error) {
	t := l.target("anyhsm")
	if t == nil {
		return nil, nil
	}
	on, data := t.tokens[0], filepath.Join(l.dir, "perf.data")
	recorder := exec.Command("perf", "record", "-q", "-o", data, "-F", "997", "-g", "-p", strconv.Itoa(on.server), "--", "sleep", "2.5")
	if err := recorder.Start(); err != nil {
		return nil, err
	}
	o, _ := operationOf(op)
	f := l.measure(t, on, o, threads, 2.5)
	if err := recorder.Wait(); err != nil || f.Error != "" {
		return nil, fmt.Errorf("perf record: %w, %s", err, f.Error)
	}
	samples, err := output(os.Environ(), "perf", "script", "-i", data, "-F", "ip,sym,dso")
	if err != nil {
		return nil, err
	}
	return shares([]byte(samples)), nil
}

// shares sorts samples, which are stacks between empty lines with the innermost function first.
func shares(samples []byte) []part {
	counts, total := map[string]int{}, 0
	var stack []string
	end := func() {
		if len(stack) > 0 {
			counts[partOf(stack)]++
			total++
		}
		stack = nil
	}
	lines := bufio.NewScanner(bytes.NewReader(samples))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			end()
			continue
		}
		stack = append(stack, strings.Join(fields[1:], " "))
	}
	end()
	var all []part
	for name, n := range counts {
		all = append(all, part{name, float64(n) / float64(total)})
	}
	slices.SortFunc(all, func(a, b part) int { return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Name, b.Name)) })
	return all
}

func partOf(stack []string) string {
	for _, p := range parts {
		for _, symbol := range p.symbols {
			if slices.ContainsFunc(stack, func(frame string) bool { return strings.Contains(frame, symbol) }) {
				return p.name
			}
		}
	}
	return "all else"
}

// havePerf tells whether Debian's linux-perf is there.
func havePerf() bool {
	_, err := exec.LookPath("perf")
	return err == nil
}
