package grpcwire

import (
	"bufio"
	"encoding/binary"

	"golang.org/x/net/http2"
)

// frameHead is the length of what each frame begins with.
const frameHead = 9

// frame is one that lies in a connection's read buffer.
type frame struct {
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload []byte
}

// peek returns the next frame if it has been read as a whole, without reading it. Frames of the usual kinds are handled
// where they lie; all others are the framer's, which checks and copies them.
func peek(in *bufio.Reader) (f frame, ok bool) {
	have := in.Buffered()
	if have < frameHead {
		return frame{}, false
	}
	all, _ := in.Peek(have)
	length := int(all[0])<<16 | int(all[1])<<8 | int(all[2])
	if length > have-frameHead {
		return frame{}, false
	}
	return frame{
		kind: http2.FrameType(all[3]), flags: http2.Flags(all[4]), stream: binary.BigEndian.Uint32(all[5:]),
		payload: all[frameHead : frameHead+length],
	}, true
}

// drop takes a frame out of the buffer.
func (f frame) drop(in *bufio.Reader) { _, _ = in.Discard(frameHead + len(f.payload)) }

// header tells whether the frame is a whole header without padding and priority.
func (f frame) header() bool {
	return f.kind == http2.FrameHeaders && f.flags&^http2.FlagHeadersEndStream == http2.FlagHeadersEndHeaders
}

// data tells whether the frame is data without padding.
func (f frame) data() bool { return f.kind == http2.FrameData && f.flags&^http2.FlagDataEndStream == 0 }

// last tells whether the frame ends its stream; of headers and data alone.
func (f frame) last() bool { return f.flags.Has(http2.FlagDataEndStream) }
