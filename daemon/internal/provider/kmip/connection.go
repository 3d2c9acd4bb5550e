package kmip

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
	"github.com/anyhsm/anyhsm/internal/fault"
)

const (
	// maxResponse is the most that is read as one answer.
	maxResponse = 4 << 20
	// callTime bounds a call whose context has no deadline, dialTime a connection and its handshake.
	callTime = time.Minute
	dialTime = 10 * time.Second
	// idleTime is how long an unused connection is kept: servers and firewalls close them, and a call that meets a
	// closed one costs a second try.
	idleTime = 30 * time.Second
)

// connection is a TLS connection to the server, used by one call at a time.
type connection struct {
	*tls.Conn
	since time.Time // it is idle
}

// pool keeps connections.
type pool struct {
	config  Config
	permits chan struct{}

	mu     sync.Mutex
	idle   []*connection
	closed bool
}

func newPool(config Config) *pool {
	size := config.Connections
	if size == 0 {
		size = DefaultConnections
	}
	return &pool{config: config, permits: make(chan struct{}, size)}
}

// take returns a connection that is idle, nil if there is none.
func (p *pool) take() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(c.since) < idleTime {
			return c
		}
		_ = c.Close()
	}
	return nil
}

// put gives back a connection that works.
func (p *pool) put(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	c.since = time.Now()
	p.idle = append(p.idle, c)
}

// drop closes what is idle: where one connection was dead the others will be.
func (p *pool) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop()
}

// dial makes a connection.
func (p *pool) dial(ctx context.Context) (*connection, error) {
	config, err := p.config.tls()
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(limited, "tcp", p.config.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil, interrupted(ctx, "connecting to the KMIP server")
		}
		return nil, fault.New(fault.DeviceError, "the KMIP server %s is not reached: %w; see whether it runs and `address` is right", p.config.Address, err)
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(limited); err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			return nil, interrupted(ctx, "the TLS handshake with the KMIP server")
		}
		return nil, p.handshake(err)
	}
	return &connection{Conn: c}, nil
}

// handshake explains why TLS failed.
func (p *pool) handshake(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	hint := "see the server's log"
	switch {
	case errors.As(err, &unknown):
		hint = "name the certificate of the server's authority in `ca`"
	case errors.As(err, &host):
		hint = "write the server's name in `address` as its certificate has it"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		hint = "renew the server's certificate, or correct the clock"
	case alerted(err):
		hint = "the server does not accept our certificate; let it know the authority of `certificate`, or renew it"
	}
	return fault.New(fault.DeviceError, "no TLS with the KMIP server %s: %w; %s", p.config.Address, err, hint)
}

// alerted tells that the other side ended TLS with an alert, as servers do that refuse our certificate.
func alerted(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.HasPrefix(op.Err.Error(), "tls: ")
}

// exchange sends a request and reads the answer. After an error the connection must not be used again.
func (c *connection) exchange(ctx context.Context, request []byte) (ttlv.Item, error) {
	deadline, ok := ctx.Deadline()
	if limit := time.Now().Add(callTime); !ok || deadline.After(limit) {
		deadline = limit
	}
	if err := c.SetDeadline(deadline); err != nil {
		return ttlv.Item{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	message, err := c.transfer(request)
	if !stop() && err == nil {
		// The deadline may have been cut off already, for nothing else but this call.
		err = ctx.Err()
	}
	return message, err
}

func (c *connection) transfer(request []byte) (ttlv.Item, error) {
	if _, err := c.Write(request); err != nil {
		return ttlv.Item{}, err
	}
	return ttlv.Read(c, maxResponse)
}
