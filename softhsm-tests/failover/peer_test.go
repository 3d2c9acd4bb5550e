// Package failover runs applications on a key that is in several places, and takes these away in turn.
package failover

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// ways are how a peer goes away.
type way string

const (
	well      way = "well"
	killed    way = "killed"
	hung      way = "hung"
	throttled way = "throttled"
)

// wire is a TCP connection to a peer that the test can cut or let hang.
type wire struct {
	address string
	way     atomic.Value
	mu      sync.Mutex
	open    map[net.Conn]bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{address: listener.Addr().String(), open: map[net.Conn]bool{}}
	w.way.Store(well)
	t.Cleanup(func() {
		listener.Close()
		w.set(killed)
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go w.join(client, to)
		}
	}()
	return w
}

func (w *wire) join(client net.Conn, to string) {
	defer client.Close()
	if w.way.Load() == killed {
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	w.mu.Lock()
	w.open[client] = true
	w.mu.Unlock()
	go func() {
		_, _ = io.Copy(client, server)
		client.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			break
		}
		if w.way.Load() == hung {
			continue // and the peer never hears of it
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			break
		}
	}
	w.mu.Lock()
	delete(w.open, client)
	w.mu.Unlock()
}

// set changes the way; connections of before are cut unless they only hang.
func (w *wire) set(how way) {
	w.way.Store(how)
	if how == hung {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.open {
		conn.Close()
	}
}

// gateway is an HTTP service that the test can cut, let hang, or let throttle as AWS KMS does.
type gateway struct {
	address string
	way     atomic.Value
}

func newGateway(t *testing.T, to string) *gateway {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{}
	g.way.Store(well)
	// The service checks the signature, which is about the host that the client has called.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch g.way.Load() {
		case killed:
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				conn.Close()
			}
		case hung:
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		case throttled:
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.Header().Set("X-Amzn-Errortype", "ThrottlingException")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"ThrottlingException","message":"Rate exceeded"}`)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() {
		g.way.Store(killed)
		server.CloseClientConnections()
		server.Close()
	})
	g.address = server.URL
	return g
}

func (g *gateway) set(how way) { g.way.Store(how) }
