package daemonclient

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketOpened and SocketClosed tell of each socket's descriptor, after it was opened and before it is closed, so that
// a forked child can close its copies. Set them before the first client is made. They may be called by any goroutine.
var SocketOpened, SocketClosed func(fd int)

// deadPeer is after which time without an acknowledgement a TCP connection counts as dead. The kernel watches: no
// goroutine has to.
const deadPeer = 10 * time.Second

// socket is a connection whose descriptor is reported.
type socket struct {
	net.Conn
	fd   int
	once sync.Once
}

// Close reports the descriptor and closes it.
func (s *socket) Close() error {
	s.once.Do(func() {
		if SocketClosed != nil && s.fd >= 0 {
			SocketClosed(s.fd)
		}
	})
	return s.Conn.Close()
}

// SyscallConn lets the transport read on the calling thread.
func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if c, ok := s.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, syscall.EINVAL
}

func open(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: deadPeer, Interval: deadPeer / 4, Count: 4,
	}}
	if network == "tcp" {
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadPeer.Milliseconds()))
			})
			if err != nil {
				return err
			}
			return failed
		}
	}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	s := &socket{Conn: conn, fd: descriptor(conn)}
	if SocketOpened != nil && s.fd >= 0 {
		SocketOpened(s.fd)
	}
	return s, nil
}

// descriptor returns a connection's descriptor; -1 if it has none.
func descriptor(conn net.Conn) int {
	number := -1
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { number = int(fd) })
		}
	}
	return number
}
