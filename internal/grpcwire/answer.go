package grpcwire

import (
	"context"
	"errors"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/status"
)

// errGone is what a call gets that answers a client who does not listen any more.
var errGone = errors.New("the client has gone")

// answer writes the header unless it has been written, a message with its prefix if there is one, and with a result the
// end.
func (st *stream) answer(message []byte, result *status.Status) error {
	c := st.conn
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.over(st) {
		return errGone
	}
	st.mu.Lock()
	header, trailer, opened := st.header, st.trailer, st.opened
	st.opened = true
	st.mu.Unlock()
	if err := checkMetadata(header); err != nil {
		header = nil
	}
	// An answer that is nothing but an end has one header.
	if !opened && (result == nil || len(message) > 0 || len(header) > 0) {
		c.beginBlock()
		c.block = appendMetadata(append(c.block, answerHeader...), header)
		if err := writeHeaders(c.framer, st.id, c.block, false, c.frameSize()); err != nil {
			return err
		}
		opened = true
	}
	if err := c.send(st, message); err != nil {
		return err
	}
	if result != nil {
		if err := checkMetadata(trailer); err != nil {
			trailer = nil
		}
		c.beginBlock()
		if !opened {
			c.block = append(c.block, answerHeader...)
		}
		c.block = appendMetadata(appendStatus(c.block, result), trailer)
		if err := writeHeaders(c.framer, st.id, c.block, true, c.frameSize()); err != nil {
			return err
		}
	}
	return c.flush()
}

// beginBlock begins the fields of a header; writing is held.
func (c *serverConn) beginBlock() {
	c.block = c.block[:0]
	if c.resized {
		c.block, c.resized = append(c.block, tableGone), false
	}
}

// send writes a message as far as the client's windows allow, and waits when they do not; writing is held, but not
// while it waits.
func (c *serverConn) send(st *stream, message []byte) error {
	for len(message) > 0 {
		n, err := c.reserve(st, len(message))
		if err != nil {
			return err
		}
		if n == 0 {
			if err := c.flush(); err != nil {
				return err
			}
			c.writing.Unlock()
			c.yield(st)
			err := c.wait(st)
			c.writing.Lock()
			if err != nil {
				return err
			}
			continue
		}
		if err := c.framer.WriteData(st.id, false, message[:n]); err != nil {
			return err
		}
		message = message[n:]
		if c.out.Len() > keptBuffer {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// reserve takes from the windows what may be sent in one frame.
func (c *serverConn) reserve(st *stream, want int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || st.gone {
		return 0, errGone
	}
	n := min(int64(want), c.window, st.window, int64(c.frame))
	if n <= 0 {
		return 0, nil
	}
	c.window -= n
	st.window -= n
	return int(n), nil
}

// wait waits until the client opens its windows. One that does not for long, loses its call.
func (c *serverConn) wait(st *stream) error {
	wake := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.room.Broadcast()
	}
	stop := context.AfterFunc(&st.context, wake)
	defer stop()
	limit := time.Now().Add(writeLimit)
	timer := time.AfterFunc(writeLimit, wake)
	defer timer.Stop()
	stalled := false
	c.mu.Lock()
	for !c.dead && !st.gone && !stalled && min(c.window, st.window) <= 0 {
		c.room.Wait()
		stalled = st.context.Err() != nil || !time.Now().Before(limit)
	}
	over := c.dead || st.gone
	if stalled {
		st.gone = true
	}
	c.mu.Unlock()
	switch {
	case over:
		return errGone
	case stalled:
		_ = c.write(func() error { return c.framer.WriteRSTStream(st.id, http2.ErrCodeCancel) })
		return errGone
	}
	return nil
}

// over tells whether nobody wants the answer.
func (c *serverConn) over(st *stream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead || st.gone
}

func (c *serverConn) frameSize() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frame
}

// refuse answers a call that does not run. The client need not send the rest of it.
func (c *serverConn) refuse(id uint32, ended bool, why *status.Status) error {
	return c.write(func() error {
		c.beginBlock()
		c.block = appendStatus(append(c.block, answerHeader...), why)
		if err := writeHeaders(c.framer, id, c.block, true, c.frameSize()); err != nil {
			return err
		}
		if ended {
			return nil
		}
		return c.framer.WriteRSTStream(id, http2.ErrCodeNo)
	})
}
