package grpcwire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// against runs a client against a server made of raw frames; serve gets each connection after the client's preface.
func against(t *testing.T, options ClientOptions, serve func(r *raw, connection int)) *Client {
	t.Helper()
	var connections atomic.Int64
	options.Dial = func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		number := int(connections.Add(1))
		go func() {
			defer func() { _ = there.Close() }()
			preface := make([]byte, len(http2.ClientPreface))
			if _, err := io.ReadFull(there, preface); err != nil {
				return
			}
			r := newRaw(t, there)
			// net.Pipe has no buffer: somebody must read while the other side writes.
			frames := make(chan struct{}, 1<<16)
			go func() {
				for {
					frame, err := r.framer.ReadFrame()
					if err != nil {
						close(frames)
						return
					}
					ends, ok := frame.(interface{ StreamEnded() bool })
					if ok && ends.StreamEnded() {
						frames <- struct{}{}
					}
				}
			}()
			if _, ok := <-frames; ok {
				serve(r, number)
				for range frames {
				}
			}
		}()
		return here, nil
	}
	c := NewClient(options)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func call(t *testing.T, c *Client) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := anyhsmv1.NewCryptoServiceClient(c).Sign(ctx, &anyhsmv1.SignRequest{})
	return err
}

func (r *raw) head(id uint32, end bool, pairs ...string) {
	_ = writeHeaders(r.framer, id, r.fields(pairs...), end, ownFrame)
}

// good answers a call as it should be.
func (r *raw) good(id uint32) {
	r.head(id, false, ":status", "200", "content-type", "application/grpc")
	_ = r.framer.WriteData(id, false, []byte{0, 0, 0, 0, 0})
	r.head(id, true, "grpc-status", "0")
}

// TestClientOnBadAnswers: each has an error that says what it is, and none is taken for an answer.
func TestClientOnBadAnswers(t *testing.T) {
	ok := []string{":status", "200", "content-type", "application/grpc"}
	for name, c := range map[string]struct {
		answer func(r *raw)
		code   codes.Code
	}{
		"nothing":      {func(r *raw) { _ = r.conn.Close() }, codes.Unavailable},
		"garbage":      {func(r *raw) { _, _ = io.WriteString(r.conn, "HTTP/1.1 400 Bad Request\r\n\r\n") }, codes.Unavailable},
		"web server":   {func(r *raw) { r.head(1, true, ":status", "404", "content-type", "text/html") }, codes.Unimplemented},
		"proxy":        {func(r *raw) { r.head(1, true, ":status", "503") }, codes.Unavailable},
		"no gRPC":      {func(r *raw) { r.head(1, true, ":status", "200", "content-type", "text/plain") }, codes.Unknown},
		"no status":    {func(r *raw) { r.head(1, false, ok...); r.head(1, true, "x", "y") }, codes.Internal},
		"bad status":   {func(r *raw) { r.head(1, true, append(ok, "grpc-status", "-1")...) }, codes.Internal},
		"no message":   {func(r *raw) { r.head(1, true, append(ok, "grpc-status", "0")...) }, codes.Internal},
		"data first":   {func(r *raw) { _ = r.framer.WriteData(1, false, []byte{0, 0, 0, 0, 0}) }, codes.Unavailable},
		"data last":    {func(r *raw) { r.head(1, false, ok...); _ = r.framer.WriteData(1, true, []byte{0, 0, 0, 0, 0}) }, codes.Internal},
		"two headers":  {func(r *raw) { r.head(1, false, ok...); r.head(1, false, ok...) }, codes.Internal},
		"two messages": {func(r *raw) { r.head(1, false, ok...); _ = r.framer.WriteData(1, false, make([]byte, 10)) }, codes.Internal},
		"compressed":   {func(r *raw) { r.head(1, false, ok...); _ = r.framer.WriteData(1, false, []byte{1, 0, 0, 0, 0}) }, codes.Unimplemented},
		"too long":     {func(r *raw) { r.head(1, false, ok...); _ = r.framer.WriteData(1, false, []byte{0, 0xff, 0, 0, 0}) }, codes.ResourceExhausted},
		"no protobuf": {func(r *raw) {
			r.head(1, false, ok...)
			_ = r.framer.WriteData(1, false, []byte{0, 0, 0, 0, 1, 0xff})
			r.head(1, true, "grpc-status", "0")
		}, codes.Internal},
		"reset": {func(r *raw) { _ = r.framer.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm) }, codes.ResourceExhausted},
		"push": {func(r *raw) {
			_ = r.framer.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, codes.Unavailable},
		"wide window":     {func(r *raw) { _ = r.framer.WriteWindowUpdate(0, maxWindow) }, codes.Unavailable},
		"long frame":      {func(r *raw) { _ = r.framer.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, ownFrame+1)) }, codes.Unavailable},
		"always leaving":  {func(r *raw) { _ = r.framer.WriteGoAway(0, http2.ErrCodeNo, nil) }, codes.Unavailable},
		"always refusing": {func(r *raw) { _ = r.framer.WriteRSTStream(1, http2.ErrCodeRefusedStream) }, codes.Unavailable},
		"long header": {func(r *raw) {
			r.head(1, true, append(ok, "grpc-status", "0", "x", strings.Repeat("y", clientHeaders))...)
		}, codes.ResourceExhausted},
		"silence": {func(*raw) {}, codes.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := against(t, ClientOptions{}, func(r *raw, _ int) {
				if name != "garbage" {
					_ = r.framer.WriteSettings()
				}
				c.answer(r)
			})
			wantCode(t, call(t, client), c.code)
		})
	}
}

