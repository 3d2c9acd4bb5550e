package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
	"github.com/anyhsm/anyhsm/p11module/internal/session"
)

// attribute is CK_ATTRIBUTE. A test cannot name C's types, so it makes them of the same memory.
type attribute struct {
	kind   cryptoki.AttributeType
	value  unsafe.Pointer
	length uint64
}

func at(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

func attr(kind cryptoki.AttributeType, value []byte) attribute {
	return attribute{kind, at(value), uint64(len(value))}
}

func ulong(v uint64) []byte { return binary.NativeEndian.AppendUint64(nil, v) }

func template[P ~*A, A any, N ~uint64](read func(P, N) (cryptoki.Attributes, error), list []attribute) (cryptoki.Attributes, error) {
	defer runtime.KeepAlive(list)
	return read(P((*A)(unsafe.Pointer(unsafe.SliceData(list)))), N(len(list)))
}

func writeBack[A any](write func([]A, []session.Value) error, list []attribute, values []session.Value) error {
	return write(unsafe.Slice((*A)(unsafe.Pointer(unsafe.SliceData(list))), len(list)), values)
}

func TestTemplate(t *testing.T) {
	got, err := template(readTemplate, []attribute{
		attr(cryptoki.CKA_CLASS, ulong(uint64(cryptoki.CKO_PRIVATE_KEY))),
		attr(cryptoki.CKA_TOKEN, []byte{7}),
		attr(cryptoki.CKA_LABEL, []byte("a key")),
		{kind: cryptoki.CKA_ID},
		attr(cryptoki.CKA_ALLOWED_MECHANISMS, append(ulong(1), ulong(0x1041)...)),
	})
	want := cryptoki.Attributes{
		cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_PRIVATE_KEY),
		cryptoki.Bool(cryptoki.CKA_TOKEN, true),
		cryptoki.String(cryptoki.CKA_LABEL, "a key"),
		cryptoki.Bytes(cryptoki.CKA_ID, []byte{}),
		cryptoki.Ulongs(cryptoki.CKA_ALLOWED_MECHANISMS, []uint64{1, 0x1041}),
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %v, %v; want %v", got, err, want)
	}
	if got, err := template(readTemplate, nil); got != nil || err != nil {
		t.Errorf("an empty template is %v, %v", got, err)
	}
}

