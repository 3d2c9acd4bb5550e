package attacks

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
	"github.com/anyhsm/anyhsm/softhsm-tests/daemontest"
)

// bad is a client that misbehaves once it is connected. It returns when the daemon has ended the connection.
type bad struct {
	name string
	// tcp and unix say on which listeners, enrolled whether with a certificate.
	tcp, unix, enrolled bool
	attack              func(conn net.Conn)
}

var attacks = []bad{
	{name: "says nothing", tcp: true, unix: true, attack: func(net.Conn) {}},
	{name: "a byte a second of TLS", tcp: true, attack: func(c net.Conn) {
		// A ClientHello that announces 512 bytes.
		drip(c, append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 500)...))
	}},
	{name: "a byte a second of the preface", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) { drip(c, []byte(http2.ClientPreface)) }},
	{name: "a byte a second of a request's header", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		drip(c, request(1, true))
	}},
	{name: "a byte a second of a request's data", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		_, _ = c.Write(request(1, true))
		drip(c, data(1, append([]byte{0, 0, 0, 4, 0}, make([]byte, 1000)...)))
	}},
}

// excesses are what is too much. The daemon may answer with an error or end the connection.
var excesses = []bad{
	{name: "a message of 4 GiB, announced", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		_, _ = c.Write(append(request(1, true), data(1, []byte{0, 0xff, 0xff, 0xff, 0xff})...))
		flood(c, data(1, make([]byte, 16<<10)))
	}},
	{name: "a frame of 16 MiB", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		_, _ = c.Write(append([]byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1}, make([]byte, 1000)...))
		flood(c, make([]byte, 64<<10))
	}},
	{name: "headers without end", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		_, _ = c.Write(request(1, false))
		var frame bytes.Buffer
		_ = http2.NewFramer(&frame, nil).WriteContinuation(1, false, literal("x", strings.Repeat("y", 8<<10)))
		flood(c, frame.Bytes())
	}},
	{name: "requests that are taken back at once", unix: true, enrolled: true, tcp: true, attack: func(c net.Conn) {
		begin(c)
		for id := uint32(1); id < 40_001; id += 2 {
			var frame bytes.Buffer
			_ = http2.NewFramer(&frame, nil).WriteRSTStream(id, http2.ErrCodeCancel)
			if _, err := c.Write(append(request(id, true), frame.Bytes()...)); err != nil {
				return
			}
		}
	}},
}

