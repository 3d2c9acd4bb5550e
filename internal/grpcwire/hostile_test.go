package grpcwire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// raw is a peer that writes any frames it likes.
type raw struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	block  bytes.Buffer
	header *hpack.Encoder
}

func newRaw(t *testing.T, conn net.Conn) *raw {
	t.Helper()
	r := &raw{t: t, conn: conn, framer: http2.NewFramer(conn, conn)}
	r.framer.AllowIllegalWrites = true
	r.framer.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	r.header = hpack.NewEncoder(&r.block)
	t.Cleanup(func() { _ = conn.Close() })
	return r
}

func dialRaw(t *testing.T, address string) *raw {
	t.Helper()
	conn, err := net.Dial("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	return newRaw(t, conn)
}

// greet is the beginning of a well-behaved client.
func (r *raw) greet(settings ...http2.Setting) {
	r.t.Helper()
	if _, err := io.WriteString(r.conn, http2.ClientPreface); err != nil {
		r.t.Fatal(err)
	}
	if err := r.framer.WriteSettings(settings...); err != nil {
		r.t.Fatal(err)
	}
}

// fields encodes header fields, given as name, value, name, value.
func (r *raw) fields(pairs ...string) []byte {
	r.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = r.header.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return bytes.Clone(r.block.Bytes())
}

func (r *raw) request(more ...string) []byte {
	return r.fields(append([]string{
		":method", "POST", ":scheme", "http", ":path", anyhsmv1.CryptoService_Sign_FullMethodName, ":authority", "x",
		"content-type", "application/grpc",
	}, more...)...)
}

func (r *raw) open(id uint32, more ...string) {
	_ = writeHeaders(r.framer, id, r.request(more...), false, ownFrame)
}

// closed tells how the server ends the connection: the code of its GOAWAY, ErrCodeNo if there was none.
func (r *raw) closed(within time.Duration) (code http2.ErrCode, ok bool) {
	_ = r.conn.SetReadDeadline(time.Now().Add(within))
	for {
		frame, err := r.framer.ReadFrame()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return code, false
		}
		if err != nil {
			return code, true
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			code = away.ErrCode
		}
	}
}

// next returns the next frame of a stream that is not about flow control.
func (r *raw) next(id uint32) http2.Frame {
	r.t.Helper()
	_ = r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		frame, err := r.framer.ReadFrame()
		if err != nil {
			r.t.Fatalf("stream %d: %v", id, err)
		}
		if _, window := frame.(*http2.WindowUpdateFrame); frame.Header().StreamID == id && !window {
			return frame
		}
	}
}

func message(t testing.TB, data []byte) []byte {
	t.Helper()
	m, err := appendMessage(nil, &anyhsmv1.SignRequest{Data: data}, maxWindow)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hostile(t *testing.T) (address string, s *service) {
	t.Helper()
	s = &service{}
	_, address = startServer(t, network{kind: "unix"}, true, s, ServerOptions{MaxStreams: 8})
	return address, s
}

// TestServerClosesOn: what no HTTP/2 client does ends its connection, and nobody else's.
func TestServerClosesOn(t *testing.T) {
	address, _ := hostile(t)
	for name, attack := range map[string]func(r *raw){
		"HTTP/1": func(r *raw) { _, _ = io.WriteString(r.conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		"no settings": func(r *raw) {
			_, _ = io.WriteString(r.conn, http2.ClientPreface)
			_ = r.framer.WritePing(false, [8]byte{})
		},
		"even stream":          func(r *raw) { r.greet(); r.open(2) },
		"data on an idle one":  func(r *raw) { r.greet(); _ = r.framer.WriteData(5, true, nil) },
		"reset of an idle one": func(r *raw) { r.greet(); _ = r.framer.WriteRSTStream(5, http2.ErrCodeCancel) },
		"window of idle one":   func(r *raw) { r.greet(); _ = r.framer.WriteWindowUpdate(5, 1) },
		"push": func(r *raw) {
			r.greet()
			_ = r.framer.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: r.request(), EndHeaders: true})
		},
		"window too wide": func(r *raw) { r.greet(); _ = r.framer.WriteWindowUpdate(0, maxWindow) },
		"window of zero":  func(r *raw) { r.greet(); _ = r.framer.WriteRawFrame(http2.FrameWindowUpdate, 0, 0, make([]byte, 4)) },
		"frame too long":  func(r *raw) { r.greet(); r.open(1); _ = r.framer.WriteData(1, false, make([]byte, ownFrame+1)) },
		"bad settings": func(r *raw) {
			r.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		},
		"bad frame size": func(r *raw) { r.greet(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1}) },
		"bad compression": func(r *raw) {
			r.greet()
			_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		},
		"interrupted header": func(r *raw) {
			r.greet()
			_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.request()})
			_ = r.framer.WritePing(false, [8]byte{})
		},
		"endless header": func(r *raw) {
			r.greet()
			_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.request()})
			for range 100 {
				if r.framer.WriteContinuation(1, false, r.fields("x", strings.Repeat("y", 15000))) != nil {
					return
				}
			}
		},
		"more than the window": func(r *raw) {
			r.greet()
			r.open(1)
			for range 2 * connectionWindow / ownFrame {
				if r.framer.WriteData(3, false, make([]byte, ownFrame)) != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, address)
			attack(r)
			if _, ok := r.closed(5 * time.Second); !ok {
				t.Error("the connection is still open")
			}
			good := dialRaw(t, address)
			good.greet()
			good.open(1)
			_ = good.framer.WriteData(1, true, message(t, []byte("good")))
			if h, ok := good.next(1).(*http2.MetaHeadersFrame); !ok || h.PseudoValue("status") != "200" {
				t.Errorf("%v", h)
			}
		})
	}
}

