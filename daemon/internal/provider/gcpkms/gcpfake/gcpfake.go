// Package gcpfake is Google Cloud KMS for tests: the real protocol over gRPC, and as strict as the service where it is
// strict. It holds real keys in memory. What it does not implement it refuses.
package gcpfake

import (
	"context"
	"fmt"
	"hash/crc32"
	"net"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// KeyRing is the one that there is.
const KeyRing = "projects/anyhsm-test/locations/europe-west3/keyRings/ring"

// KMS is the service.
type KMS struct {
	kmspb.UnimplementedKeyManagementServiceServer

	mu     sync.Mutex
	keys   map[string]*key
	jobs   map[string]*job
	faults []*Fault
	denied map[string]bool
	calls  map[string]int
}

// New makes a service with an empty key ring.
func New() *KMS {
	return &KMS{keys: map[string]*key{}, jobs: map[string]*job{}, denied: map[string]bool{}, calls: map[string]int{}}
}

// Serve serves on a free port of this machine until stop is called. It returns host:port.
func (k *KMS) Serve() (address string, stop func(), err error) { return k.Listen("127.0.0.1:0") }

// Listen serves as Serve does, at an address.
func (k *KMS) Listen(at string) (address string, stop func(), err error) {
	listener, err := net.Listen("tcp", at)
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(k.intercept))
	kmspb.RegisterKeyManagementServiceServer(server, k)
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), server.Stop, nil
}

// Calls tells how often a method was called, as AsymmetricSign.
func (k *KMS) Calls(method string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls[method]
}

func refuse(code codes.Code, format string, args ...any) error {
	return status.Error(code, fmt.Sprintf(format, args...))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, castagnoli)))
}

// arrived checks a field against its checksum, and tells whether there was one.
func arrived(field string, data []byte, given *wrapperspb.Int64Value) (bool, error) {
	if given == nil {
		return false, nil
	}
	if given.GetValue() != sum(data).GetValue() {
		return false, refuse(codes.InvalidArgument, "The checksum in field %s_crc32c did not match the data in field %s.", field, field)
	}
	return true, nil
}

func now() *timestamppb.Timestamp { return timestamppb.New(time.Now()) }

// GetKeyRing tells that the key ring is there.
func (k *KMS) GetKeyRing(_ context.Context, in *kmspb.GetKeyRingRequest) (*kmspb.KeyRing, error) {
	if err := ring(in.GetName()); err != nil {
		return nil, err
	}
	return &kmspb.KeyRing{Name: KeyRing, CreateTime: now()}, nil
}

func ring(name string) error {
	if name != KeyRing {
		return refuse(codes.NotFound, "KeyRing %s not found.", name)
	}
	return nil
}
