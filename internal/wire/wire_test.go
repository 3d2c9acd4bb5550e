package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

var template = cryptoki.Attributes{
	cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY),
	cryptoki.String(cryptoki.CKA_LABEL, "label"),
	cryptoki.Bytes(cryptoki.CKA_ID, nil),
	cryptoki.Bool(cryptoki.CKA_TOKEN, true),
	cryptoki.Bytes(cryptoki.AttributeType(math.MaxUint64), []byte{0}),
}

func TestAttributesRoundTrip(t *testing.T) {
	for _, as := range []cryptoki.Attributes{nil, template, {{Type: 0}}} {
		if got := AttributesFromProto(AttributesToProto(as)); !reflect.DeepEqual(got, as) {
			t.Errorf("messages: %v, want %v", got, as)
		}
		encoded := MarshalAttributes(as)
		if got, err := UnmarshalAttributes(encoded); err != nil || !reflect.DeepEqual(got, as) {
			t.Errorf("bytes: %v %v, want %v", got, err, as)
		}
		if !bytes.Equal(encoded, MarshalAttributes(as.Clone())) {
			t.Error("the encoding differs from one time to the next")
		}
	}
	if empty := AttributesFromProto([]*anyhsmv1.Attribute{{Type: 1, Value: []byte{}}, nil}); empty[0].Value != nil || len(empty) != 2 {
		t.Errorf("%#v", empty)
	}
	nested := cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_WRAP_TEMPLATE, MarshalAttributes(template))}
	outer, err := UnmarshalAttributes(MarshalAttributes(nested))
	if err != nil {
		t.Fatal(err)
	}
	if inner, err := UnmarshalAttributes(outer.Bytes(cryptoki.CKA_WRAP_TEMPLATE)); err != nil || !reflect.DeepEqual(inner, template) {
		t.Errorf("%v %v", inner, err)
	}
}

func TestUnmarshalAttributesRefuses(t *testing.T) {
	for _, encoded := range [][]byte{{0xff}, {0x0a, 0x05, 1}, MarshalAttributes(template)[:7]} {
		_, err := UnmarshalAttributes(encoded)
		if fault.RV(err) != cryptoki.CKR_ATTRIBUTE_VALUE_INVALID {
			t.Errorf("%x: %v", encoded, err)
		}
	}
}

// The bytes at rest must never change: stores hold them.
func TestMarshalAttributesGolden(t *testing.T) {
	got := MarshalAttributes(template[:2])
	want := []byte("\x0a\x0a\x12\x08\x04\x00\x00\x00\x00\x00\x00\x00\x0a\x09\x08\x03\x12\x05label")
	if !bytes.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

var mechanisms = []cryptoki.Mechanism{
	{},
	{Type: cryptoki.CKM_RSA_PKCS},
	{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{IV: []byte("0123456789abcdef")}},
	{Type: cryptoki.CKM_AES_CBC, Params: cryptoki.IVParams{}},
	{Type: cryptoki.CKM_AES_CTR, Params: cryptoki.CTRParams{CounterBits: 128, CounterBlock: [16]byte{1, 15: 2}}},
	{Type: cryptoki.CKM_AES_GCM, Params: cryptoki.GCMParams{IV: []byte{1}, AAD: []byte{2}, TagBits: 96}},
	{Type: cryptoki.CKM_RSA_PKCS_PSS, Params: cryptoki.PSSParams{Hash: cryptoki.CKM_SHA256, MGF: cryptoki.CKG_MGF1_SHA1, SaltLength: 20}},
	{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{Hash: cryptoki.CKM_SHA_1, MGF: cryptoki.CKG_MGF1_SHA1, Label: []byte("abc")}},
	{Type: cryptoki.CKM_RSA_PKCS_OAEP, Params: cryptoki.OAEPParams{}},
	{Type: cryptoki.CKM_ECDH1_DERIVE, Params: cryptoki.ECDH1Params{KDF: cryptoki.CKD_NULL, SharedData: []byte{1}, PublicData: []byte{4}}},
	{Type: cryptoki.CKM_EDDSA, Params: cryptoki.EDDSAParams{Prehash: true, Context: []byte("c")}},
	{Type: cryptoki.CKM_ML_DSA, Params: cryptoki.SignContextParams{Hedge: cryptoki.CKH_DETERMINISTIC_REQUIRED, Context: []byte("c")}},
	{Type: cryptoki.CKM_SHA256_HMAC_GENERAL, Params: cryptoki.MACGeneralParams{Length: 8}},
}

func TestMechanismRoundTrip(t *testing.T) {
	for _, m := range mechanisms {
		message, err := MechanismToProto(m)
		if err != nil {
			t.Fatal(m, err)
		}
		encoded, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		var decoded anyhsmv1.Mechanism
		if err := proto.Unmarshal(encoded, &decoded); err != nil {
			t.Fatal(err)
		}
		if got, err := MechanismFromProto(&decoded); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%#v %v, want %#v", got, err, m)
		}
	}
	if got, err := MechanismFromProto(nil); err != nil || !reflect.DeepEqual(got, cryptoki.Mechanism{}) {
		t.Error("no message is no mechanism:", got, err)
	}
}