func TestBadTemplates(t *testing.T) {
	for name, test := range map[string]struct {
		list []attribute
		want error
	}{
		"no value":           {[]attribute{{cryptoki.CKA_LABEL, nil, 4}}, cryptoki.CKR_ARGUMENTS_BAD},
		"unavailable length": {[]attribute{{cryptoki.CKA_LABEL, at([]byte{1}), cryptoki.Unavailable}}, cryptoki.CKR_ARGUMENTS_BAD},
		"long value":         {[]attribute{{cryptoki.CKA_LABEL, at([]byte{1}), 1 << 30}}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		"short ulong":        {[]attribute{attr(cryptoki.CKA_CLASS, []byte{1, 2, 3, 4})}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		"broken ulongs":      {[]attribute{attr(cryptoki.CKA_ALLOWED_MECHANISMS, make([]byte, 12))}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		"long bool":          {[]attribute{attr(cryptoki.CKA_TOKEN, []byte{1, 0, 0, 0})}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		"broken template":    {[]attribute{attr(cryptoki.CKA_WRAP_TEMPLATE, make([]byte, 25))}, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID},
		"too many":           {make([]attribute, maxAttributes+1), cryptoki.CKR_ARGUMENTS_BAD},
	} {
		if _, err := template(readTemplate, test.list); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestNestedTemplate reads a template in a template, writes it back by the rule of three calls, and refuses a loop.
func TestNestedTemplate(t *testing.T) {
	inner := []attribute{attr(cryptoki.CKA_KEY_TYPE, ulong(uint64(cryptoki.CKK_AES))), attr(cryptoki.CKA_LABEL, []byte("in"))}
	size := uint64(len(inner)) * uint64(unsafe.Sizeof(inner[0]))
	outer := []attribute{{cryptoki.CKA_UNWRAP_TEMPLATE, unsafe.Pointer(&inner[0]), size}}
	got, err := template(readTemplate, outer)
	if err != nil || len(got) != 1 {
		t.Fatalf("read %v, %v", got, err)
	}
	value := []session.Value{{Data: got[0].Value}}

	ask := []attribute{{kind: cryptoki.CKA_UNWRAP_TEMPLATE}}
	if err := writeBack(writeAttributes, ask, value); err != nil || ask[0].length != size {
		t.Fatalf("the first call: %v, %d bytes", err, ask[0].length)
	}
	lengths := make([]attribute, 2)
	ask[0].value = unsafe.Pointer(&lengths[0])
	if err := writeBack(writeAttributes, ask, value); err != nil {
		t.Fatal(err)
	}
	for i := range lengths {
		if lengths[i].kind != inner[i].kind || lengths[i].length != inner[i].length {
			t.Fatalf("the second call: %+v", lengths)
		}
		lengths[i].value = at(make([]byte, lengths[i].length))
	}
	if err := writeBack(writeAttributes, ask, value); err != nil {
		t.Fatal(err)
	}
	if again, err := template(readTemplate, ask); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("the third call: %v, %v", again, err)
	}

	loop := []attribute{{kind: cryptoki.CKA_WRAP_TEMPLATE, length: size / 2}}
	loop[0].value = unsafe.Pointer(&loop[0])
	if _, err := template(readTemplate, loop); !errors.Is(err, cryptoki.CKR_ATTRIBUTE_VALUE_INVALID) {
		t.Errorf("a template in itself: %v", err)
	}
}

func TestAttributes(t *testing.T) {
	small, label := make([]byte, 2), make([]byte, 16)
	list := []attribute{
		{cryptoki.CKA_VALUE, at(label), 16},
		{cryptoki.CKA_MODULUS, at(label), 16},
		{cryptoki.CKA_CLASS, nil, 77},
		{cryptoki.CKA_ID, at(small), 2},
		{cryptoki.CKA_LABEL, at(label), 16},
	}
	err := writeBack(writeAttributes, list, []session.Value{
		{Err: cryptoki.CKR_ATTRIBUTE_SENSITIVE},
		{Err: cryptoki.CKR_ATTRIBUTE_TYPE_INVALID},
		{Data: make([]byte, 8)},
		{Data: []byte{1, 2, 3}},
		{Data: []byte("label")},
	})
	if !errors.Is(err, cryptoki.CKR_ATTRIBUTE_SENSITIVE) {
		t.Errorf("the first failure is %v", err)
	}
	for i, want := range []uint64{cryptoki.Unavailable, cryptoki.Unavailable, uint64(unsafe.Sizeof(uintptr(0))), cryptoki.Unavailable, 5} {
		if list[i].length != want {
			t.Errorf("attribute %d has length %#x, want %#x", i, list[i].length, want)
		}
	}
	if !bytes.Equal(label[:6], []byte("label\x00")) || !bytes.Equal(small, []byte{0, 0}) {
		t.Errorf("wrote %q and %v", label, small)
	}
	list = list[3:4]
	list[0].length = 2
	if err := writeBack(writeAttributes, list, []session.Value{{Data: []byte{1, 2, 3}}}); !errors.Is(err, cryptoki.CKR_BUFFER_TOO_SMALL) {
		t.Errorf("a small buffer: %v", err)
	}
}

// TestFirstPage: the value of an empty attribute may be any pointer, and Go must not see it.
func TestFirstPage(t *testing.T) {
	list := []attribute{{kind: cryptoki.CKA_ID}, {kind: cryptoki.CKA_LABEL, length: 4}}
	for i := range list {
		*(*uintptr)(unsafe.Pointer(&list[i].value)) = 1
	}
	got, err := template(readTemplate, list[:1])
	if err != nil || len(got) != 1 || len(got[0].Value) != 0 {
		t.Errorf("read %v, %v", got, err)
	}
	for i := range list {
		field := unsafe.Pointer(&list[i].value)
		if p := uintptr(pointer(field)); p == 1 || p == 0 {
			t.Errorf("Go sees address %d", p)
		}
		*(*uintptr)(field) = 0
		if pointer(field) != nil {
			t.Error("NULL is not NULL")
		}
	}
}

func TestText(t *testing.T) {
	field := make([]byte, 6)
	for text, want := range map[string]string{"": "      ", "ab": "ab    ", "abcdef": "abcdef", "abcdefg": "abcdef", "abcdeé": "abcde ", "日本語": "日本"} {
		if writeText(field, text); string(field) != want {
			t.Errorf("%q became %q", text, field)
		}
	}
	if got := readText([]byte("a b  \x00 ")); got != "a b" {
		t.Errorf("read %q", got)
	}
}

// TestForward compares forward.h with the header: every function but the four of front.c is forwarded, and Go gets no
// pointer that has not been looked at.
func TestForward(t *testing.T) {
	header, err := os.ReadFile("../include/pkcs11.h")
	if err != nil {
		t.Fatal(err)
	}
	forward, err := os.ReadFile("forward.h")
	if err != nil {
		t.Fatal(err)
	}
	functions := 0
	for _, f := range regexp.MustCompile(`(?s)extern CK_RV (C_\w+)\(([^)]*)\);`).FindAllStringSubmatch(string(header), -1) {
		if f[1] == "C_Initialize" || f[1] == "C_GetFunctionList" || strings.HasPrefix(f[1], "C_GetInterface") {
			continue
		}
		functions++
		call := regexp.MustCompile(`to->` + f[1] + `\((.*)\) :`).FindSubmatch(forward)
		if call == nil {
			t.Errorf("forward.h lacks %s; run go generate", f[1])
			continue
		}
		pointers := strings.Count(f[2], "_PTR ") + strings.Count(f[2], "CK_NOTIFY ")
		if n := strings.Count(string(call[1]), "SANE("); n != pointers {
			t.Errorf("%s forwards %s, want %d pointers looked at", f[1], call[1], pointers)
		}
	}
	if functions != 100 {
		t.Errorf("the header has %d functions to forward, want 100", functions)
	}
}

// FuzzTemplate: what is read, written and read again is the same, whatever the application sends.
func FuzzTemplate(f *testing.F) {
	f.Add(uint64(cryptoki.CKA_CLASS), ulong(3), uint64(cryptoki.CKA_LABEL), []byte("label"))
	f.Add(uint64(cryptoki.CKA_TOKEN), []byte{1}, uint64(cryptoki.CKA_ALLOWED_MECHANISMS), ulong(1))
	f.Add(uint64(cryptoki.CKA_START_DATE), []byte("20261123"), uint64(cryptoki.CKA_VALUE), []byte{})
	f.Fuzz(func(t *testing.T, oneKind uint64, one []byte, otherKind uint64, other []byte) {
		kinds := []cryptoki.AttributeType{cryptoki.AttributeType(oneKind), cryptoki.AttributeType(otherKind)}
		for _, kind := range kinds {
			if object.Kind(kind) == object.Template {
				return // The fuzzer's bytes would be taken for pointers.
			}
		}
		got, err := template(readTemplate, []attribute{attr(kinds[0], one), attr(kinds[1], other)})
		if err != nil {
			return
		}
		list := make([]attribute, len(got))
		values := make([]session.Value, len(got))
		for i := range got {
			list[i] = attribute{kind: kinds[i]}
			values[i] = session.Value{Data: got[i].Value}
		}
		if err := writeBack(writeAttributes, list, values); err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i].value = at(make([]byte, list[i].length))
		}
		if err := writeBack(writeAttributes, list, values); err != nil {
			t.Fatal(err)
		}
		if again, err := template(readTemplate, list); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%v became %v, %v", got, again, err)
		}
	})
}
