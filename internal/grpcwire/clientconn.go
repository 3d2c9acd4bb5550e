package grpcwire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// clientConn is one connection of a client. One call uses it at a time, and nothing else does anything with it, but
// for abort.
type clientConn struct {
	socket, secured net.Conn
	options         *ClientOptions
	headers         *requestHeaders
	in              *bufio.Reader
	framer          *http2.Framer
	// out holds what is to be written, block the header fields of one message.
	out   bytes.Buffer
	block []byte
	// resized says that the server has changed the size of the table that this side does not use, which is to be answered.
	resized bool

	// next is the id of the next stream.
	next uint32
	// window, streamWindow, initialWindow and frame are what the server lets this side send.
	window, streamWindow, initialWindow int64
	frame                               int
	// taken is what has been received since the connection's window was last opened.
	taken uint32
	// last is the last stream that the server looks at once it has said that it goes away.
	last    uint32
	leaving bool
	// ended says that the connection can't take another call.
	ended bool
	since time.Time

	// answer is what has come for the call, body and message are buffers that calls reuse.
	answer        answer
	body, message []byte
}

func newClientConn(socket, secured net.Conn, options *ClientOptions, headers *requestHeaders) *clientConn {
	c := &clientConn{
		socket: socket, secured: secured, options: options, headers: headers, in: bufio.NewReaderSize(secured, 4<<10), next: 1,
		window: peerWindow, initialWindow: peerWindow, frame: ownFrame,
	}
	c.framer = http2.NewFramer(&c.out, c.in)
	c.framer.SetReuseFrames()
	c.framer.SetMaxReadFrameSize(ownFrame)
	c.framer.MaxHeaderListSize = clientHeaders
	c.framer.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	// The preface waits in the buffer for the first request.
	c.out.WriteString(http2.ClientPreface)
	_ = c.framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: clientWindow},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: clientHeaders},
	)
	_ = c.framer.WriteWindowUpdate(0, clientWindow-peerWindow)
	return c
}

// abort ends a call that is under way; any goroutine may.
func (c *clientConn) abort() { shut(c.socket, unix.SHUT_RDWR) }

func (c *clientConn) close() { _ = c.socket.Close() }

// call makes a call. After an error of the connection the connection has ended.
func (c *clientConn) call(ctx context.Context, x *exchange) error {
	c.answer = answer{id: c.next, x: x}
	a := &c.answer
	defer func() { c.answer = answer{} }()
	stop := c.guard(ctx)
	c.next += 2
	if c.next > maxWindow-2 {
		c.ended = true
	}
	err := c.exchange(ctx, a)
	if !stop() || err != nil {
		c.ended = true
	}
	c.ended = c.ended || c.leaving
	c.body, c.message = spare(c.body), spare(c.message)
	switch {
	case err == nil:
		if deadline, ok := ctx.Deadline(); ok && a.result.Code() == codes.Canceled && !deadline.After(time.Now()) {
			// The server saw first that time is up.
			return status.FromContextError(context.DeadlineExceeded).Err()
		}
		x.answeredMD, x.trailerMD = a.header.md, a.trailer.md
		return a.result.Err()
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, errUnseen):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	if s, ok := status.FromError(err); ok {
		return s.Err()
	}
	return status.Errorf(codes.Unavailable, "the connection broke: %v", err)
}

// guard ends the call with its context. For one of ours the socket's deadline is enough, see WithDeadline.
func (c *clientConn) guard(ctx context.Context) (stop func() bool) {
	if _, ours := ctx.(*callContext); !ours {
		_ = c.socket.SetDeadline(time.Time{})
		return context.AfterFunc(ctx, c.abort)
	}
	until, _ := ctx.Deadline()
	_ = c.socket.SetDeadline(until)
	return unguarded
}

func unguarded() bool { return true }

// answer is what has come back for a call.
type answer struct {
	id              uint32
	x               *exchange
	header, trailer outcome
	opened          bool
	// over says that the server has said all that it will say, and result what that means.
	over   bool
	result *status.Status
}

func (a *answer) end(s *status.Status) { a.over, a.result = true, s }

