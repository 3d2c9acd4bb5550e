package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const pin = "user-pin-4711"

// patience is how long a server may take to start.
const patience = 60 * time.Second

// laboratory is what is measured, with all processes that belong to it.
type laboratory struct {
	dir, build, driver string
	targets            []*target
	processes          []*exec.Cmd
}

// target is a module with its tokens.
type target struct {
	name, module string
	// tokens are those with so many items besides the twelve objects that the operations use.
	tokens map[int]token
}

// token is where the driver finds one.
type token struct {
	label string
	env   []string
	// server is the process behind the module; 0 if there is none.
	server int
}

// start starts the servers and makes the keys, and for each size a token with so many items.
func (l *laboratory) start(names []string, sizes []int) error {
	for _, name := range names {
		t := &target{name: name, tokens: map[int]token{}}
		var err error
		switch name {
		case "softhsm", "p11-kit":
			for _, items := range sizes {
				if err = l.softHSM(t, items); err != nil {
					break
				}
			}
		case "anyhsm":
			err = l.anyHSM(t, sizes)
		case "anyhsm-grpc-go", "anyhsm-tls":
			err = l.anyHSM(t, slices.DeleteFunc(slices.Clone(sizes), func(items int) bool { return items > 0 }))
		default:
			err = errors.New("there is no such target; see -help")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.targets = append(l.targets, t)
	}
	return nil
}

func (l *laboratory) target(name string) *target {
	for _, t := range l.targets {
		if t.name == name {
			return t
		}
	}
	return nil
}

// end ends the servers, the last one first.
func (l *laboratory) end() {
	for len(l.processes) > 0 {
		l.stop(l.processes[len(l.processes)-1])
	}
}

// stop ends a server and waits until it is gone.
func (l *laboratory) stop(server *exec.Cmd) {
	_ = server.Process.Signal(syscall.SIGTERM)
	_ = server.Wait()
	for i, p := range l.processes {
		if p == server {
			l.processes = append(l.processes[:i], l.processes[i+1:]...)
			return
		}
	}
}

// run starts a server and waits until it answers.
func (l *laboratory) run(server *exec.Cmd, ready func() bool) error {
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return err
	}
	l.processes = append(l.processes, server)
	for deadline := time.Now().Add(patience); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) || syscall.Kill(server.Process.Pid, 0) != nil {
			return fmt.Errorf("%s does not answer: %s", server.Path, said.String())
		}
	}
	return nil
}

// drive runs the driver on a token.
func (l *laboratory) drive(module string, on token, arguments ...string) (string, error) {
	arguments = append([]string{"--module", module, "--token", on.label, "--pin", pin, "--server", strconv.Itoa(on.server)}, arguments...)
	return output(append(os.Environ(), on.env...), l.driver, arguments...)
}

func answers(network, address string) bool {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

// output runs a program that must succeed.
func output(env []string, program string, arguments ...string) (string, error) {
	command := exec.Command(program, arguments...)
	command.Env = env
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s%s", filepath.Base(program), strings.Join(arguments, " "), err, out, stderr.String())
	}
	return string(out), nil
}
