package grpcwire

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// holding is how long a read keeps its thread before it leaves the waiting to Go's poller. A connection in use is read
// without a detour; an idle one needs no thread.
const holding = 100 * time.Millisecond

// threads bounds how many reads may hold a thread at once.
type threads struct {
	held  atomic.Int64
	limit int64
}

func (t *threads) take() bool {
	if t.held.Add(1) <= t.limit {
		return true
	}
	t.held.Add(-1)
	return false
}

func (t *threads) give() { t.held.Add(-1) }

// socket is a connection whose Read waits in the kernel, on the calling thread, for a while at least. Only one goroutine
// reads at a time.
type socket struct {
	net.Conn
	raw  syscall.RawConn
	held *threads
	try  func(fd uintptr) bool

	into   []byte
	n      int
	err    error
	waited bool
	// more says that the last read filled its buffer, so that there may be more at once.
	more bool
	set  [1]unix.PollFd
}

// newSocket wraps a connection; one without a descriptor is returned as it is.
func newSocket(conn net.Conn, held *threads) net.Conn {
	with, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return conn
	}
	s := &socket{Conn: conn, raw: raw, held: held}
	s.try = s.receive
	return s
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	s.into, s.n, s.err, s.waited = b, 0, nil, false
	err := s.raw.Read(s.try)
	s.into = nil
	switch {
	case s.n > 0:
		return s.n, nil
	case s.err != nil:
		return 0, s.err
	case err != nil:
		return 0, err
	}
	return 0, io.EOF
}

// receive reads once, waiting in between; false leaves the waiting to Go's poller.
func (s *socket) receive(fd uintptr) bool {
	// After a call's own write nothing can be there yet: one attempt less.
	if !s.more && s.held.take() {
		s.poll(fd)
	}
	for {
		// The descriptor is net's, so this never blocks.
		n, err := syscall.Read(int(fd), s.into)
		switch {
		case err == nil:
			s.n, s.more = n, n == len(s.into)
			return true
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EAGAIN):
			s.err = os.NewSyscallError("read", err)
			return true
		case s.waited || !s.held.take():
			return false
		}
		s.poll(fd)
	}
}

// poll waits on this thread: no other one has to wake it.
func (s *socket) poll(fd uintptr) {
	s.set[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	ready, err := unix.Poll(s.set[:], int(holding.Milliseconds()))
	s.held.give()
	s.waited = ready == 0 && err == nil
}

// gone tells whether the peer has ended the connection, without reading from it.
func gone(conn net.Conn) bool {
	s, ok := conn.(*socket)
	if !ok {
		return false
	}
	ended := false
	err := s.raw.Control(func(fd uintptr) {
		set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(set, 0)
		ended = err == nil && n > 0 && set[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return ended || err != nil
}

// shut makes reads and writes that are under way return, and leaves the descriptor open.
func shut(conn net.Conn, how int) {
	s, ok := conn.(*socket)
	if !ok {
		if how == unix.SHUT_RDWR {
			_ = conn.Close()
		}
		return
	}
	_ = s.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), how) })
}

// Close ends what reads and writes, and closes.
func (s *socket) Close() error {
	shut(s, unix.SHUT_RDWR)
	return s.Conn.Close()
}

func isSocket(conn net.Conn) bool {
	_, ok := conn.(*socket)
	return ok
}
