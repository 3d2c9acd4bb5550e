package ttlv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestVectors are the examples of the specification's chapter on TTLV.
func TestVectors(t *testing.T) {
	const tag = 0x420020
	for name, tc := range map[string]struct {
		item Item
		want string
	}{
		"integer":     {Integer(tag, 8), "42002002000000040000000800000000"},
		"negative":    {Integer(tag, -1), "4200200200000004ffffffff00000000"},
		"long":        {LongInteger(tag, 123456789000000000), "420020030000000801b69b4ba5749200"},
		"big":         {BigInteger(tag, []byte{0x03, 0xfd, 0x35, 0xeb, 0x6b, 0xc2, 0xdf, 0x46, 0x18, 0x08, 0x00, 0x00}), "42002004000000100000000003fd35eb6bc2df4618080000"},
		"big, high":   {BigInteger(tag, bytes.Repeat([]byte{0x80}, 8)), "420020040000001000000000000000008080808080808080"},
		"big, zero":   {BigInteger(tag, nil), "42002004000000080000000000000000"},
		"enumeration": {Enumeration(tag, 255), "4200200500000004000000ff00000000"},
		"boolean":     {Boolean(tag, true), "42002006000000080000000000000001"},
		"text":        {TextString(tag, "Hello World"), "420020070000000b48656c6c6f20576f726c640000000000"},
		"bytes":       {ByteString(tag, []byte{1, 2, 3}), "42002008000000030102030000000000"},
		"empty bytes": {ByteString(tag, []byte{}), "4200200800000000"},
		"date":        {DateTime(tag, time.Date(2008, 3, 14, 11, 56, 40, 0, time.UTC)), "42002009000000080000000047da67f8"},
		"interval":    {Item{Tag: tag, Type: IntervalType, Number: 864000}, "4200200a00000004000d2f0000000000"},
		"structure": {
			Structure(tag, Enumeration(0x420004, 254), Integer(0x420005, 255)),
			"42002001000000204200040500000004000000fe000000004200050200000004000000ff00000000",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := hex.EncodeToString(Marshal(tc.item)); got != tc.want {
				t.Fatalf("got %s, want %s", got, tc.want)
			}
			b, _ := hex.DecodeString(tc.want)
			back, err := Unmarshal(b)
			if err != nil || !bytes.Equal(Marshal(back), b) || tc.item.Number != back.Number {
				t.Errorf("back: %+v, %v", back, err)
			}
		})
	}
}

func TestAccess(t *testing.T) {
	s := Structure(0x420001, TextString(0x420002, "a"), TextString(0x420002, "b"), Enumeration(0x420003, 7),
		ByteString(0x420004, []byte{9}), Structure(0x420005, Integer(0x420006, 5)))
	value, ok := s.ByteValue(0x420004)
	number, found := s.In(0x420005).Value(0x420006, IntegerType)
	if s.Text(0x420002) != "a" || len(s.All(0x420002)) != 2 || s.Enum(0x420003) != 7 || !ok || value[0] != 9 || !found || number != 5 {
		t.Errorf("%+v", s)
	}
	// What is there with another type counts as missing.
	_, wrong := s.ByteValue(0x420002)
	_, wrong2 := s.Value(0x420003, IntegerType)
	if wrong || wrong2 || s.Text(0x420004) != "" || s.Enum(0x420002) != 0 || len(s.In(0x420002).Items) != 0 {
		t.Error("a value of another type was taken")
	}
	s.Wipe()
	if value[0] != 0 {
		t.Error("Wipe left a byte")
	}
}

func TestRefuse(t *testing.T) {
	deep := Integer(0x420001, 1)
	for range 40 {
		deep = Structure(0x420001, deep)
	}
	for name, b := range map[string][]byte{
		"nothing":              {},
		"half a header":        {0x42, 0, 1, 2},
		"a wrong tag":          {0x41, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"type 0":               {0x42, 0, 1, 0, 0, 0, 0, 0},
		"type 12":              {0x42, 0, 1, 12, 0, 0, 0, 0},
		"an integer of 8":      {0x42, 0, 1, 2, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0},
		"a boolean of 2":       {0x42, 0, 1, 6, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2},
		"a boolean of 4 bytes": {0x42, 0, 1, 6, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"a padding":            {0x42, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1},
		"no padding":           {0x42, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1},
		"a big integer of 4":   {0x42, 0, 1, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0},
		"a huge length":        {0x42, 0, 1, 8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0},
		"no UTF-8":             {0x42, 0, 1, 7, 0, 0, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0},
		"a tail":               append(Marshal(Integer(0x420001, 1)), 0),
		"a broken inside":      {0x42, 0, 1, 1, 0, 0, 0, 8, 0x42, 0, 1, 2, 0, 0, 0, 4},
		"too deep":             Marshal(deep),
		"too many":             Marshal(Structure(0x420001, make([]Item, maxItems)...)),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Unmarshal(b); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestRead(t *testing.T) {
	whole := Marshal(Structure(0x42007b, TextString(0x420002, strings.Repeat("x", 9000))))
	for n := range 40 {
		_, err := Read(bytes.NewReader(whole[:n]), 1<<20)
		if n == 0 && !errors.Is(err, io.EOF) || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := Read(bytes.NewReader(whole), 8999); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	item, err := Read(bytes.NewReader(append(whole, whole...)), len(whole))
	if err != nil || !bytes.Equal(Marshal(item), whole) {
		t.Errorf("two messages: %v", err)
	}
	for _, b := range [][]byte{[]byte("HTTP/1.1 400 Bad Request\r\n"), {0x42, 0, 1, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0}, {0x42, 0, 1, 1, 0, 0, 0, 4, 0, 0, 0, 0}} {
		if _, err := Read(bytes.NewReader(b), 1<<20); err == nil {
			t.Errorf("% x was read", b)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte{})
	f.Add(Marshal(Integer(0x420001, -5)))
	f.Add(Marshal(Structure(0x420078, Structure(0x420077, Integer(0x42006a, 1), Boolean(0x420010, true)),
		TextString(0x420055, "name"), BigInteger(0x420052, []byte{0x80}), DateTime(0x420092, time.Unix(1, 0)))))
	f.Add([]byte{0x42, 0, 1, 8, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		item, err := Unmarshal(b)
		if err != nil {
			return
		}
		// One meaning has one encoding.
		if again := Marshal(item); !bytes.Equal(again, b) {
			t.Fatalf("%x becomes %x", b, again)
		}
		if item.Type == StructureType {
			read, err := Read(bytes.NewReader(b), len(b))
			if err != nil || !reflect.DeepEqual(read, item) {
				t.Fatalf("Read differs: %v", err)
			}
		}
	})
}
