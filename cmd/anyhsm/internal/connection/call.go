package connection

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/modulefile"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"

	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/wire"
)

const (
	// patience is how long a daemon that was there may be away: a restart.
	patience   = 10 * time.Second
	firstPause = 50 * time.Millisecond
	longPause  = time.Second
)

// once lists the calls that must not be repeated: they carry no request id and change something.
var once = map[string]bool{anyhsmv1.EnrollmentService_Enroll_FullMethodName: true}

// call is the way of every RPC: it names the protocol, repeats what a restart of the daemon interrupted (the message,
// and so the request id, stays the same) and turns the status into a fault.
func (t Target) call(ctx context.Context, method string, request, response any, channel *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption,
) error {
	ctx = metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
	began := time.Now()
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		err := invoke(ctx, method, request, response, channel, options...)
		if err == nil {
			return nil
		}
		again := worthRepeating(err) && !once[method] && time.Since(began)+pause < patience
		if again {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
			}
		}
		return t.explain(ctx, err, time.Since(began))
	}
}

// stream is the way of an RPC that streams. Nothing is repeated: who reads a stream has read a part of it.
func (t Target) stream(ctx context.Context, desc *grpc.StreamDesc, channel *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	began := time.Now()
	ctx = metadata.AppendToOutgoingContext(ctx, wire.ProtocolHeader, wire.Protocol)
	stream, err := open(ctx, desc, channel, method, options...)
	if err != nil {
		return nil, t.explain(ctx, err, time.Since(began))
	}
	return explained{stream, t, began}, nil
}

// explained turns the status at the end of a stream into a fault.
type explained struct {
	grpc.ClientStream
	target Target
	began  time.Time
}

// RecvMsg implements grpc.ClientStream.
func (e explained) RecvMsg(message any) error {
	err := e.ClientStream.RecvMsg(message)
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return e.target.explain(e.Context(), err, time.Since(e.began))
}

// worthRepeating tells a broken connection from an answer. A refused handshake is an answer too.
func worthRepeating(err error) bool {
	answer := status.Convert(err)
	return answer.Code() == codes.Unavailable && !answered(answer) && !strings.Contains(answer.Message(), "handshake") &&
		!strings.Contains(answer.Message(), "tls:")
}

// answered tells whether the daemon itself said so.
func answered(answer *status.Status) bool {
	for _, detail := range answer.Details() {
		if _, ok := detail.(*anyhsmv1.Fault); ok {
			return true
		}
	}
	return false
}

func (t Target) explain(ctx context.Context, err error, waited time.Duration) error {
	answer := status.Convert(err)
	switch {
	case answered(answer):
		return wire.ErrorFromStatus(err)
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(fault.FunctionCanceled, "interrupted: %w", context.Canceled)
	case answer.Code() == codes.DeadlineExceeded:
		return fault.New(fault.DeadlineExceeded, "anyhsmd at %s gave no answer within %s; allow more with --timeout, or look "+
			"into the daemon's log", t, waited.Round(time.Second))
	case answer.Code() == codes.Unavailable:
		return t.unreachable(transport(answer.Message()))
	case answer.Code() == codes.Unimplemented:
		return fault.New(fault.VersionMismatch, "anyhsmd at %s does not know this command: %s; use the anyhsm of the daemon's "+
			"version", t, answer.Message())
	}
	return wire.ErrorFromStatus(err)
}

// transport cuts gRPC's frame from the cause.
func transport(message string) error {
	if _, cause, ok := strings.Cut(message, "desc = "); ok {
		message = strings.Trim(cause, `"`)
	}
	return errors.New(strings.TrimPrefix(message, "transport: "))
}

// unreachable says why the daemon cannot be reached and what to do.
func (t Target) unreachable(err error) error {
	cause, step := err.Error(), "look into the daemon's log"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		cause, step = "no such file", "start it with: "+t.StartCommand()
	case errors.Is(err, syscall.ECONNREFUSED) && t.network == "unix":
		cause, step = "nobody listens on the socket", "start it with: "+t.StartCommand()
	case errors.Is(err, syscall.ECONNREFUSED):
		cause, step = "connection refused", "check `listen.tcp` of the daemon's configuration, and that it runs"
	case errors.Is(err, fs.ErrPermission):
		cause, step = "permission denied", "each directory above the socket must let you pass: ls -ld "+
			filepath.Dir(t.address)
	case errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENAMETOOLONG):
		step = "the path of a Unix socket has at most 107 bytes"
	case strings.Contains(cause, "unknown certificate authority") || strings.Contains(cause, "certificate required") ||
		strings.Contains(cause, "bad certificate") || strings.Contains(cause, "unknown authority"):
		step = "enroll again: anyhsm enroll"
	case t.network == "tcp":
		step = "check the host, the port and that the daemon runs"
	}
	return fault.New(fault.DeviceError, "cannot reach anyhsmd at %s: %s; %s", t, cause, step)
}

// StartCommand is how the daemon of the socket is started, as far as its configuration can be guessed.
func (t Target) StartCommand() string {
	candidates := []string{filepath.Join(filepath.Dir(t.address), "anyhsmd.toml")}
	if home := os.Getenv("HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, ".config", "anyhsm", "anyhsmd.toml"))
	}
	for _, path := range append(candidates, "/etc/anyhsm/anyhsmd.toml") {
		if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), t.address) {
			return "anyhsmd --config " + path
		}
	}
	if t.address == modulefile.SystemSocket {
		return "anyhsmd (first time: anyhsm init)"
	}
	return "anyhsmd --config FILE, where FILE says listen.unix = " + strconv.Quote(t.address)
}