func TestMechanismRefuses(t *testing.T) {
	for _, p := range []cryptoki.Params{
		cryptoki.CTRParams{CounterBits: 1 << 32},
		cryptoki.GCMParams{TagBits: math.MaxUint64},
		cryptoki.PSSParams{SaltLength: 1 << 40},
		cryptoki.MACGeneralParams{Length: 1 << 33},
		&cryptoki.IVParams{}, // always by value
	} {
		if _, err := MechanismToProto(cryptoki.Mechanism{Params: p}); fault.RV(err) != cryptoki.CKR_MECHANISM_PARAM_INVALID {
			t.Errorf("%#v: %v", p, err)
		}
	}
	for _, size := range []int{0, 15, 17} {
		message := &anyhsmv1.Mechanism{Parameters: &anyhsmv1.Mechanism_Ctr{Ctr: &anyhsmv1.CtrParameters{CounterBlock: make([]byte, size)}}}
		if _, err := MechanismFromProto(message); fault.RV(err) != cryptoki.CKR_MECHANISM_PARAM_INVALID {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestEveryFaultTravels sends each kind over the wire and back: kind, CK_RV, sentence and gRPC code stay.
func TestEveryFaultTravels(t *testing.T) {
	kinds := 0
	for kind := fault.Internal; kind.Valid(); kind++ {
		kinds++
		sent := fault.New(kind, "a cause; a next step (%d)", kind)
		s := StatusFromError(sent)
		if got := status.Code(s); got != kind.Row().Code {
			t.Errorf("kind %d: code %v, want %v", kind, got, kind.Row().Code)
		}
		back := ErrorFromStatus(s)
		var f *fault.Error
		if !errors.As(back, &f) || f.Kind != kind || f.Message != sent.Message || f.RV() != sent.RV() {
			t.Errorf("kind %d came back as %v", kind, back)
		}
		d := detail(status.Convert(s))
		if d == nil || d.GetCkRv() != uint64(kind.Row().RV) || d.GetRetry() != kind.Row().Retry {
			t.Errorf("kind %d: detail %v", kind, d)
		}
	}
	if kinds < 70 {
		t.Errorf("only %d kinds", kinds)
	}
}

func TestStatusFromError(t *testing.T) {
	if StatusFromError(nil) != nil || ErrorFromStatus(nil) != nil {
		t.Error("nil is no error")
	}
	for _, test := range []struct {
		err  error
		want fault.Kind
	}{
		{cryptoki.CKR_PIN_INCORRECT, fault.PINIncorrect},
		{fmt.Errorf("wrapped: %w", cryptoki.CKR_KEY_SIZE_RANGE), fault.KeySizeRange},
		{errors.New("anything"), fault.Internal},
		{fault.New(fault.NotFound, "a label \xff\xfe that is not UTF-8"), fault.NotFound},
		{StatusFromError(cryptoki.CKR_DEVICE_MEMORY), fault.DeviceMemory},
		{fmt.Errorf("more: %w", fault.New(fault.Conflict, "x")), fault.Conflict},
	} {
		if got := ErrorFromStatus(StatusFromError(test.err)); fault.From(got).Kind != test.want {
			t.Errorf("%v became %v, want kind %d", test.err, got, test.want)
		}
	}
}

func TestErrorsOfGRPCItself(t *testing.T) {
	for _, test := range []struct {
		err  error
		want fault.Kind
	}{
		{status.Error(codes.Unavailable, "no connection"), fault.DeviceError},
		{status.Error(codes.DeadlineExceeded, ""), fault.DeadlineExceeded},
		{context.DeadlineExceeded, fault.DeadlineExceeded},
		{context.Canceled, fault.FunctionCanceled},
		{status.Error(codes.Canceled, ""), fault.FunctionCanceled},
		{status.Error(codes.Unimplemented, ""), fault.FunctionNotSupported},
		{status.Error(codes.ResourceExhausted, "too large"), fault.DataLenRange},
		{status.Error(codes.Unauthenticated, ""), fault.Unauthenticated},
		{status.Error(codes.PermissionDenied, ""), fault.NotGranted},
		{status.Error(codes.Unknown, ""), fault.Internal},
		{errors.New("not a status"), fault.Internal},
	} {
		got := ErrorFromStatus(test.err)
		if fault.From(got).Kind != test.want {
			t.Errorf("%v became %v (kind %d), want %d", test.err, got, fault.From(got).Kind, test.want)
		}
		if !errors.Is(got, test.err) {
			t.Errorf("%v lost its cause", test.err)
		}
	}
}

// TestKindOfANewerDaemon: an unknown kind means what its CK_RV says.
func TestKindOfANewerDaemon(t *testing.T) {
	send := func(rv uint64) error {
		s, err := status.New(codes.Internal, "x").WithDetails(&anyhsmv1.Fault{Kind: 100000, CkRv: rv, Message: "new"})
		if err != nil {
			t.Fatal(err)
		}
		return ErrorFromStatus(s.Err())
	}
	if got := send(uint64(cryptoki.CKR_PIN_LOCKED)); fault.RV(got) != cryptoki.CKR_PIN_LOCKED || got.Error() != "new" {
		t.Error(got)
	}
	if got := send(0x7fffffff); fault.RV(got) != cryptoki.CKR_GENERAL_ERROR {
		t.Error(got)
	}
}

// TestAttributesAsGenerated: the bytes are those of the generated code, which reads and refuses the same.
func TestAttributesAsGenerated(t *testing.T) {
	for _, as := range []cryptoki.Attributes{nil, template, {{Type: 0}}, {cryptoki.Bytes(cryptoki.CKA_VALUE, make([]byte, 300))}} {
		generated, err := proto.MarshalOptions{Deterministic: true}.Marshal(&anyhsmv1.AttributeList{Attributes: AttributesToProto(as)})
		if encoded := MarshalAttributes(as); err != nil || !bytes.Equal(encoded, generated) || len(encoded) != AttributesSize(as) {
			t.Errorf("%v: %x (announced as %d), generated %x", as, encoded, AttributesSize(as), generated)
		}
	}
}

// sameAsGenerated compares with the generated code.
func sameAsGenerated(t *testing.T, encoded []byte) {
	var list anyhsmv1.AttributeList
	generatedErr := proto.Unmarshal(encoded, &list)
	got, err := UnmarshalAttributes(encoded)
	if (err == nil) != (generatedErr == nil) || err == nil && !reflect.DeepEqual(got, AttributesFromProto(list.GetAttributes())) {
		t.Fatalf("%x: %v, %v; generated %v, %v", encoded, got, err, AttributesFromProto(list.GetAttributes()), generatedErr)
	}
}

func BenchmarkUnmarshalAttributes(b *testing.B) {
	encoded := MarshalAttributes(template)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := UnmarshalAttributes(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzUnmarshalAttributes(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(MarshalAttributes(template))
	f.Add(MarshalAttributes(cryptoki.Attributes{cryptoki.Bytes(cryptoki.CKA_UNWRAP_TEMPLATE, MarshalAttributes(template))}))
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0x7f})
	// A type that is no number, a value that is none, a field of a newer version, a group, a value that comes twice.
	f.Add([]byte("\x0a\x04\x0a\x02ab\x0a\x02\x10\x05\x12\x01a\x0a\x08\x12\x01a\x12\x01b\x08\x07\x0b\x0c"))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		sameAsGenerated(t, encoded)
		as, err := UnmarshalAttributes(encoded)
		if err != nil {
			if fault.RV(err) != cryptoki.CKR_ATTRIBUTE_VALUE_INVALID {
				t.Fatal(err)
			}
			return
		}
		again, err := UnmarshalAttributes(MarshalAttributes(as))
		if err != nil || !reflect.DeepEqual(again, as) {
			t.Fatalf("%v became %v (%v)", as, again, err)
		}
	})
}

// FuzzMechanismFromProto: what comes in over the wire reads as the same mechanism after another trip, or not at all.
func FuzzMechanismFromProto(f *testing.F) {
	for _, m := range mechanisms {
		message, err := MechanismToProto(m)
		if err != nil {
			f.Fatal(err)
		}
		encoded, err := proto.Marshal(message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		var message anyhsmv1.Mechanism
		if proto.Unmarshal(encoded, &message) != nil {
			return
		}
		m, err := MechanismFromProto(&message)
		if err != nil {
			return
		}
		back, err := MechanismToProto(m)
		if err != nil {
			t.Fatal(m, err)
		}
		if again, err := MechanismFromProto(back); err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%#v became %#v (%v)", m, again, err)
		}
	})
}

