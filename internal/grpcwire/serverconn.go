package grpcwire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// serverConn is one connection of a server. One goroutine reads it. A call that is alone on its connection runs on that
// goroutine; if it takes long, another one goes on reading.
type serverConn struct {
	server          *Server
	socket, secured net.Conn
	in              *bufio.Reader
	framer          *http2.Framer
	context         context.Context
	cancel          context.CancelFunc

	// writing guards what is written.
	writing    sync.Mutex
	out        bytes.Buffer
	block      []byte
	writeUntil time.Time
	// resized says that the client has changed the size of the table that this side does not use, which is to be answered.
	resized bool

	// mu guards what follows. It is taken after writing, if both are.
	mu      sync.Mutex
	room    *sync.Cond
	streams map[uint32]*stream
	// window, initialWindow and frame are what the client lets this side send.
	window, initialWindow int64
	frame                 int
	highest               uint32
	shaken, leaving, dead bool
	// reading is the call that runs on the reader.
	reading *stream
	inline  inline

	// The reader's own: what was received since the window was last opened, what incomplete requests hold, how many there
	// are, whether a read has a deadline, and a request that is complete.
	taken      uint32
	held       int
	incomplete int
	limited    bool
	ready      *stream
	// known are headers that have come before, unknown one that may be the next of them.
	known   []opening
	unknown []byte
}

func newServerConn(s *Server, conn net.Conn) *serverConn {
	c := &serverConn{
		server: s, socket: conn, streams: map[uint32]*stream{},
		window: peerWindow, initialWindow: peerWindow, frame: ownFrame,
	}
	c.room = sync.NewCond(&c.mu)
	c.context, c.cancel = context.WithCancel(s.context)
	c.inline.late = c.late
	// A Unix socket stays one for the credentials, which ask it for its peer.
	if _, local := conn.(*net.UnixConn); !local {
		c.socket = newSocket(conn, s.held, nil, nil)
	}
	return c
}

// serve serves a connection until it ends.
func (c *serverConn) serve() {
	if err := c.shake(); err != nil {
		c.end(err)
		return
	}
	c.read()
}

// shake secures the connection and exchanges what comes before the first call.
func (c *serverConn) shake() error {
	until := time.Now().Add(handshakeLimit)
	if err := c.socket.SetDeadline(until); err != nil {
		return err
	}
	secured := c.socket
	var info credentials.AuthInfo
	if c.server.options.Credentials != nil {
		var err error
		if secured, info, err = c.server.options.Credentials.ServerHandshake(c.socket); err != nil {
			return err
		}
	}
	if _, local := secured.(*net.UnixConn); local {
		c.mu.Lock()
		secured = newSocket(secured, c.server.held, nil, nil)
		c.socket = secured
		c.mu.Unlock()
		if err := c.socket.SetDeadline(until); err != nil {
			return err
		}
	}
	c.secured = secured
	c.context = peer.NewContext(c.context, &peer.Peer{Addr: secured.RemoteAddr(), LocalAddr: secured.LocalAddr(), AuthInfo: info})
	c.in = bufio.NewReaderSize(secured, 4<<10)
	c.framer = http2.NewFramer(&c.out, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(ownFrame)
	c.framer.MaxHeaderListSize = serverHeaders
	c.framer.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)

	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errors.New("the client does not speak HTTP/2")
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		return errors.New("the client does not begin with its settings")
	}
	if err := c.socket.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.mu.Lock()
	c.shaken = true
	c.mu.Unlock()
	c.writing.Lock()
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.server.options.MaxStreams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: serverHeaders},
	)
	_ = c.framer.WriteWindowUpdate(0, connectionWindow-peerWindow)
	c.writing.Unlock()
	return c.settings(settings)
}

// read reads frames until the connection ends or a call that runs on this goroutine has left the reading to another.
func (c *serverConn) read() {
	for {
		err := c.await()
		done := false
		if err == nil {
			done, err = c.usual()
		}
		if err == nil && !done {
			err = c.next()
		}
		if wrong, ok := errors.AsType[http2.StreamError](err); ok {
			err = c.reset(wrong.StreamID, wrong.Code)
		}
		if err != nil {
			c.end(err)
			return
		}
		if ready := c.ready; ready != nil {
			c.ready = nil
			if !c.run(ready) {
				return
			}
		}
	}
}

// next reads a frame and does what it wants.
func (c *serverConn) next() error {
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return err
	}
	return c.handle(frame)
}

// await waits for a frame. An idle connection may wait for ever; one that has begun something may not.
func (c *serverConn) await() error {
	if c.in.Buffered() == 0 {
		if err := c.limit(c.incomplete > 0); err != nil {
			return err
		}
		if c.incomplete > 0 {
			c.expire()
		}
		if _, err := c.in.Peek(1); err != nil {
			return err
		}
	}
	f, whole := peek(c.in)
	if whole && f.kind == http2.FrameHeaders {
		whole = f.flags.Has(http2.FlagHeadersEndHeaders)
	}
	if whole {
		return nil
	}
	return c.limit(true)
}

// limit gives reads a deadline, or takes it away.
func (c *serverConn) limit(on bool) error {
	if !on && !c.limited {
		return nil
	}
	c.limited = on
	var until time.Time
	if on {
		until = time.Now().Add(frameLimit)
	}
	return c.socket.SetReadDeadline(until)
}

