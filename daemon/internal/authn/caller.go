// Package authn finds out who calls: the uid behind a Unix socket, or the key behind a client certificate. It also
// holds the built-in certificate authority that gives applications and the daemon their certificates.
package authn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// Caller is who calls. A zero Caller is somebody without any identity.
type Caller struct {
	// Identity is "uid:N" or "cert:HEX", the SHA-256 of the certificate's public key.
	Identity string
	// Application is the application that the identity belongs to, empty if it belongs to none.
	Application string
	// Admin tells that the caller may administer the daemon.
	Admin bool
}

// Known tells whether the caller is an application or an administrator.
func (c Caller) Known() bool { return c.Application != "" || c.Admin }

// String names the caller in logs: the application if there is one, else the identity.
func (c Caller) String() string {
	switch {
	case c.Application != "":
		return c.Application + " (" + c.Identity + ")"
	case c.Identity != "":
		return c.Identity
	}
	return "nobody"
}

// Directory tells to whom an identity belongs. It answers from memory.
type Directory interface {
	// Resolve returns the application of an identity, empty if none has it, and whether it is an administrator's.
	Resolve(identity string) (application string, admin bool)
}

type callerKey struct{}

// WithCaller returns a context that carries the caller.
func WithCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// FromContext returns the caller that WithCaller put there; a zero Caller, who may do nothing, if there is none.
func FromContext(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)
	return caller
}

// IdentityOfUID returns the identity of a Unix user.
func IdentityOfUID(uid uint32) string { return "uid:" + strconv.FormatUint(uint64(uid), 10) }

// IdentityOfKey returns the identity of a public key, given as the DER of its SubjectPublicKeyInfo.
func IdentityOfKey(spki []byte) string {
	sum := sha256.Sum256(spki)
	return "cert:" + hex.EncodeToString(sum[:])
}
