// Package grpcwire speaks gRPC over HTTP/2 with as few hands as possible: a client writes its request and reads the
// answer on the thread that calls, and a server runs short work on the goroutine that has read it. grpc-go hands every
// call through several goroutines on both sides, and each hand-over puts one thread to sleep and wakes another; that
// costs many times what the encoding does.
//
// The wire is the standard's, so either side talks to any other gRPC implementation. Client implements
// grpc.ClientConnInterface and Server grpc.ServiceRegistrar: generated code, interceptors, credentials, status and
// metadata are grpc-go's. What this system does not use is not there: compression, client streams, name resolution.
package grpcwire

import "time"

const (
	// connectionWindow and streamWindow are what a server lets a client send before it has taken it in: so much that some
	// megabytes take one round trip. What a connection may hold of unfinished requests has a bound of its own.
	connectionWindow = 16 << 20
	streamWindow     = 8 << 20
	// clientWindow is what a client lets a server send: an answer is limited by its length and not by a window.
	clientWindow = 1 << 30
	// ownFrame is the longest frame that this side takes; the least that HTTP/2 allows.
	ownFrame = 16 << 10
	// peerWindow is a window's size before the peer has said anything else.
	peerWindow = 65535
	maxWindow  = 1<<31 - 1
	// headerTable is the size of the tables that remember header fields.
	headerTable = 4096
	// serverHeaders and clientHeaders limit a header list. Trailers carry a status with details, so clients take more.
	serverHeaders = 64 << 10
	clientHeaders = 1 << 20
	// keptBuffer is the largest buffer that a connection keeps for the next call.
	keptBuffer = 64 << 10
)

// Limits that a peer meets who is slow on purpose. Variables, so that tests need not wait.
var (
	// handshakeLimit is for TLS, the preface and the first SETTINGS.
	handshakeLimit = 10 * time.Second
	// frameLimit is for the rest of a frame after its beginning, and for the next part of a request.
	frameLimit = 30 * time.Second
	// requestLimit is for all of a request.
	requestLimit = 2 * time.Minute
	// writeLimit is for the peer to take what was written, or to open its window.
	writeLimit = 30 * time.Second
	// lingering is how long a server that ends waits for a client to close first.
	lingering = 50 * time.Millisecond
)
