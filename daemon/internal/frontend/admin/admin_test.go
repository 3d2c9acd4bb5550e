package admin

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/anyhsm/anyhsm/daemon/internal/authn"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// registrar keeps what is registered, so that a test can call it without a network.
type registrar map[string]grpc.MethodDesc

func (r registrar) RegisterService(desc *grpc.ServiceDesc, implementation any) {
	for _, method := range desc.Methods {
		handler := method.Handler
		method.Handler = func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return handler(implementation, ctx, decode, interceptor)
		}
		r["/"+desc.ServiceName+"/"+method.MethodName] = method
	}
}

func (r registrar) call(ctx context.Context, method string) (any, error) {
	return r[method].Handler(nil, ctx, func(request any) error {
		proto.Reset(request.(proto.Message))
		return nil
	}, nil)
}

// TestEveryCallNeedsAnAdministrator calls every method of admin.proto. The services below are nil: a method that
// reached one before it had looked at the caller would panic.
func TestEveryCallNeedsAnAdministrator(t *testing.T) {
	methods := registrar{}
	Register(methods, Config{})
	var called int
	services := anyhsmv1.File_anyhsm_v1_admin_proto.Services()
	for i := range services.Len() {
		service := services.Get(i)
		for j := range service.Methods().Len() {
			method := "/" + string(service.FullName()) + "/" + string(service.Methods().Get(j).Name())
			if _, ok := methods[method]; !ok {
				t.Errorf("%s is not registered", method)
				continue
			}
			if method == anyhsmv1.EnrollmentService_Enroll_FullMethodName {
				continue
			}
			for name, caller := range map[string]authn.Caller{
				"nobody": {}, "a stranger": {Identity: "uid:1000"}, "an application": {Identity: "uid:33", Application: "web"},
			} {
				called++
				if _, err := methods.call(authn.WithCaller(t.Context(), caller), method); !fault.Is(err, fault.NotGranted) {
					t.Errorf("%s by %s: %v", method, name, err)
				}
			}
		}
	}
	if called < 60 {
		t.Errorf("only %d calls were tried", called)
	}
}

func TestText(t *testing.T) {
	if got := text("web\xff"); got != "web\uFFFD" {
		t.Errorf("text = %q", got)
	}
}