// TestServerRefuses: what is wrong with one call ends that call.
func TestServerRefuses(t *testing.T) {
	address, _ := hostile(t)
	r := dialRaw(t, address)
	r.greet()
	id := uint32(1)
	refused := func(name string, want codes.Code, more ...string) {
		t.Helper()
		r.open(id, more...)
		if name != "header only" {
			_ = r.framer.WriteData(id, true, message(t, nil))
		}
		h, ok := r.next(id).(*http2.MetaHeadersFrame)
		if !ok {
			t.Errorf("%s: no header", name)
			return
		}
		var o outcome
		o.read(h.Fields, nil)
		if o.status().Code() != want {
			t.Errorf("%s: %v", name, o.status())
		}
		id += 2
	}
	refused("timeout", codes.Internal, "grpc-timeout", "soon")
	refused("binary", codes.Internal, "x-bin", "!!")
	refused("encoding", codes.Unimplemented, "grpc-encoding", "gzip")
	refused("long header", codes.ResourceExhausted, "x", strings.Repeat("y", serverHeaders-4000), "z", strings.Repeat("y", 5000))

	for name, body := range map[string][]byte{
		"nothing": {}, "part of a prefix": {0, 0}, "part of a message": {0, 0, 0, 0, 9, 1}, "no message": {0, 0, 0, 0, 1, 0xff},
		"two": append(message(t, nil), message(t, nil)...), "compressed": {1, 0, 0, 0, 0}, "huge": {0, 0xff, 0xff, 0xff, 0xff},
	} {
		r.open(id)
		_ = r.framer.WriteData(id, true, body)
		h, ok := r.next(id).(*http2.MetaHeadersFrame)
		var o outcome
		if ok {
			o.read(h.Fields, nil)
		}
		if !ok || !h.StreamEnded() || o.status().Code() == codes.OK {
			t.Errorf("%s: %v", name, h)
		}
		id += 2
	}
	// Padding, priority, unknown frames and a header in parts are all right.
	block := r.request()
	_ = r.framer.WritePriority(id, http2.PriorityParam{StreamDep: 0})
	_ = r.framer.WriteRawFrame(0xbe, 0, id, []byte("unknown"))
	_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:3], PadLength: 7})
	_ = r.framer.WriteContinuation(id, true, block[3:])
	_ = r.framer.WriteDataPadded(id, true, message(t, []byte("padded")), make([]byte, 99))
	if h, ok := r.next(id).(*http2.MetaHeadersFrame); !ok || h.StreamEnded() {
		t.Errorf("%v", h)
	}
	data, ok := r.next(id).(*http2.DataFrame)
	var answer anyhsmv1.SignResponse
	if !ok || proto.Unmarshal(data.Data()[prefix:], &answer) != nil || string(answer.GetSignature()) != "padded" {
		t.Errorf("%v", data)
	}
}

