package storeadmin

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// registrar keeps the service, so that a test can call it without a network.
type registrar struct {
	desc    *grpc.ServiceDesc
	service any
}

func (r *registrar) RegisterService(desc *grpc.ServiceDesc, service any) {
	r.desc, r.service = desc, service
}

// silent is a stream of which only the context is looked at.
type silent struct {
	grpc.ServerStream
	ctx context.Context
}

func (s silent) Context() context.Context { return s.ctx }
func (s silent) RecvMsg(any) error        { return nil }

// TestEveryCallNeedsAnAdministrator calls every method of store.proto. What is below is nil: a method that reached it
// before it had looked at the caller would panic.
func TestEveryCallNeedsAnAdministrator(t *testing.T) {
	r := &registrar{}
	Register(r, Config{})
	calls := map[string]func(ctx context.Context) error{}
	for _, method := range r.desc.Methods {
		calls[method.MethodName] = func(ctx context.Context) error {
			_, err := method.Handler(r.service, ctx, func(request any) error { proto.Reset(request.(proto.Message)); return nil }, nil)
			return err
		}
	}
	for _, stream := range r.desc.Streams {
		calls[stream.StreamName] = func(ctx context.Context) error { return stream.Handler(r.service, silent{ctx: ctx}) }
	}
	methods := anyhsmv1.File_anyhsm_v1_store_proto.Services().ByName("StoreService").Methods()
	for i := range methods.Len() {
		name := string(methods.Get(i).Name())
		call, ok := calls[name]
		if !ok {
			t.Errorf("%s is not registered", name)
			continue
		}
		for who, caller := range map[string]authn.Caller{
			"nobody": {}, "a stranger": {Identity: "uid:1000"}, "an application": {Identity: "uid:33", Application: "web"},
		} {
			if err := call(authn.WithCaller(t.Context(), caller)); !fault.Is(err, fault.NotGranted) {
				t.Errorf("%s by %s: %v", name, who, err)
			}
		}
	}
	if len(calls) != methods.Len() || len(calls) < 4 {
		t.Errorf("%d calls, %d methods", len(calls), methods.Len())
	}
}
