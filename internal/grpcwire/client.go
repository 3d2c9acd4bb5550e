package grpcwire

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ClientOptions say how a client reaches its server.
type ClientOptions struct {
	// Dial opens a connection.
	Dial func(ctx context.Context) (net.Conn, error)
	// Credentials make it a secure one; nil where it is secure as it is.
	Credentials credentials.TransportCredentials
	// Authority names the server, UserAgent the client.
	Authority, UserAgent string
	// Metadata goes with each call.
	Metadata metadata.MD
	// MaxReceive and MaxSend are the longest messages, unless a call has other limits; 4 MiB and no limit if 0.
	MaxReceive, MaxSend int
	// ConnectTimeout bounds dial and handshake; 3 seconds if 0.
	ConnectTimeout time.Duration
	// Opened and Closing are told of the descriptors of sockets, after they were opened and before they are closed.
	Opened, Closing func(fd int)
	// MaxConnections is how many connections there may be at once, and so how many calls; 64 if 0. Further calls wait.
	MaxConnections int
}

// Client makes calls. Each has a connection to itself while it lasts, on which its own thread writes and reads.
type Client struct {
	options ClientOptions
	headers requestHeaders
	pool    pool
}

const (
	defaultConnections    = 64
	defaultConnectTimeout = 3 * time.Second
	// defaultMessage is grpc-go's limit for messages that come in.
	defaultMessage = 4 << 20
	// attempts is how often a call is tried that servers say they have not looked at.
	attempts = 3
)

var errClientClosed = status.Error(codes.Canceled, "the client is closed")

// NewClient makes a client. It does no I/O.
func NewClient(options ClientOptions) *Client {
	if options.MaxConnections == 0 {
		options.MaxConnections = defaultConnections
	}
	if options.ConnectTimeout == 0 {
		options.ConnectTimeout = defaultConnectTimeout
	}
	if options.MaxReceive == 0 {
		options.MaxReceive = defaultMessage
	}
	if options.MaxSend == 0 {
		options.MaxSend = maxWindow
	}
	c := &Client{options: options}
	c.headers.common = commonFields(&c.options)
	c.pool.limit = options.MaxConnections
	return c
}

// Close closes all connections; calls that are under way end.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// exchange is one call.
type exchange struct {
	method                string
	request, reply        any
	header                metadata.MD
	maxSend, maxReceive   int
	headerTo, trailerTo   *metadata.MD
	answeredMD, trailerMD metadata.MD
}

// errUnseen tells of a call that the server has not looked at.
var errUnseen = errors.New("the server has not looked at the call")

// Invoke implements grpc.ClientConnInterface.
func (c *Client) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	x := exchange{method: method, request: request, reply: reply, maxSend: c.options.MaxSend, maxReceive: c.options.MaxReceive}
	if err := x.apply(options); err != nil {
		return err
	}
	x.header, _ = metadata.FromOutgoingContext(ctx)
	if err := checkMetadata(x.header); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	err := c.try(ctx, &x)
	if x.headerTo != nil {
		*x.headerTo = x.answeredMD
	}
	if x.trailerTo != nil {
		*x.trailerTo = x.trailerMD
	}
	return err
}

func (c *Client) try(ctx context.Context, x *exchange) error {
	var err error
	stand()
	for range attempts {
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
		var conn *clientConn
		if conn, err = c.lease(ctx); err != nil {
			return err
		}
		err = conn.call(ctx, x)
		c.pool.give(conn)
		if !errors.Is(err, errUnseen) {
			return err
		}
	}
	return status.Error(codes.Unavailable, err.Error())
}

// NewStream implements grpc.ClientConnInterface.
func (c *Client) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "this client makes unary calls only")
}

// apply reads the options that a call can have here. Others are refused: to ignore one could change what it means.
func (x *exchange) apply(options []grpc.CallOption) error {
	for _, option := range options {
		switch o := option.(type) {
		case grpc.MaxRecvMsgSizeCallOption:
			x.maxReceive = o.MaxRecvMsgSize
		case grpc.MaxSendMsgSizeCallOption:
			x.maxSend = o.MaxSendMsgSize
		case grpc.HeaderCallOption:
			x.headerTo = o.HeaderAddr
		case grpc.TrailerCallOption:
			x.trailerTo = o.TrailerAddr
		case grpc.StaticMethodCallOption, grpc.EmptyCallOption, grpc.FailFastCallOption:
		default:
			return status.Errorf(codes.Unimplemented, "this client has no call option %T", option)
		}
	}
	if !strings.HasPrefix(x.method, "/") {
		return status.Errorf(codes.Internal, "the method %q does not begin with a slash", x.method)
	}
	return nil
}

// lease returns a connection that nobody else uses.
func (c *Client) lease(ctx context.Context) (*clientConn, error) {
	conn, err := c.pool.take(ctx)
	if err != nil || conn != nil {
		return conn, err
	}
	conn, err = c.connect(ctx)
	if err != nil {
		c.pool.give(nil)
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Errorf(codes.Unavailable, "no connection: %v", err)
	}
	if !c.pool.own(conn) {
		conn.close()
		c.pool.give(nil)
		return nil, errClientClosed
	}
	return conn, nil
}

func (c *Client) connect(ctx context.Context) (*clientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.options.ConnectTimeout)
	defer cancel()
	conn, err := c.options.Dial(ctx)
	if err != nil {
		return nil, err
	}
	conn = newSocket(conn, nil, c.options.Opened, c.options.Closing)
	secured := conn
	if c.options.Credentials != nil {
		if secured, _, err = c.options.Credentials.ClientHandshake(ctx, c.options.Authority, conn); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return newClientConn(conn, secured, &c.options, &c.headers), nil
}