// run runs a call; false if another goroutine reads on meanwhile.
func (c *serverConn) run(st *stream) bool {
	c.mu.Lock()
	alone := len(c.streams) == 1 && c.in.Buffered() == 0 && st.method.unary != nil
	if alone {
		c.reading = st
	}
	c.mu.Unlock()
	if !alone {
		c.server.work.Go(st.serve)
		return true
	}
	c.server.overseer.begin(&c.inline)
	st.serve()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading != st {
		return false
	}
	c.reading = nil
	c.inline.end()
	return true
}

// late is told that a call has been running on the reader for long.
func (c *serverConn) late(number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading != nil && c.inline.number.Load() == number {
		c.readOn()
	}
}

// yield makes another goroutine read if this call runs on the reader: it is about to wait.
func (c *serverConn) yield(st *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading == st {
		c.readOn()
	}
}

// readOn makes another goroutine read. The call that ran on the reader counts as one of the server's works until it
// returns, so the count is not zero.
func (c *serverConn) readOn() {
	c.reading = nil
	c.inline.end()
	c.server.work.Go(c.read)
}

// end closes the connection and cancels its calls.
func (c *serverConn) end(cause error) {
	c.mu.Lock()
	c.dead = true
	highest := c.highest
	c.room.Broadcast()
	c.mu.Unlock()
	code := http2.ErrCodeNo
	if wrong, ok := errors.AsType[http2.ConnectionError](cause); ok {
		code = http2.ErrCode(wrong)
	} else if errors.Is(cause, http2.ErrFrameTooLarge) {
		code = http2.ErrCodeFrameSize
	}
	if code != http2.ErrCodeNo && c.framer != nil && c.writing.TryLock() {
		_ = c.framer.WriteGoAway(highest, code, nil)
		_ = c.secured.SetWriteDeadline(time.Now().Add(lingering))
		_, _ = c.secured.Write(c.out.Bytes())
		c.out.Reset()
		c.writing.Unlock()
	}
	c.cancel()
	_ = c.socket.Close()
	c.server.dismiss(c)
}

// kill ends the connection from outside: its reader does the rest.
func (c *serverConn) kill() {
	c.mu.Lock()
	socket := c.socket
	c.mu.Unlock()
	c.cancel()
	if isSocket(socket) {
		shut(socket, unix.SHUT_RDWR)
		return
	}
	_ = socket.Close()
}

// leave tells the client that no new calls are taken, and ends the connection when those in flight are over.
func (c *serverConn) leave() {
	c.mu.Lock()
	c.leaving = true
	highest, idle, shaken := c.highest, len(c.streams) == 0, c.shaken
	c.mu.Unlock()
	if !shaken {
		c.kill()
		return
	}
	c.writing.Lock()
	_ = c.framer.WriteGoAway(highest, http2.ErrCodeNo, nil)
	err := c.flush()
	c.writing.Unlock()
	if idle || err != nil {
		c.finish()
	}
}

// finish ends a connection that has nothing left to do. Over TCP the client may close first: closing while a request is
// on its way could destroy the message that says that nobody looked at it.
func (c *serverConn) finish() {
	if c.socket.LocalAddr().Network() == "unix" {
		c.kill()
		return
	}
	shut(c.socket, unix.SHUT_WR)
	time.AfterFunc(lingering, c.kill)
}

// remove forgets a stream that is over.
func (c *serverConn) remove(st *stream) {
	c.mu.Lock()
	delete(c.streams, st.id)
	last := c.leaving && len(c.streams) == 0 && !c.dead
	c.mu.Unlock()
	st.context.end()
	if last {
		c.finish()
	}
}

// settings does what the client wants and acknowledges it.
func (c *serverConn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch s.ID {
		case http2.SettingInitialWindowSize:
			change := int64(s.Val) - c.initialWindow
			c.initialWindow = int64(s.Val)
			for _, st := range c.streams {
				if st.window += change; st.window > maxWindow {
					return http2.ConnectionError(http2.ErrCodeFlowControl)
				}
			}
			c.room.Broadcast()
		case http2.SettingMaxFrameSize:
			c.frame = int(min(s.Val, keptBuffer))
		case http2.SettingHeaderTableSize:
			c.resized = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.framer.WriteSettingsAck(); err != nil {
		return err
	}
	return c.flush()
}

// flush writes what is to be written; writing is held.
func (c *serverConn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	if now := time.Now(); c.writeUntil.Sub(now) < writeLimit/2 {
		c.writeUntil = now.Add(writeLimit)
		if err := c.socket.SetWriteDeadline(c.writeUntil); err != nil {
			return err
		}
	}
	_, err := c.secured.Write(c.out.Bytes())
	clear(c.out.Bytes())
	if c.out.Cap() > 4*keptBuffer {
		c.out = bytes.Buffer{}
	}
	c.out.Reset()
	if err != nil {
		// The reader ends the connection.
		c.kill()
		return fmt.Errorf("the client does not take the answer: %w", err)
	}
	return nil
}

// write writes one small frame.
func (c *serverConn) write(frame func() error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := frame(); err != nil {
		return err
	}
	return c.flush()
}
