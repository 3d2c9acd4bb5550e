package chaos

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// side is one of a replica's two networks: front is that of the applications, back that of the database and the key
// server.
type side string

const (
	front side = "front"
	back  side = "back"
)

// network lets applications reach replicas, and replicas the database, until it is cut.
type network interface {
	// host is the address that a replica listens at and that its certificate is for; reach is where applications call
	// it, given the port that it listens on.
	host(replica int) string
	reach(replica int, port string) (address string, err error)
	// toBack is by which address a replica reaches what listens on this host at a port.
	toBack(replica int, port string) (address string, err error)
	// listen are the addresses that what replicas reach must listen on.
	listen() []string
	// command prepares a program that runs where the replica does.
	command(replica int, program string, arguments ...string) *exec.Cmd
	// cut lets all packets of a side disappear, heal lets them through again.
	cut(replica int, s side) error
	heal(replica int, s side) error
	close()
}

// newNetwork gives each replica a network namespace. Where the machine forbids that it says so, loudly, and relays
// connections instead, which it can stop relaying. CHAOS_NETWORK=relays tries that elsewhere.
func newNetwork(t *testing.T, replicas int) network {
	t.Helper()
	n, err := newNamespaces(replicas)
	if err == nil && os.Getenv("CHAOS_NETWORK") == "relays" {
		err = errors.New("CHAOS_NETWORK says relays")
	}
	if err == nil {
		t.Cleanup(n.close)
		return n
	}
	n.close()
	t.Logf("ATTENTION: there are no network namespaces (%v). Networks are cut by relays that swallow what they get. Run as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN, for the real thing.", err)
	r := &relays{open: map[string]*relay{}}
	t.Cleanup(r.close)
	return r
}

// namespaces joins each replica to this host by two pairs of virtual cables.
type namespaces struct {
	replicas, net int
	prefix        string
}

func newNamespaces(replicas int) (*namespaces, error) {
	// Names and addresses are the process's, so that two runs do not meet.
	n := &namespaces{replicas: replicas, net: 16 + os.Getpid()%200, prefix: fmt.Sprintf("ahc%d", os.Getpid()%100000)}
	for r := range replicas {
		if err := n.add(r); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *namespaces) space(replica int) string { return fmt.Sprintf("%s-%d", n.prefix, replica) }
func (n *namespaces) cable(replica int, s side) string {
	return fmt.Sprintf("%s%c%d", n.prefix, s[0], replica)
}

func (n *namespaces) address(replica int, s side, host int) string {
	third := 2 * replica
	if s == back {
		third++
	}
	return fmt.Sprintf("10.%d.%d.%d", n.net, third, host)
}

func (n *namespaces) add(replica int) error {
	space := n.space(replica)
	if err := ip("netns", "add", space); err != nil {
		return err
	}
	if err := ip("-n", space, "link", "set", "lo", "up"); err != nil {
		return err
	}
	for _, s := range []side{front, back} {
		cable := n.cable(replica, s)
		for _, arguments := range [][]string{
			{"link", "add", cable, "type", "veth", "peer", "name", string(s), "netns", space},
			{"addr", "add", n.address(replica, s, 1) + "/30", "dev", cable},
			{"link", "set", cable, "up"},
			{"-n", space, "addr", "add", n.address(replica, s, 2) + "/30", "dev", string(s)},
			{"-n", space, "link", "set", string(s), "up"},
		} {
			if err := ip(arguments...); err != nil {
				return err
			}
		}
	}
	return nil
}

func ip(arguments ...string) error {
	if out, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, out)
	}
	return nil
}

func (n *namespaces) host(replica int) string { return n.address(replica, front, 2) }

func (n *namespaces) reach(replica int, port string) (string, error) {
	return net.JoinHostPort(n.host(replica), port), nil
}

func (n *namespaces) toBack(replica int, port string) (string, error) {
	return net.JoinHostPort(n.address(replica, back, 1), port), nil
}

func (n *namespaces) listen() []string {
	var addresses []string
	for r := range n.replicas {
		addresses = append(addresses, n.address(r, back, 1))
	}
	return addresses
}

// command uses that ip becomes the program, so that signals reach it.
func (n *namespaces) command(replica int, program string, arguments ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.space(replica), program}, arguments...)...)
}