// drip writes a byte a second until the other side is gone.
func drip(c net.Conn, text []byte) {
	for i := range text {
		if _, err := c.Write(text[i : i+1]); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// flood writes as much as it can, up to 64 MiB.
func flood(c net.Conn, text []byte) {
	for written := 0; written < 64<<20; written += len(text) {
		if _, err := c.Write(text); err != nil {
			return
		}
	}
}

// begin says what comes before the first request.
func begin(c net.Conn) {
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	_ = http2.NewFramer(&b, nil).WriteSettings()
	_, _ = c.Write(b.Bytes())
}

// request is the header of a call, which may be left unfinished.
func request(id uint32, finished bool) []byte {
	var block, b bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", anyhsmv1.TokenService_ListSlots_FullMethodName},
		{":authority", "localhost"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{wire.ProtocolHeader, wire.Protocol},
	} {
		_ = e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	_ = http2.NewFramer(&b, nil).WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: finished})
	return b.Bytes()
}

func literal(name, value string) []byte {
	var b bytes.Buffer
	b.WriteByte(0)
	b.WriteByte(byte(len(name)))
	b.WriteString(name)
	// A length of 7 bits, continued.
	b.WriteByte(0x7f)
	b.Write(binary.AppendUvarint(nil, uint64(len(value)-0x7f)))
	b.WriteString(value)
	return b.Bytes()
}

func data(id uint32, content []byte) []byte {
	var b bytes.Buffer
	_ = http2.NewFramer(&b, nil).WriteData(id, false, content)
	return b.Bytes()
}

// connector connects bad clients.
type connector struct {
	d           *daemontest.Daemon
	certificate tls.Certificate
}

func (c connector) unix() (net.Conn, error) { return net.Dial("unix", c.d.Socket) }
func (c connector) tcp() (net.Conn, error) {
	return net.Dial("tcp", strings.TrimPrefix(c.d.Endpoint, "tcp://"))
}

func (c connector) enrolled() (net.Conn, error) {
	return tls.Dial("tcp", strings.TrimPrefix(c.d.Endpoint, "tcp://"), &tls.Config{
		Certificates: []tls.Certificate{c.certificate}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		// The attacker does not care who it talks to.
		InsecureSkipVerify: true,
	})
}

// of returns the ways in which a bad client connects.
func (c connector) of(b bad) (ways map[string]func() (net.Conn, error)) {
	ways = map[string]func() (net.Conn, error){}
	if b.unix {
		ways["unix"] = c.unix
	}
	if b.tcp && b.enrolled {
		ways["tcp, enrolled"] = c.enrolled
	} else if b.tcp {
		ways["tcp"] = c.tcp
	}
	return ways
}

// start starts a daemon, and enrolls the attacker: one of the company's own applications gone bad.
func start(t *testing.T) (*daemontest.Daemon, connector) {
	t.Helper()
	d := daemontest.Start(t, daemontest.Options{TCP: true})
	d.CLI(t, "app", "add", "bad", "--grant", d.Token)
	dir := t.TempDir()
	code := filepath.Join(dir, "code")
	if err := os.WriteFile(code, []byte(strings.TrimSpace(d.CLI(t, "app", "code", "bad"))), 0o600); err != nil {
		t.Fatal(err)
	}
	d.CLI(t, "enroll", "--endpoint", d.Endpoint, "--dir", dir, "--code", "file:"+code)
	certificate, err := tls.LoadX509KeyPair(dir+"/app.crt", dir+"/app.key")
	if err != nil {
		t.Fatal(err)
	}
	return d, connector{d, certificate}
}

// TestSlowClients: a hundred of each kind at once. The daemon ends them in bounded time, gives back what they cost, and
// serves a good application meanwhile.
func TestSlowClients(t *testing.T) {
	const each = 100
	d, connect := start(t)
	good := newVictim(t, d, d.Token)
	before := measure(t, d)
	var all sync.WaitGroup
	began := time.Now()
	for _, b := range attacks {
		for way, dial := range connect.of(b) {
			var longest atomic.Int64
			var group sync.WaitGroup
			for range each {
				group.Go(func() {
					conn, err := dial()
					if err != nil {
						t.Errorf("%s over %s: %v", b.name, way, err)
						return
					}
					defer conn.Close()
					since := time.Now()
					go b.attack(conn)
					if err := gone(conn); err != nil {
						t.Errorf("%s over %s: %v", b.name, way, err)
					}
					if took := int64(time.Since(since)); took > longest.Load() {
						longest.Store(took)
					}
				})
			}
			all.Go(func() {
				group.Wait()
				t.Logf("%s over %s: ended after %v at most", b.name, way, time.Duration(longest.Load()).Round(time.Second))
			})
		}
	}
	all.Wait()
	t.Logf("it took %v", time.Since(began).Round(time.Second))
	good.end(100)
	settled(t, d, before)
}

// gone waits until the daemon has ended a connection.
func gone(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 4096)
	for {
		_, err := conn.Read(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("it still is connected after %v", patience)
		}
		if err != nil {
			return nil
		}
	}
}

// TestTooMuch: what no client may send costs the daemon neither memory nor other callers.
func TestTooMuch(t *testing.T) {
	const each = 10
	d, connect := start(t)
	good := newVictim(t, d, d.Token)
	before := measure(t, d)
	var most float64
	for _, b := range excesses {
		for way, dial := range connect.of(b) {
			var all sync.WaitGroup
			for range each {
				all.Go(func() {
					conn, err := dial()
					if err != nil {
						t.Errorf("%s over %s: %v", b.name, way, err)
						return
					}
					defer conn.Close()
					drained := make(chan struct{})
					go func() { _ = gone(conn); close(drained) }()
					b.attack(conn)
					_ = conn.Close()
					<-drained
				})
			}
			all.Wait()
			now := measure(t, d)
			most = max(most, now.memory)
			t.Logf("%s over %s: the daemon has %.0f MiB", b.name, way, now.memory/(1<<20))
		}
	}
	if most > before.memory+256<<20 {
		t.Errorf("the daemon grew from %.0f to %.0f MiB", before.memory/(1<<20), most/(1<<20))
	}
	good.end(100)
	settled(t, d, before)
}
