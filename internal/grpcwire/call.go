package grpcwire

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// stream is one call on the server, and its own grpc.ServerTransportStream.
type stream struct {
	conn    *serverConn
	id      uint32
	method  *method
	context callContext
	began   time.Time

	// The reader's until the call runs, then the call's.
	body     []byte
	received uint32
	complete bool

	// window and gone are guarded by the connection's mu. gone says that the client does not want the answer.
	window int64
	gone   bool

	// mu guards the metadata of the answer.
	mu              sync.Mutex
	header, trailer metadata.MD
	opened          bool
	read            bool
}

// opening is what a call's header says, but for its timeout.
type opening struct {
	// block is the encoded header of which that is known.
	block  []byte
	method *method
	// context is the connection's with the call's metadata.
	context context.Context
}

// readHeader reads a header, or says why it makes no call.
func (c *serverConn) readHeader(fields []hpack.HeaderField) (o opening, timeout string, refused *status.Status) {
	md := make(metadata.MD, len(fields))
	var path, verb, content string
	for _, field := range fields {
		switch field.Name {
		case ":method":
			verb = field.Value
		case ":path":
			path = field.Value
		case ":scheme", "te", "connection":
		case "content-type":
			content = field.Value
			md["content-type"] = []string{content}
		case timeoutField:
			timeout = field.Value
		case "grpc-encoding":
			if field.Value != "identity" {
				return o, "", status.Newf(codes.Unimplemented, "the encoding %.32q is not known here; send messages as they are", field.Value)
			}
		default:
			if strings.HasPrefix(field.Name, "grpc-") {
				continue
			}
			if err := readMetadata(md, field); err != nil {
				return o, "", status.New(codes.Internal, err.Error())
			}
		}
	}
	if verb != "POST" {
		return o, "", status.Newf(codes.Internal, "a call is a POST and no %.16q", verb)
	}
	if content != contentType && content != "application/grpc+proto" && !strings.HasPrefix(content, "application/grpc;") {
		return o, "", status.Newf(codes.Internal, "the content type %.64q is not application/grpc", content)
	}
	method := c.server.methods[path]
	if method == nil {
		return o, "", c.server.unknown(path)
	}
	return opening{method: method, context: metadata.NewIncomingContext(c.context, md)}, timeout, nil
}

// newStream makes a call, or says why there is none.
func (c *serverConn) newStream(id uint32, o opening, timeout string, window int64) (*stream, *status.Status) {
	st := &stream{conn: c, id: id, method: o.method, window: window, began: time.Now()}
	st.context.parent, st.context.stream = o.context, st
	if timeout != "" {
		limit, err := parseTimeout(timeout)
		if err != nil {
			return nil, status.New(codes.Internal, err.Error())
		}
		st.context.until = st.began.Add(limit)
	}
	return st, nil
}

func (s *Server) unknown(path string) *status.Status {
	service, method, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if s.services[service] {
		return status.Newf(codes.Unimplemented, "unknown method %.128s for service %.128s", method, service)
	}
	return status.Newf(codes.Unimplemented, "unknown service %.128s", service)
}

// serve runs the call and answers.
func (st *stream) serve() {
	defer st.conn.remove(st)
	var reply any
	var err error
	if st.method.unary != nil {
		reply, err = st.method.unary(st.method.service, &st.context, st.decode, st.conn.server.unary)
	} else {
		err = st.conn.server.runStream(st.method, serverStream{st})
	}
	spare(st.body)
	st.body = nil
	var message []byte
	if err == nil && st.method.unary != nil {
		message, err = appendMessage(nil, reply, st.conn.server.options.MaxSend)
	}
	result, ok := status.FromError(err)
	if !ok {
		result = status.FromContextError(err)
	}
	if result == nil {
		// That is how grpc-go says that all went well.
		result = okStatus
	}
	if result.Code() != codes.OK {
		message = nil
	}
	_ = st.answer(message, result)
	spare(message)
}

// decode is what a unary handler calls for its request.
func (st *stream) decode(into any) error {
	return decodeMessage(st.body, into, st.conn.server.options.MaxReceive)
}

// Method implements grpc.ServerTransportStream.
func (st *stream) Method() string {
	if st.method.info != nil {
		return st.method.info.FullMethod
	}
	return st.method.about.FullMethod
}

var errHeaderSent = errors.New("the header has been sent already")

// SetHeader implements grpc.ServerTransportStream and grpc.ServerStream.
func (st *stream) SetHeader(md metadata.MD) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.opened {
		return errHeaderSent
	}
	st.header = metadata.Join(st.header, md)
	return nil
}

// SendHeader implements grpc.ServerTransportStream and grpc.ServerStream.
func (st *stream) SendHeader(md metadata.MD) error {
	if err := st.SetHeader(md); err != nil {
		return err
	}
	return st.answer(nil, nil)
}

// setTrailer adds to the trailer: the two interfaces disagree about SetTrailer's result.
func (st *stream) setTrailer(md metadata.MD) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.trailer = metadata.Join(st.trailer, md)
}

// SetTrailer implements grpc.ServerTransportStream.
func (st *stream) SetTrailer(md metadata.MD) error {
	st.setTrailer(md)
	return nil
}

// serverStream is a stream as handlers of streaming calls see it.
type serverStream struct{ *stream }

// SetTrailer implements grpc.ServerStream.
func (s serverStream) SetTrailer(md metadata.MD) { s.setTrailer(md) }

// Context implements grpc.ServerStream.
func (s serverStream) Context() context.Context { return &s.context }

// SendMsg implements grpc.ServerStream.
func (s serverStream) SendMsg(m any) error {
	message, err := appendMessage(nil, m, s.conn.server.options.MaxSend)
	if err != nil {
		return err
	}
	if err := s.answer(message, nil); err != nil {
		return status.FromContextError(context.Canceled).Err()
	}
	return nil
}

// RecvMsg implements grpc.ServerStream: the client sends one message.
func (s serverStream) RecvMsg(m any) error {
	s.mu.Lock()
	again := s.read
	s.read = true
	s.mu.Unlock()
	if again {
		return io.EOF
	}
	return s.decode(m)
}