// FuzzMechanismToProto: what an application gives travels unchanged, or is refused.
func FuzzMechanismToProto(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint64(2), uint64(3), []byte("a"), []byte("b"))
	f.Add(uint64(cryptoki.CKM_AES_GCM), uint8(3), uint64(128), uint64(0), []byte("nonce"), []byte{})
	f.Add(uint64(math.MaxUint64), uint8(7), uint64(math.MaxUint64), uint64(math.MaxUint64), []byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, mechanism uint64, which uint8, x, y uint64, a, b []byte) {
		counter := cryptoki.CTRParams{CounterBits: x}
		copy(counter.CounterBlock[:], a)
		m := cryptoki.Mechanism{Type: cryptoki.MechanismType(mechanism), Params: []cryptoki.Params{
			nil,
			cryptoki.IVParams{IV: filled(a)},
			counter,
			cryptoki.GCMParams{IV: filled(a), AAD: filled(b), TagBits: x},
			cryptoki.PSSParams{Hash: cryptoki.MechanismType(x), MGF: y, SaltLength: x},
			cryptoki.OAEPParams{Hash: cryptoki.MechanismType(x), MGF: y, Label: filled(a)},
			cryptoki.ECDH1Params{KDF: x, SharedData: filled(a), PublicData: filled(b)},
			cryptoki.EDDSAParams{Prehash: x > y, Context: filled(a)},
			cryptoki.MACGeneralParams{Length: x},
		}[which%9]}
		message, err := MechanismToProto(m)
		if err != nil {
			if x <= math.MaxUint32 {
				t.Fatal(err)
			}
			return
		}
		if got, err := MechanismFromProto(message); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%#v became %#v (%v)", m, got, err)
		}
	})
}

// FuzzErrorFromStatus: a daemon's status, however strange, becomes an error that means something.
func FuzzErrorFromStatus(f *testing.F) {
	f.Add(uint32(14), uint32(0), uint64(0), "gone")
	f.Add(uint32(3), uint32(fault.KeySizeRange), uint64(cryptoki.CKR_KEY_SIZE_RANGE), "short")
	f.Add(uint32(0), uint32(math.MaxUint32), uint64(0), "")
	f.Fuzz(func(t *testing.T, code, kind uint32, rv uint64, message string) {
		s := status.New(codes.Code(code), message)
		if with, err := s.WithDetails(&anyhsmv1.Fault{Kind: kind, CkRv: rv, Message: message}); err == nil {
			s = with
		}
		err := ErrorFromStatus(s.Err())
		if s.Code() == codes.OK {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if fault.RV(err) == cryptoki.CKR_OK || !fault.From(err).Kind.Valid() {
			t.Fatalf("%v means success", err)
		}
	})
}