// TestRapidReset: a client that takes its calls back at once gets no more handlers than one that does not.
func TestRapidReset(t *testing.T) {
	address, s := hostile(t)
	running, most := make(chan int, 1), 0
	running <- 0
	hold := make(chan struct{})
	s.set(func(context.Context, *anyhsmv1.SignRequest) error {
		n := <-running
		most = max(most, n+1)
		running <- n + 1
		<-hold
		running <- <-running - 1
		return nil
	})
	r := dialRaw(t, address)
	r.greet()
	for id := uint32(1); id < 400; id += 2 {
		r.open(id)
		_ = r.framer.WriteData(id, true, message(t, nil))
		_ = r.framer.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	_ = r.framer.WritePing(false, [8]byte{1})
	_ = r.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		frame, err := r.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() {
			break
		}
	}
	// A handler may not have begun yet.
	for begun := 0; begun == 0; time.Sleep(time.Millisecond) {
		begun = <-running
		running <- begun
	}
	close(hold)
	n := <-running
	if most > 8 || most == 0 {
		t.Errorf("%d handlers ran at once", most)
	}
	running <- n
}

// TestSlowPeers: whoever begins something and does not go on loses the connection.
func TestSlowPeers(t *testing.T) {
	defer func(a, b, c, d time.Duration) { handshakeLimit, frameLimit, requestLimit, writeLimit = a, b, c, d }(handshakeLimit, frameLimit, requestLimit, writeLimit)
	handshakeLimit, frameLimit, requestLimit, writeLimit = 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond, 150*time.Millisecond
	s := &service{}
	server, address := startServer(t, network{kind: "unix"}, true, s, ServerOptions{})
	defer server.Stop()
	for name, attack := range map[string]func(r *raw){
		"silent":         func(*raw) {},
		"half a preface": func(r *raw) { _, _ = io.WriteString(r.conn, http2.ClientPreface[:10]) },
		"half a frame":   func(r *raw) { r.greet(); _, _ = r.conn.Write([]byte{0, 0, 9, 0}) },
		"half a header": func(r *raw) {
			r.greet()
			_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: r.request()})
		},
		"half a request": func(r *raw) { r.greet(); r.open(1); _ = r.framer.WriteData(1, false, []byte{0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, address)
			attack(r)
			if _, ok := r.closed(3 * time.Second); !ok {
				t.Error("the connection is still open")
			}
		})
	}
	t.Run("closed window", func(t *testing.T) {
		r := dialRaw(t, address)
		r.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
		r.open(1)
		_ = r.framer.WriteData(1, true, message(t, make([]byte, 100)))
		for {
			if reset, ok := r.next(1).(*http2.RSTStreamFrame); ok {
				if reset.ErrCode != http2.ErrCodeCancel {
					t.Errorf("%v", reset)
				}
				break
			}
		}
	})
	t.Run("does not read", func(t *testing.T) {
		r := dialRaw(t, address)
		r.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: maxWindow})
		_ = r.framer.WriteWindowUpdate(0, maxWindow-peerWindow)
		_ = r.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
		body := message(t, make([]byte, 12000))
		for id := uint32(1); ; id += 2 {
			r.open(id)
			if err := r.framer.WriteData(id, true, body); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection is still open")
				}
				return
			}
		}
	})
	t.Run("idle", func(t *testing.T) {
		r := dialRaw(t, address)
		r.greet()
		if _, ok := r.closed(500 * time.Millisecond); ok {
			t.Error("an idle connection was closed")
		}
	})
}

// TestNothingIsLeft: after all ends there are no more goroutines and descriptors than before.
func TestNothingIsLeft(t *testing.T) {
	count := func() (goroutines, descriptors int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(entries)
	}
	goroutines, descriptors := count()
	t.Run("use", func(t *testing.T) {
		pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
			p.service.set(func(ctx context.Context, r *anyhsmv1.SignRequest) error {
				if len(r.GetData()) > 3 {
					<-ctx.Done()
				}
				return nil
			})
			for i := range 8 {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				_, _ = p.crypto.Sign(ctx, &anyhsmv1.SignRequest{Data: make([]byte, i)})
				cancel()
			}
		})
	})
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		g, d := count()
		if g <= goroutines && d <= descriptors {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines (%d before), %d descriptors (%d before)\n%s", g, goroutines, d, descriptors, stacks[:runtime.Stack(stacks, true)])
		}
	}
}