// exchange writes the request and reads the answer. An error is the connection's.
func (c *clientConn) exchange(ctx context.Context, a *answer) error {
	message, err := appendMessage(c.message[:0], a.x.request, a.x.maxSend)
	c.message = message
	if err != nil {
		// Nothing was written: the connection is as good as before.
		a.end(status.Convert(err))
		c.next -= 2
		return nil
	}
	if err := c.open(ctx, a); err != nil {
		return err
	}
	if err := c.send(a, message); err != nil {
		return err
	}
	// From here on the server may have seen the call.
	for !a.over {
		if err := c.read(a); err != nil {
			return err
		}
	}
	return c.flush()
}

// open encodes the request's header.
func (c *clientConn) open(ctx context.Context, a *answer) error {
	c.streamWindow = c.initialWindow
	c.block = c.block[:0]
	if c.resized {
		c.block, c.resized = append(c.block, tableGone), false
	}
	c.block = append(c.block, c.headers.of(a.x.method)...)
	c.block = appendMetadata(c.block, a.x.header)
	if deadline, ok := ctx.Deadline(); ok {
		c.block = appendTimeout(c.block, time.Until(deadline))
	}
	return writeHeaders(c.framer, a.id, c.block, false, c.frame)
}

// send sends the request as far as the server's windows allow, and reads when they do not.
func (c *clientConn) send(a *answer, message []byte) error {
	for {
		for room := min(c.window, c.streamWindow); len(message) > 0 && room > 0; room = min(c.window, c.streamWindow) {
			part := message[:min(int64(len(message)), room, int64(c.frame))]
			message = message[len(part):]
			c.window -= int64(len(part))
			c.streamWindow -= int64(len(part))
			if err := c.framer.WriteData(a.id, len(message) == 0, part); err != nil {
				return err
			}
			if c.out.Len() > keptBuffer {
				if err := c.flush(); err != nil {
					return fmt.Errorf("%w: %w", errUnseen, err)
				}
			}
		}
		if err := c.flush(); err != nil {
			// Without its end the server takes no request for one.
			return fmt.Errorf("%w: %w", errUnseen, err)
		}
		if len(message) == 0 {
			return nil
		}
		if err := c.read(a); err != nil {
			return err
		}
		if a.over {
			// The server has answered without the rest.
			_ = c.framer.WriteRSTStream(a.id, http2.ErrCodeCancel)
			return c.flush()
		}
	}
}

func (c *clientConn) flush() error {
	if c.out.Len() == 0 {
		return nil
	}
	_, err := c.secured.Write(c.out.Bytes())
	clear(c.out.Bytes())
	if c.out.Cap() > 4*keptBuffer {
		c.out = bytes.Buffer{}
	}
	c.out.Reset()
	return err
}

