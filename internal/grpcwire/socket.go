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

// holding is how long a server's read keeps its thread before the connection goes to the lounge. A connection in use is
// read without a detour; an idle one needs no thread.
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

// socket is a connection that reads and writes in the kernel, on the calling thread. Go's poller does not know it: the
// poller's thread would wake at each message that comes, and at each that goes, only to find nothing to do. One
// goroutine reads at a time, and one writes.
type socket struct {
	fd            int
	local, remote net.Addr
	// held is nil where a read may keep its thread as long as it likes.
	held *threads
	// closing is told of the descriptor before it is closed.
	closing func(fd int)
	// state counts who uses the descriptor, in steps of two; its lowest bit says that the socket is closed. The last user
	// closes the descriptor: its number may become another file's at once.
	state    atomic.Int64
	released atomic.Bool
	// Nanoseconds since 1970; 0 is never.
	readUntil, writeUntil atomic.Int64
}

// newSocket takes the descriptor over from a connection; one without a descriptor is returned as it is. It tells of the
// new descriptor's opening and closing.
func newSocket(conn net.Conn, held *threads, opened, closing func(fd int)) net.Conn {
	with, ok := conn.(syscall.Conn)
	if !ok {
		return conn
	}
	raw, err := with.SyscallConn()
	if err != nil {
		return conn
	}
	copied := -1
	if raw.Control(func(fd uintptr) { copied, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, unix.Stderr+1) }) != nil || err != nil {
		return conn
	}
	if opened != nil {
		opened(copied)
	}
	s := &socket{fd: copied, local: conn.LocalAddr(), remote: conn.RemoteAddr(), held: held, closing: closing}
	// Takes it out of Go's poller.
	_ = conn.Close()
	limit := unix.NsecToTimeval(holding.Nanoseconds())
	if unix.SetNonblock(copied, false) != nil || unix.SetsockoptTimeval(copied, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit) != nil {
		_ = s.Close()
	}
	return s
}

// enter says that the descriptor is used from now on; false if it is closed.
func (s *socket) enter() bool {
	if s.state.Add(2)&1 == 0 {
		return true
	}
	s.leave()
	return false
}

func (s *socket) leave() {
	if s.state.Add(-2) != 1 || s.released.Swap(true) {
		return
	}
	if s.closing != nil {
		s.closing(s.fd)
	}
	_ = unix.Close(s.fd)
}

// left is the time until a deadline; negative if there is none.
func left(until *atomic.Int64) (time.Duration, error) {
	at := until.Load()
	if at == 0 {
		return -1, nil
	}
	d := time.Until(time.Unix(0, at))
	if d <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return d, nil
}

// Read implements net.Conn.
func (s *socket) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	idle := false
	for {
		d, err := left(&s.readUntil)
		if err != nil {
			return 0, err
		}
		hold := !idle && (s.held == nil || s.held.take())
		if !hold {
			// What the lounge wakes for is there, so the read below does not wait.
			if err := arrivals.wait(s.fd, d); err != nil {
				return 0, err
			}
			idle = false
		} else if d >= 0 && d < holding {
			await(s.fd, unix.POLLIN, d)
			if _, err = left(&s.readUntil); err != nil && !isReady(s.fd, unix.POLLIN) {
				s.give(hold)
				return 0, err
			}
		}
		n, err := syscall.Read(s.fd, b)
		s.give(hold)
		switch {
		case err == nil && n > 0:
			observe()
			return n, nil
		case err == nil:
			return 0, io.EOF
		case errors.Is(err, syscall.EAGAIN):
			idle = s.held != nil
		case !errors.Is(err, syscall.EINTR):
			return 0, os.NewSyscallError("read", err)
		}
	}
}

func (s *socket) give(hold bool) {
	if hold && s.held != nil {
		s.held.give()
	}
}

// Write implements net.Conn.
func (s *socket) Write(b []byte) (int, error) {
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	publish()
	done := 0
	for done < len(b) {
		// A peer that has gone is an error here and no signal for the host.
		n, err := syscall.SendmsgN(s.fd, b[done:], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			done += n
		case errors.Is(err, syscall.EAGAIN):
			d, err := left(&s.writeUntil)
			if err != nil {
				return done, err
			}
			if s.held == nil {
				await(s.fd, unix.POLLOUT, d)
			} else if err := departures.wait(s.fd, d); err != nil {
				return done, err
			}
		case !errors.Is(err, syscall.EINTR):
			return done, os.NewSyscallError("write", err)
		}
	}
	return done, nil
}

// await waits on this thread, not longer than holding at once.
func await(fd int, events int16, limit time.Duration) {
	if limit < 0 || limit > holding {
		limit = holding
	}
	set := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	// Rounded up, so that nobody asks again and again in the last millisecond.
	_, _ = unix.Poll(set[:], int((limit+time.Millisecond-1)/time.Millisecond))
}

func isReady(fd int, events int16) bool {
	set := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	n, err := unix.Poll(set[:], 0)
	return err == nil && n > 0
}

// gone tells whether the peer has ended the connection, without reading from it.
func gone(conn net.Conn) bool {
	s, ok := conn.(*socket)
	if !ok {
		return false
	}
	if !s.enter() {
		return true
	}
	defer s.leave()
	return isReady(s.fd, unix.POLLRDHUP)
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
	if s.enter() {
		_ = unix.Shutdown(s.fd, how)
		s.leave()
	}
}

// Close ends what reads and writes, and closes.
func (s *socket) Close() error {
	if !s.enter() {
		return net.ErrClosed
	}
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR)
	s.state.Or(1)
	s.leave()
	return nil
}

// LocalAddr implements net.Conn.
func (s *socket) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements net.Conn.
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// SetDeadline implements net.Conn. A deadline counts for what begins after it was set.
func (s *socket) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.readUntil.Store(nanoseconds(t))
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *socket) SetWriteDeadline(t time.Time) error {
	s.writeUntil.Store(nanoseconds(t))
	return nil
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func isSocket(conn net.Conn) bool {
	_, ok := conn.(*socket)
	return ok
}
