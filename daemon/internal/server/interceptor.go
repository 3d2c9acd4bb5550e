package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/daemon/internal/memo"
	"github.com/anyhsm/anyhsm/internal/fault"
	"github.com/anyhsm/anyhsm/internal/grpcwire"
	"github.com/anyhsm/anyhsm/internal/wire"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const healthPrefix = "/grpc.health.v1.Health/"

// chain is what each call goes through before and after its service.
type chain struct {
	options  Options
	metrics  *Metrics
	draining <-chan struct{}
	// refused is when a refusal was logged last, by its words.
	refused *memo.Memo[time.Time]
}

// Of the refusals of one caller one is logged in a while, and no more than so many callers are kept apart.
const (
	refusedOnce = time.Minute
	maxRefused  = 256
)

// unary is the interceptor of calls with one answer: it counts, times and logs, and makes every error a status with a
// Fault. What a call carries is never logged.
func (c chain) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, caller, err := c.serve(ctx, request, info, handler)
	took := time.Since(start)
	if err != nil {
		response, err = nil, wire.StatusFromError(ended(err))
	}
	code := status.Code(err)
	c.metrics.observe(info.FullMethod, request, code, took)
	level := slog.LevelDebug
	if code == codes.Internal || code == codes.DataLoss {
		level = slog.LevelError
	}
	if c.options.Logger.Enabled(ctx, level) {
		attributes := []slog.Attr{
			slog.String("method", info.FullMethod), slog.String("caller", caller.String()),
			slog.String("code", code.String()), slog.Duration("took", took),
		}
		if err != nil {
			attributes = append(attributes, slog.String("error", status.Convert(err).Message()))
		}
		c.options.Logger.LogAttrs(ctx, level, "call", attributes...)
	}
	return response, err
}

// serve finds out who calls and lets the service answer. A panic becomes an error: one defect in one call must not end
// everybody's.
func (c chain) serve(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, caller authn.Caller, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = nil, c.panicked(info.FullMethod, p)
		}
	}()
	if err = checkVersion(ctx, info.FullMethod); err != nil {
		return nil, caller, err
	}
	if caller, err = c.authenticate(ctx, info.FullMethod); err != nil {
		return nil, caller, err
	}
	ctx, cancel := punctual(ctx)
	defer cancel()
	response, err = handler(authn.WithCaller(ctx, caller), request)
	return response, caller, err
}

// onTheWay is the most time that an answer gets to reach the caller.
const onTheWay = 200 * time.Millisecond

// punctual ends a call a little before its caller gives up: an answer that says what has taken so long must arrive in
// time to be heard.
func punctual(ctx context.Context) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return grpcwire.WithDeadline(ctx, until.Add(-min(onTheWay, time.Until(until)/20)))
}

// ended gives the errors of a context their kinds, unless somebody deeper down has given them one.
func ended(err error) error {
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.DeadlineExceeded, "the daemon could not answer in the time that the caller gave; try again or raise the timeout")
	case errors.Is(err, context.Canceled):
		return fault.New(fault.FunctionCanceled, "the caller gave up before the daemon could answer")
	}
	return err
}

// panicked logs a panic by its type and place. Its text is logged only if the runtime made it: another one's could
// hold what the call carried.
func (c chain) panicked(method string, p any) error {
	what := fmt.Sprintf("%T", p)
	if runtimeError, ok := p.(runtime.Error); ok {
		what = runtimeError.Error()
	}
	c.metrics.panics.Inc()
	c.options.Logger.Error("a call panicked", "method", method, "panic", what, "stack", stack())
	return fault.New(fault.Internal, "the daemon failed in %s; its log has the details, please report them", method)
}

// stack names functions and lines. The runtime's own trace prints arguments as well, and an array passed by value may
// be a key.
func stack() string {
	var counters [64]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])])
	var b strings.Builder
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&b, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return b.String()
		}
	}
}

// checkVersion refuses callers of another protocol version. The standard health service has no version of ours.
func checkVersion(ctx context.Context, method string) error {
	if strings.HasPrefix(method, healthPrefix) {
		return nil
	}
	values := metadata.ValueFromIncomingContext(ctx, wire.ProtocolHeader)
	switch {
	case len(values) == 1 && values[0] == wire.Protocol:
		return nil
	case len(values) == 0:
		return fault.New(fault.VersionMismatch, "the caller does not say which protocol version it speaks, this daemon speaks %s; use a module and CLI of the daemon's version", wire.Protocol)
	}
	return fault.New(fault.VersionMismatch, "the caller speaks protocol version %.16q, this daemon speaks %s; upgrade the older one", values[0], wire.Protocol)
}

func (c chain) authenticate(ctx context.Context, method string) (authn.Caller, error) {
	caller, err := authn.Authenticate(ctx, c.options.Directory)
	// An applicant has no identity yet: that is what the code is for.
	if err != nil && method == anyhsmv1.EnrollmentService_Enroll_FullMethodName {
		return authn.Caller{}, nil
	}
	if err != nil {
		c.tellRefused(ctx, err)
	}
	return caller, err
}

// tellRefused logs who is refused: an application whose certificate has expired says little itself.
func (c chain) tellRefused(ctx context.Context, err error) {
	words := []byte(err.Error())
	if last, ok := c.refused.Get(words); ok && time.Since(last) < refusedOnce {
		return
	}
	c.refused.Put(words, time.Now())
	address := "unknown"
	if from, ok := peer.FromContext(ctx); ok && from.Addr != nil {
		address = from.Addr.String()
	}
	c.options.Logger.Warn("a caller is refused", "address", address, "error", err)
}

// stream guards streaming calls: those of the standard health service, and a backup.
func (c chain) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = wire.StatusFromError(c.panicked(info.FullMethod, p))
		}
	}()
	if err := checkVersion(stream.Context(), info.FullMethod); err != nil {
		return wire.StatusFromError(err)
	}
	caller, err := c.authenticate(stream.Context(), info.FullMethod)
	if err != nil {
		return wire.StatusFromError(err)
	}
	ctx, cancel := context.WithCancel(authn.WithCaller(stream.Context(), caller))
	defer cancel()
	// A watch goes on for ever otherwise, and the server could not end gracefully.
	go func() {
		select {
		case <-c.draining:
			cancel()
		case <-ctx.Done():
		}
	}()
	err = handler(service, drainedStream{stream, ctx})
	if err == nil || strings.HasPrefix(info.FullMethod, healthPrefix) {
		return err
	}
	return wire.StatusFromError(ended(err))
}

// drainedStream is a stream whose context ends when the server does.
type drainedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s drainedStream) Context() context.Context { return s.ctx }