// cut takes down the cable's far end, seen from who will miss the answers: a near end that goes down is noticed at
// once, packets on a cable whose far end is down just disappear.
func (n *namespaces) cut(replica int, s side) error { return n.set(replica, s, "down") }

func (n *namespaces) heal(replica int, s side) error { return n.set(replica, s, "up") }

func (n *namespaces) set(replica int, s side, state string) error {
	if s == front {
		return ip("-n", n.space(replica), "link", "set", string(s), state)
	}
	return ip("link", "set", n.cable(replica, s), state)
}

func (n *namespaces) close() {
	for r := range n.replicas {
		// The cables go with the namespace. What is not there needs no removal.
		_ = ip("netns", "del", n.space(r))
		for _, s := range []side{front, back} {
			_ = ip("link", "del", n.cable(r, s))
		}
	}
}

// relays stand between applications and replicas, and between replicas and the database.
type relays struct {
	mu   sync.Mutex
	open map[string]*relay
}

func (r *relays) host(int) string  { return "127.0.0.1" }
func (r *relays) listen() []string { return nil }
func (r *relays) command(_ int, program string, arguments ...string) *exec.Cmd {
	return exec.Command(program, arguments...)
}

func (r *relays) reach(replica int, port string) (string, error) { return r.to(replica, front, port) }

func (r *relays) toBack(replica int, port string) (string, error) {
	return r.to(replica, back, port)
}

func (r *relays) to(replica int, s side, port string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	l := &relay{listener: listener, target: "127.0.0.1:" + port}
	r.mu.Lock()
	r.open[fmt.Sprint(replica, s, port)] = l
	r.mu.Unlock()
	go l.serve()
	return listener.Addr().String(), nil
}

func (r *relays) each(replica int, s side, do func(*relay)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, l := range r.open {
		if strings.HasPrefix(name, fmt.Sprint(replica, s)) {
			do(l)
		}
	}
}

func (r *relays) cut(replica int, s side) error {
	r.each(replica, s, func(l *relay) { l.block.Lock() })
	return nil
}

func (r *relays) heal(replica int, s side) error {
	r.each(replica, s, func(l *relay) { l.block.Unlock() })
	return nil
}

func (r *relays) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.open {
		_ = l.listener.Close()
	}
}

type relay struct {
	listener net.Listener
	target   string
	// block is locked while the network is cut.
	block sync.RWMutex
}

func (l *relay) serve() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			l.pass()
			other, err := net.Dial("tcp", l.target)
			if err != nil {
				_ = conn.Close()
				return
			}
			go l.copy(conn, other)
			l.copy(other, conn)
		}()
	}
}

func (l *relay) pass() {
	l.block.RLock()
	defer l.block.RUnlock()
}

func (l *relay) copy(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		l.pass()
		if count > 0 {
			if _, err := to.Write(buffer[:count]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// disk is a small file system for the database.
type disk struct {
	path string
}

// newDisk mounts one that belongs to the owner of another directory.
func newDisk(t *testing.T, owner string) *disk {
	t.Helper()
	path, err := os.MkdirTemp("", "anyhsm-disk")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("anyhsm-chaos", path, "tmpfs", 0, "size=256m,mode=700"); err != nil {
		t.Fatalf("no file system can be mounted: %v; run as root, a container with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() {
		_ = syscall.Unmount(path, syscall.MNT_DETACH)
		_ = os.Remove(path)
	})
	info, err := os.Stat(owner)
	if err != nil {
		t.Fatal(err)
	}
	space := filepath.Join(path, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	for _, p := range []string{path, space} {
		if err := os.Chown(p, int(stat.Uid), int(stat.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return &disk{path: path}
}

func (d *disk) space() string  { return filepath.Join(d.path, "space") }
func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill takes all the room that is left, to the last page.
func (d *disk) fill() error {
	file, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	var size int64
	for step := int64(16 << 20); step >= 4096; {
		if err := syscall.Fallocate(int(file.Fd()), 0, size, step); err == nil {
			size += step
		} else if err == syscall.ENOSPC {
			step /= 2
		} else if err != syscall.EINTR {
			return err
		}
	}
	return nil
}

func (d *disk) free() error { return os.Remove(d.filler()) }
