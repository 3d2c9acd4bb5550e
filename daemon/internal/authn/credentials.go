package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Credentials are gRPC server credentials for both kinds of connection: on a Unix socket they ask the kernel for the
// peer's uid, on all else they do TLS with the given configuration.
type Credentials struct {
	tls credentials.TransportCredentials
}

// NewCredentials returns server credentials. Without a TLS configuration only Unix sockets are accepted.
func NewCredentials(config *tls.Config) *Credentials {
	c := &Credentials{}
	if config != nil {
		c.tls = credentials.NewTLS(config)
	}
	return c
}

// UnixPeer is what the kernel says about the other end of a Unix socket at the time it connected.
type UnixPeer struct {
	credentials.CommonAuthInfo
	UID uint32
	PID int32
}

// AuthType implements credentials.AuthInfo.
func (UnixPeer) AuthType() string { return "unix" }

// ServerHandshake implements credentials.TransportCredentials.
func (c *Credentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if socket, ok := conn.(*net.UnixConn); ok {
		peer, err := peerOf(socket)
		if err != nil {
			return nil, nil, err
		}
		return conn, peer, nil
	}
	if c.tls == nil {
		return nil, nil, errors.New("authn: a connection that is no Unix socket came in, but there is no TLS configuration")
	}
	secured, info, err := c.tls.ServerHandshake(conn)
	if err != nil {
		return nil, nil, err
	}
	if state, ok := info.(credentials.TLSInfo); ok && len(state.State.PeerCertificates) == 0 {
		secured = &strangerConn{Conn: secured, left: strangerBytes}
	}
	return secured, info, nil
}

// strangerBytes is what a connection without a client certificate may send altogether: enough to enroll a few times,
// too little to fill the daemon's memory with large messages.
const strangerBytes = 256 << 10

// strangerConn ends when its bytes are used up.
type strangerConn struct {
	net.Conn
	left int
}

// Read implements net.Conn; gRPC reads from one goroutine.
func (c *strangerConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("authn: a connection without a client certificate sent too much")
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

func peerOf(socket *net.UnixConn) (UnixPeer, error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return UnixPeer{}, fmt.Errorf("authn: the peer's uid: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return UnixPeer{}, fmt.Errorf("authn: the peer's uid: %w", err)
	}
	if credErr != nil {
		return UnixPeer{}, fmt.Errorf("authn: the peer's uid: %w", credErr)
	}
	return UnixPeer{
		// Nothing can listen in on a Unix socket but the kernel.
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		UID:            cred.Uid,
		PID:            cred.Pid,
	}, nil
}

// ClientHandshake implements credentials.TransportCredentials; these are for servers.
func (c *Credentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("authn: these credentials are for a server")
}

// Info implements credentials.TransportCredentials.
func (c *Credentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "anyhsm"}
}

// Clone implements credentials.TransportCredentials.
func (c *Credentials) Clone() credentials.TransportCredentials {
	clone := &Credentials{}
	if c.tls != nil {
		clone.tls = c.tls.Clone()
	}
	return clone
}

// OverrideServerName implements credentials.TransportCredentials; a server has nothing to override.
func (c *Credentials) OverrideServerName(string) error { return nil }

// Authenticate finds out who sent the call of a context. On a Unix socket everybody has an identity, though perhaps
// no application: such a caller simply sees no tokens. Over TCP only a certificate whose key belongs to an application
// or administrator is accepted, at every call anew, so that a revoked one is refused at once. A caller over TCP who
// showed no certificate is a zero Caller together with the error.
func Authenticate(ctx context.Context, directory Directory) (Caller, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, fault.New(fault.Unauthenticated, "the connection has no peer; dial the daemon's socket or TCP address")
	}
	switch info := from.AuthInfo.(type) {
	case UnixPeer:
		caller := Caller{Identity: IdentityOfUID(info.UID)}
		caller.Application, caller.Admin = directory.Resolve(caller.Identity)
		return caller, nil
	case credentials.TLSInfo:
		return ofCertificate(info.State, directory, time.Now())
	}
	return Caller{}, fault.New(fault.Unauthenticated, "the connection carries no identity; dial the daemon's socket or TCP address")
}

func ofCertificate(state tls.ConnectionState, directory Directory, now time.Time) (Caller, error) {
	if len(state.PeerCertificates) == 0 || len(state.VerifiedChains) == 0 {
		return Caller{}, fault.New(fault.Unauthenticated, "over TCP a client certificate is needed; get one with: anyhsm enroll")
	}
	leaf := state.PeerCertificates[0]
	// The handshake has checked the validity, but a connection can outlive the certificate.
	if now.After(leaf.NotAfter) {
		return Caller{}, fault.New(fault.Unauthenticated, "the client certificate of %s (%s) expired on %s; get a new one with: anyhsm enroll",
			leaf.Subject.CommonName, IdentityOfKey(leaf.RawSubjectPublicKeyInfo), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	caller := Caller{Identity: IdentityOfKey(leaf.RawSubjectPublicKeyInfo)}
	caller.Application, caller.Admin = directory.Resolve(caller.Identity)
	if !caller.Known() {
		return Caller{}, fault.New(fault.Unauthenticated, "the client certificate's key (%s) belongs to no application: it was revoked; get a new certificate with: anyhsm enroll", caller.Identity)
	}
	return caller, nil
}
