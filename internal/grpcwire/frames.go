package grpcwire

import (
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// handle does what a frame wants. A StreamError ends its stream, any other error the connection.
func (c *serverConn) handle(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.DataFrame:
		return c.data(f.StreamID, f.Length, f.Data(), f.StreamEnded())
	case *http2.RSTStreamFrame:
		return c.dropped(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.opened(f)
	case *http2.PingFrame:
		if f.IsAck() {
			return nil
		}
		return c.write(func() error { return c.framer.WritePing(true, f.Data) })
	case *http2.PushPromiseFrame:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	// A GOAWAY of a client asks for nothing; unknown frames and priorities are to be ignored.
	return nil
}

func (c *serverConn) headers(f *http2.MetaHeadersFrame) error {
	window, mine, err := c.admit(f.StreamID, f.StreamEnded())
	if !mine {
		return err
	}
	if f.Truncated {
		return c.refuse(f.StreamID, f.StreamEnded(), status.Newf(codes.ResourceExhausted, "the header is longer than %d bytes", serverHeaders))
	}
	o, timeout, refused := c.readHeader(f.Fields)
	if refused != nil {
		return c.refuse(f.StreamID, f.StreamEnded(), refused)
	}
	c.remember(o)
	return c.begin(f.StreamID, o, timeout, window, f.StreamEnded())
}

// admit looks what a header's stream is; mine is false if there is no call to begin.
func (c *serverConn) admit(id uint32, ended bool) (window int64, mine bool, err error) {
	if id%2 == 0 {
		return 0, false, http2.ConnectionError(http2.ErrCodeProtocol)
	}
	c.mu.Lock()
	st := c.streams[id]
	if st != nil || id <= c.highest {
		c.mu.Unlock()
		if st == nil {
			// Trailers of a call that is over on this side.
			return 0, false, nil
		}
		if !ended || st.complete {
			return 0, false, http2.StreamError{StreamID: id, Code: http2.ErrCodeProtocol}
		}
		c.completed(st)
		return 0, false, nil
	}
	if c.leaving {
		// The client knows from GOAWAY that nobody looks at this one.
		c.mu.Unlock()
		return 0, false, nil
	}
	c.highest = id
	full := len(c.streams) >= c.server.options.MaxStreams
	window = c.initialWindow
	c.mu.Unlock()
	if full {
		return 0, false, http2.StreamError{StreamID: id, Code: http2.ErrCodeRefusedStream}
	}
	return window, true, nil
}

// begin begins a call.
func (c *serverConn) begin(id uint32, o opening, timeout string, window int64, ended bool) error {
	st, refused := c.newStream(id, o, timeout, window)
	if refused != nil {
		return c.refuse(id, ended, refused)
	}
	c.mu.Lock()
	// Settings may have come between; only this goroutine reads them.
	c.streams[st.id] = st
	c.mu.Unlock()
	c.incomplete++
	if ended {
		c.completed(st)
	}
	return nil
}

// completed says that a request is here as a whole.
func (c *serverConn) completed(st *stream) {
	st.complete = true
	c.incomplete--
	c.held -= len(st.body)
	c.ready = st
}

// forget drops a request that is not complete.
func (c *serverConn) forget(st *stream) {
	c.incomplete--
	c.held -= len(st.body)
	spare(st.body)
	st.body = nil
	st.complete = true
	c.remove(st)
}

func (c *serverConn) data(id, length uint32, part []byte, ended bool) error {
	if c.taken += length; c.taken > connectionWindow {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if c.taken >= connectionWindow/2 {
		taken := c.taken
		c.taken = 0
		if err := c.write(func() error { return c.framer.WriteWindowUpdate(0, taken) }); err != nil {
			return err
		}
	}
	c.mu.Lock()
	st, highest := c.streams[id], c.highest
	c.mu.Unlock()
	if st == nil {
		if id > highest || id%2 == 0 {
			c.mu.Lock()
			leaving := c.leaving
			c.mu.Unlock()
			if leaving {
				return nil
			}
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		// Of a call that is over on this side.
		return nil
	}
	if st.complete {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeStreamClosed}
	}
	if st.received += length; st.received > streamWindow {
		return http2.StreamError{StreamID: id, Code: http2.ErrCodeFlowControl}
	}
	st.body = appendPart(st.body, part, c.server.options.MaxReceive)
	c.held += len(part)
	clear(part)
	if refused := c.check(st); refused != nil {
		c.forget(st)
		return c.refuse(st.id, ended, refused)
	}
	if ended {
		c.completed(st)
		return nil
	}
	if st.received >= streamWindow/2 {
		received := st.received
		st.received = 0
		return c.write(func() error { return c.framer.WriteWindowUpdate(st.id, received) })
	}
	return nil
}

// check refuses a request as soon as it is known to be too long.
func (c *serverConn) check(st *stream) *status.Status {
	limit := c.server.options.MaxReceive
	length, err := messageLength(st.body, limit)
	switch {
	case err != nil:
		return status.Convert(err)
	case length >= 0 && len(st.body) > length:
		return status.New(codes.Internal, "there is more than one message in a unary call")
	case c.held > 2*(limit+prefix):
		return status.New(codes.ResourceExhausted, "the connection has too many unfinished requests; finish some first")
	}
	return nil
}

// expire ends requests that take too long to arrive.
func (c *serverConn) expire() {
	var late []*stream
	c.mu.Lock()
	for _, st := range c.streams {
		if !st.complete && time.Since(st.began) > requestLimit {
			late = append(late, st)
		}
	}
	c.mu.Unlock()
	for _, st := range late {
		c.forget(st)
		_ = c.refuse(st.id, false, status.New(codes.DeadlineExceeded, "the request took too long to arrive"))
	}
}

// dropped is told that the client has given a call up.
func (c *serverConn) dropped(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st, highest := c.streams[f.StreamID], c.highest
	if st != nil {
		st.gone = true
		c.room.Broadcast()
	}
	leaving := c.leaving
	c.mu.Unlock()
	switch {
	case st == nil && f.StreamID > highest && !leaving:
		return http2.ConnectionError(http2.ErrCodeProtocol)
	case st == nil:
		return nil
	}
	st.context.end()
	if !st.complete {
		c.forget(st)
	}
	return nil
}

// reset ends a stream that breaks the rules.
func (c *serverConn) reset(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	st := c.streams[id]
	if st != nil {
		st.gone = true
		c.room.Broadcast()
	}
	// A stream whose first header was wrong has been used nevertheless.
	if id%2 == 1 && id > c.highest {
		c.highest = id
	}
	c.mu.Unlock()
	if st != nil {
		st.context.end()
		if !st.complete {
			c.forget(st)
		}
	}
	return c.write(func() error { return c.framer.WriteRSTStream(id, code) })
}

func (c *serverConn) opened(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if c.window += int64(f.Increment); c.window > maxWindow {
			return http2.ConnectionError(http2.ErrCodeFlowControl)
		}
		c.room.Broadcast()
		return nil
	}
	st := c.streams[f.StreamID]
	if st == nil {
		if f.StreamID > c.highest && !c.leaving {
			return http2.ConnectionError(http2.ErrCodeProtocol)
		}
		return nil
	}
	if st.window += int64(f.Increment); st.window > maxWindow {
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeFlowControl}
	}
	c.room.Broadcast()
	return nil
}