// TestClientTakesOddAnswers: what is unusual and allowed.
func TestClientTakesOddAnswers(t *testing.T) {
	client := against(t, ClientOptions{}, func(r *raw, _ int) {
		_ = r.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}, http2.Setting{ID: 0xff, Val: 1})
		_ = r.framer.WritePing(false, [8]byte{1})
		_ = r.framer.WriteRawFrame(0xbe, 0, 0, []byte("unknown"))
		r.head(1, false, ":status", "103")
		block := r.fields(":status", "200", "content-type", "application/grpc+proto", "grpc-encoding", "identity")
		_ = r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:2], PadLength: 9})
		_ = r.framer.WriteContinuation(1, true, block[2:])
		for _, b := range []byte{0, 0, 0, 0, 0} {
			_ = r.framer.WriteDataPadded(1, false, []byte{b}, make([]byte, 3))
		}
		r.head(1, true, "grpc-status", "0")
	})
	if err := call(t, client); err != nil {
		t.Error(err)
	}
}

// TestUnseenCalls: a call that a server has not looked at goes to another connection, without the caller's knowing.
func TestUnseenCalls(t *testing.T) {
	for name, refuse := range map[string]func(r *raw){
		"leaving":  func(r *raw) { _ = r.framer.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"refusing": func(r *raw) { _ = r.framer.WriteRSTStream(1, http2.ErrCodeRefusedStream) },
	} {
		client := against(t, ClientOptions{}, func(r *raw, connection int) {
			_ = r.framer.WriteSettings()
			if connection < 3 {
				refuse(r)
				return
			}
			r.good(1)
		})
		if err := call(t, client); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestQueue: calls beyond the bound wait their turn, give up in time, and end with the client.
func TestQueue(t *testing.T) {
	s := &service{}
	_, address := startServer(t, network{kind: "unix"}, true, s, ServerOptions{})
	var open, most atomic.Int64
	client := NewClient(ClientOptions{MaxConnections: 2, Dial: func(ctx context.Context) (net.Conn, error) {
		most.Store(max(most.Load(), open.Add(1)))
		var d net.Dialer
		return d.DialContext(ctx, "unix", address)
	}})
	defer func() { _ = client.Close() }()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 20 {
				if err := call(t, client); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if most.Load() != 2 {
		t.Errorf("%d connections", most.Load())
	}
	hold := make(chan struct{})
	s.set(func(context.Context, *anyhsmv1.SignRequest) error { <-hold; return nil })
	for range 2 {
		group.Go(func() { _ = call(t, client) })
	}
	time.Sleep(30 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := anyhsmv1.NewCryptoServiceClient(client).Sign(ctx, &anyhsmv1.SignRequest{})
	wantCode(t, err, codes.DeadlineExceeded)
	group.Go(func() { wantCode(t, call(t, client), codes.Canceled) })
	time.Sleep(30 * time.Millisecond)
	_ = client.Close()
	close(hold)
	group.Wait()
	wantCode(t, call(t, client), codes.Canceled)
}

// TestRestart: idle connections to a server that is gone are not used for a call.
func TestRestart(t *testing.T) {
	pairs(t, ServerOptions{}, func(t *testing.T, p pair) {
		if !p.oursCalls || p.kind != "unix" {
			return
		}
		if err := p.sign(t, nil); err != nil {
			t.Fatal(err)
		}
		p.server.Stop()
		listener, err := net.Listen("unix", p.address)
		if err != nil {
			t.Fatal(err)
		}
		again := NewServer(ServerOptions{MaxReceive: testLimit})
		anyhsmv1.RegisterCryptoServiceServer(again, &service{})
		go func() { _ = again.Serve(listener) }()
		defer again.Stop()
		if err := p.sign(t, []byte("again")); err != nil {
			t.Error(err)
		}
	})
}

func TestOptions(t *testing.T) {
	c := NewClient(ClientOptions{Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no such host") }})
	invoke := func(ctx context.Context, method string, request any, options ...grpc.CallOption) error {
		return c.Invoke(ctx, method, request, &anyhsmv1.SignResponse{}, options...)
	}
	request := &anyhsmv1.SignRequest{}
	wantCode(t, invoke(t.Context(), "/a/b", request), codes.Unavailable)
	wantCode(t, invoke(t.Context(), "a/b", request), codes.Internal)
	wantCode(t, invoke(t.Context(), "/a/b", request, grpc.UseCompressor("gzip")), codes.Unimplemented)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	wantCode(t, invoke(over, "/a/b", request), codes.Canceled)
	if s := status.Convert(invoke(t.Context(), "/a/b", request)); !strings.Contains(s.Message(), "no such host") {
		t.Errorf("%v", s)
	}
}

func TestTimeouts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0n", 0: "0n", 1: "1n", 99999999: "99999999n", 100000000: "100000u", 100000001: "100001u",
		30 * time.Second: "30000000u", 1<<63 - 1: "2562048H",
	} {
		if got := string(formatTimeout(nil, d)); got != want {
			t.Errorf("%v is %s, expected %s", d, got, want)
		}
		if back, err := parseTimeout(want); err != nil || d > 0 && back < d {
			t.Errorf("%s is %v, %v", want, back, err)
		}
	}
	for _, bad := range []string{"", "1", "m", "-1m", "1x", "123456789n", "１m", "1.5S", "+1S"} {
		if d, err := parseTimeout(bad); err == nil {
			t.Errorf("%q is %v", bad, d)
		}
	}
}

func FuzzTimeout(f *testing.F) {
	for _, seed := range []string{"1n", "99999999H", "", "x", "00000000S"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseTimeout(s)
		if err != nil {
			return
		}
		if again, err := parseTimeout(string(formatTimeout(nil, d))); d < 0 || err != nil || again < d {
			t.Errorf("%q is %v and again %v, %v", s, d, again, err)
		}
	})
}

func FuzzMessageText(f *testing.F) {
	f.Add("plain")
	f.Add("100 % Grüße\n%41%")
	f.Fuzz(func(t *testing.T, s string) {
		_ = unescape(s)
		escaped := escape(s)
		for i := range len(escaped) {
			if escaped[i] < ' ' || escaped[i] > '~' {
				t.Fatalf("%q is written as %q", s, escaped)
			}
		}
		if back := unescape(escaped); back != strings.ToValidUTF8(s, "\uFFFD") {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

// recorded is what a good client sends, and what a good server answers.
func recorded(f *testing.F) (request, answer []byte) {
	f.Helper()
	var sent, received bytes.Buffer
	r := &raw{framer: http2.NewFramer(&sent, nil)}
	r.header = hpack.NewEncoder(&r.block)
	sent.WriteString(http2.ClientPreface)
	_ = r.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	r.open(1, "grpc-timeout", "1S", "x-bin", "AAE")
	_ = r.framer.WriteData(1, true, message(f, []byte("data")))
	_ = r.framer.WritePing(false, [8]byte{})
	r.open(3)
	_ = r.framer.WriteRSTStream(3, http2.ErrCodeCancel)
	a := &raw{framer: http2.NewFramer(&received, nil)}
	a.header = hpack.NewEncoder(&a.block)
	_ = a.framer.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 20})
	a.good(1)
	_ = a.framer.WriteGoAway(1, http2.ErrCodeNo, nil)
	return sent.Bytes(), received.Bytes()
}

// memory is a connection whose peer has said all that it will say.
type memory struct {
	io.Reader
	net.Conn
}

func (m memory) Read(b []byte) (int, error)     { return m.Reader.Read(b) }
func (memory) Write(b []byte) (int, error)      { return len(b), nil }
func (memory) Close() error                     { return nil }
func (memory) SetDeadline(time.Time) error      { return nil }
func (memory) SetReadDeadline(time.Time) error  { return nil }
func (memory) SetWriteDeadline(time.Time) error { return nil }
func (memory) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (memory) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }

// FuzzServer: whatever a client sends, the server ends the connection and all that belongs to it.
func FuzzServer(f *testing.F) {
	request, _ := recorded(f)
	f.Add(request)
	f.Add(request[:len(request)-9])
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := NewServer(ServerOptions{MaxStreams: 4, MaxReceive: 1 << 16})
		anyhsmv1.RegisterCryptoServiceServer(s, &service{})
		s.admit(memory{Reader: bytes.NewReader(sent)})
		s.work.Wait()
		s.Stop()
	})
}

// FuzzClient: whatever a server answers, the call ends.
func FuzzClient(f *testing.F) {
	_, answer := recorded(f)
	f.Add(answer)
	f.Add(answer[:len(answer)-20])
	f.Fuzz(func(_ *testing.T, answer []byte) {
		c := NewClient(ClientOptions{Dial: func(context.Context) (net.Conn, error) {
			return memory{Reader: bytes.NewReader(answer)}, nil
		}})
		_, _ = anyhsmv1.NewCryptoServiceClient(c).Sign(context.Background(), &anyhsmv1.SignRequest{Data: make([]byte, 1000)})
		_ = c.Close()
	})
}
