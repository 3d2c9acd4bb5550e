package grpcwire

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// restful is how long a connection may lie idle while others are in use.
const restful = time.Minute

// fresh is for how long a connection that has just served a call need not be looked at before the next one.
const fresh = 5 * time.Millisecond

// pool holds a client's connections: those in use and those that wait, the last used one first, so that what is not
// needed falls out of use.
type pool struct {
	mu     sync.Mutex
	limit  int
	count  int
	closed bool
	idle   []*clientConn
	used   map[*clientConn]struct{}
	// waiting calls get a connection, or nil for the right to open one, in the order in which they came.
	waiting []chan *clientConn
}

// take returns an idle connection, or nil for the right to open one.
func (p *pool) take(ctx context.Context) (*clientConn, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errClientClosed
		}
		if last := len(p.idle) - 1; last >= 0 {
			conn := p.idle[last]
			p.idle[last] = nil
			p.idle = p.idle[:last]
			if time.Since(conn.since) > fresh && gone(conn.socket) {
				p.count--
				conn.close()
				continue
			}
			p.used[conn] = struct{}{}
			p.mu.Unlock()
			return conn, nil
		}
		if p.count < p.limit {
			p.count++
			p.mu.Unlock()
			return nil, nil
		}
		break
	}
	turn := make(chan *clientConn, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case conn, ok := <-turn:
		if !ok {
			return nil, errClientClosed
		}
		return conn, nil
	case <-ctx.Done():
		p.leave(turn)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// leave takes a call out of the queue; what it was given in the meantime goes on to the next one.
func (p *pool) leave(turn chan *clientConn) {
	p.mu.Lock()
	for i, w := range p.waiting {
		if w == turn {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if conn, ok := <-turn; ok {
		p.give(conn)
	}
}

// own notes a connection that was opened; false if the client was closed meanwhile.
func (p *pool) own(conn *clientConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.used == nil {
		p.used = map[*clientConn]struct{}{}
	}
	p.used[conn] = struct{}{}
	return true
}

// give takes a connection back, or with nil the right to open one.
func (p *pool) give(conn *clientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if conn != nil && (conn.ended || p.closed) {
		delete(p.used, conn)
		conn.close()
		conn = nil
	}
	if p.closed {
		return
	}
	if len(p.waiting) > 0 {
		turn := p.waiting[0]
		p.waiting = p.waiting[1:]
		turn <- conn
		return
	}
	if conn == nil {
		p.count--
		return
	}
	delete(p.used, conn)
	conn.since = time.Now()
	p.idle = append(p.idle, conn)
	if oldest := p.idle[0]; conn.since.Sub(oldest.since) > restful {
		p.idle = append(p.idle[:0], p.idle[1:]...)
		p.count--
		oldest.close()
	}
}

// close closes idle connections and ends those in use; whoever uses one closes it.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, conn := range p.idle {
		conn.close()
	}
	p.idle = nil
	for conn := range p.used {
		conn.abort()
	}
	for _, turn := range p.waiting {
		close(turn)
	}
	p.waiting = nil
}