// read reads a frame and does what it wants.
func (c *clientConn) read(a *answer) error {
	if c.in.Buffered() == 0 {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if done, err := c.usual(a); done || err != nil {
		return err
	}
	frame, err := c.framer.ReadFrame()
	var wrong http2.StreamError
	switch {
	case errors.As(err, &wrong):
		if wrong.StreamID != a.id {
			return nil
		}
		_ = c.framer.WriteRSTStream(a.id, wrong.Code)
		a.end(status.Newf(codes.Internal, "the server's answer is no HTTP/2: %v", wrong))
		return nil
	case err != nil:
		if c.leaving && c.last < a.id {
			return errUnseen
		}
		if errors.Is(err, io.EOF) {
			return errors.New("the server closed the connection")
		}
		return err
	}
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		c.fields(a, f)
	case *http2.DataFrame:
		return c.data(a, f.StreamID, f.Length, f.Data(), f.StreamEnded())
	case *http2.RSTStreamFrame:
		return c.reset(a, f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.opened(a, f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		c.leaving, c.last = true, f.LastStreamID
		if c.last < a.id {
			return errUnseen
		}
	case *http2.PushPromiseFrame:
		return errors.New("the server pushes, which it was told not to")
	}
	return nil
}

// usual handles the next frame if it is one of those that make up nearly all answers of a server like ours.
func (c *clientConn) usual(a *answer) (done bool, err error) {
	if c.in.Buffered() == 0 {
		if _, err := c.in.Peek(1); err != nil {
			// The framer meets the same error.
			return false, nil
		}
	}
	f, ok := peek(c.in)
	if !ok || f.stream != a.id || a.over {
		return false, nil
	}
	switch {
	case f.data() && a.opened && !f.last():
		err = c.data(a, f.stream, uint32(len(f.payload)), f.payload, false)
	case f.header() && !a.opened && !f.last() && bytes.Equal(f.payload, answerHeader):
		a.opened = true
	case f.header() && a.opened && f.last() && bytes.Equal(f.payload, okTrailer):
		c.finish(a, okStatus)
	default:
		return false, nil
	}
	f.drop(c.in)
	return true, err
}

var okStatus = status.New(codes.OK, "")

// finish ends the call with what its trailers say.
func (c *clientConn) finish(a *answer, s *status.Status) {
	if s.Code() == codes.OK {
		if err := decodeMessage(c.body, a.x.reply, a.x.maxReceive); err != nil {
			s = status.Convert(err)
		}
	}
	a.end(s)
}

func (c *clientConn) fields(a *answer, f *http2.MetaHeadersFrame) {
	if f.StreamID != a.id || a.over {
		return
	}
	switch {
	case f.Truncated:
		_ = c.framer.WriteRSTStream(a.id, http2.ErrCodeCancel)
		a.end(status.Newf(codes.ResourceExhausted, "the answer's header is longer than %d bytes", clientHeaders))
		return
	case !a.opened:
		a.header.read(f.Fields, metadata.MD{})
		if len(a.header.http) == 3 && a.header.http[0] == '1' && !f.StreamEnded() {
			// An interim answer.
			a.header = outcome{}
			return
		}
		a.opened = true
		if refused := a.header.accept(); refused != nil {
			if !f.StreamEnded() {
				_ = c.framer.WriteRSTStream(a.id, http2.ErrCodeCancel)
			}
			a.end(refused)
			return
		}
		if !f.StreamEnded() {
			return
		}
		a.trailer, a.header.md = a.header, nil
	case !f.StreamEnded():
		_ = c.framer.WriteRSTStream(a.id, http2.ErrCodeProtocol)
		a.end(status.New(codes.Internal, "the answer has a second header that is no trailer"))
		return
	default:
		a.trailer.read(f.Fields, metadata.MD{})
	}
	c.finish(a, a.trailer.status())
}

func (c *clientConn) data(a *answer, id, length uint32, part []byte, ended bool) error {
	if c.taken += length; c.taken >= clientWindow/2 {
		if err := c.framer.WriteWindowUpdate(0, c.taken); err != nil {
			return err
		}
		c.taken = 0
	}
	if id != a.id || a.over {
		return nil
	}
	if !a.opened {
		return errors.New("the server sent data before a header")
	}
	c.body = appendPart(c.body, part, a.x.maxReceive)
	clear(part)
	whole, err := messageLength(c.body, a.x.maxReceive)
	if err == nil && whole >= 0 && len(c.body) > whole {
		err = status.Error(codes.Internal, "there is more than one message in the answer to a unary call")
	}
	if err == nil && ended {
		err = status.Error(codes.Internal, "the answer ends without a status")
	}
	if err != nil {
		if !ended {
			_ = c.framer.WriteRSTStream(a.id, http2.ErrCodeCancel)
		}
		a.end(status.Convert(err))
	}
	return nil
}

func (c *clientConn) reset(a *answer, f *http2.RSTStreamFrame) error {
	if f.StreamID != a.id || a.over {
		return nil
	}
	if f.ErrCode == http2.ErrCodeRefusedStream {
		return errUnseen
	}
	a.end(status.Newf(codeOfReset(f.ErrCode), "the server ended the call: %v", f.ErrCode))
	return nil
}

func (c *clientConn) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			c.streamWindow += int64(s.Val) - c.initialWindow
			c.initialWindow = int64(s.Val)
		case http2.SettingMaxFrameSize:
			c.frame = int(min(s.Val, keptBuffer))
		case http2.SettingHeaderTableSize:
			c.resized = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the server's settings: %w", err)
	}
	return c.framer.WriteSettingsAck()
}

func (c *clientConn) opened(a *answer, f *http2.WindowUpdateFrame) error {
	switch f.StreamID {
	case 0:
		if c.window += int64(f.Increment); c.window > maxWindow {
			return errors.New("the server opens the connection's window too far")
		}
	case a.id:
		if c.streamWindow += int64(f.Increment); c.streamWindow > maxWindow {
			return errors.New("the server opens a stream's window too far")
		}
	}
	return nil
}
