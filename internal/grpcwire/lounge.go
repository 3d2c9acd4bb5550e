package grpcwire

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lounge is where a server's connections wait that have nothing to do, or whose peers do not take what was written: one
// thread waits for all of them.
type lounge struct {
	events uint32
	once   sync.Once
	poll   int
	err    error
	mu     sync.Mutex
	guests map[int32]chan struct{}
}

var (
	arrivals   = lounge{events: unix.EPOLLIN | unix.EPOLLRDHUP}
	departures = lounge{events: unix.EPOLLOUT}
)

// wait returns when something has happened on a descriptor, which the caller keeps open, or when the limit has passed; a
// negative one never does.
func (l *lounge) wait(fd int, limit time.Duration) error {
	if l.once.Do(l.open); l.err != nil {
		return l.err
	}
	called := make(chan struct{}, 1)
	event := unix.EpollEvent{Events: l.events | unix.EPOLLONESHOT, Fd: int32(fd)}
	l.mu.Lock()
	l.guests[event.Fd] = called
	err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, fd, &event)
	l.mu.Unlock()
	if err == nil {
		var over <-chan time.Time
		if limit >= 0 {
			timer := time.NewTimer(limit)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-called:
		case <-over:
			err = os.ErrDeadlineExceeded
		}
		_ = unix.EpollCtl(l.poll, unix.EPOLL_CTL_DEL, fd, nil)
	}
	l.mu.Lock()
	delete(l.guests, event.Fd)
	l.mu.Unlock()
	return err
}

func (l *lounge) open() {
	l.guests = map[int32]chan struct{}{}
	if l.poll, l.err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); l.err == nil {
		go l.serve()
	}
}

// serve calls guests as long as the process lives.
func (l *lounge) serve() {
	var events [128]unix.EpollEvent
	for {
		n, _ := unix.EpollWait(l.poll, events[:], -1)
		l.mu.Lock()
		for i := range max(n, 0) {
			// A guest who has left meanwhile is not called; one who has just come under the same number looks in vain.
			if called := l.guests[events[i].Fd]; called != nil {
				select {
				case called <- struct{}{}:
				default:
				}
			}
		}
		l.mu.Unlock()
	}
}
