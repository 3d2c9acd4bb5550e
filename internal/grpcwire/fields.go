package grpcwire

import (
	"strings"

	"google.golang.org/grpc/metadata"
)

// Header fields are written without Huffman's code and without the table that remembers fields: the same fields are the
// same bytes whatever came before, so that both sides keep what they have encoded and decoded once.
const (
	// Fields and names of hpack's static table, the fields as they are on the wire.
	methodPost      = 0x83
	schemeHTTP      = 0x86
	schemeHTTPS     = 0x87
	status200       = 0x88
	nameAuthority   = 1
	namePath        = 4
	nameContentType = 31
	nameUserAgent   = 58
	staticNames     = 61

	// How a field begins that no table is to remember, and one that a proxy is not to remember either.
	plainField = 0x00
	neverField = 0x10
	// tableGone says that the table holds nothing: what follows a change of its greatest size.
	tableGone = 0x20
)

const contentType = "application/grpc"

var (
	// answerHeader begins an answer, okTrailer ends one that went well.
	answerHeader = appendNamed([]byte{status200}, nameContentType, contentType)
	okTrailer    = appendField(nil, "grpc-status", "0")
	// timeoutName begins the field of a call's timeout, which is the last one of its header.
	timeoutName = appendString([]byte{plainField}, timeoutField)
)

const timeoutField = "grpc-timeout"

// appendField appends a field that is not in hpack's static table.
func appendField(b []byte, name, value string) []byte {
	return appendString(appendString(append(b, plainField), name), value)
}

// appendPassing appends a field that concerns only this call.
func appendPassing(b []byte, name, value string) []byte {
	return appendString(appendString(append(b, neverField), name), value)
}

// appendNamed appends a field whose name is in the static table.
func appendNamed(b []byte, name uint64, value string) []byte {
	return appendString(appendInteger(b, plainField, 4, name), value)
}

func appendString(b []byte, s string) []byte {
	return append(appendInteger(b, 0, 7, uint64(len(s))), s...)
}

// appendInteger appends a number whose first bits share a byte with others.
func appendInteger(b []byte, first byte, bits uint, n uint64) []byte {
	most := uint64(1)<<bits - 1
	if n < most {
		return append(b, first|byte(n))
	}
	b = append(b, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

// cutInteger reads such a number; ok is false if there is none, or one longer than any header is.
func cutInteger(b []byte, bits uint) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	most := uint64(1)<<bits - 1
	n, b = uint64(b[0])&most, b[1:]
	if n < most {
		return n, b, true
	}
	for shift := uint(0); len(b) > 0 && shift < 28; shift += 7 {
		c := b[0]
		b = b[1:]
		n += uint64(c&0x7f) << shift
		if c < 0x80 {
			return n, b, true
		}
	}
	return 0, nil, false
}

func cutString(b []byte) (rest []byte, ok bool) {
	n, b, ok := cutInteger(b, 7)
	if !ok || n > uint64(len(b)) {
		return nil, false
	}
	return b[n:], true
}

// lasting cuts a header block before the timeout that ends it, if one does, and tells whether the block means the same
// whenever it comes: it neither uses nor changes the table that remembers fields.
func lasting(block []byte) (head []byte, ok bool) {
	rest := block
	for len(rest) > 0 {
		if _, timed := cutTimeout(rest); timed {
			return block[:len(block)-len(rest)], true
		}
		bits := uint(4)
		indexed := rest[0]&0x80 != 0
		switch {
		case indexed:
			bits = 7
		case rest[0]&0xe0 != 0:
			// It changes the table.
			return nil, false
		}
		var name uint64
		if name, rest, ok = cutInteger(rest, bits); !ok || name > staticNames {
			return nil, false
		}
		if indexed {
			continue
		}
		if name == 0 {
			if rest, ok = cutString(rest); !ok {
				return nil, false
			}
		}
		if rest, ok = cutString(rest); !ok {
			return nil, false
		}
	}
	return block, true
}

// cutTimeout reads the timeout that is all that is left of a header block.
func cutTimeout(rest []byte) (value []byte, ok bool) {
	n := len(timeoutName)
	if len(rest) <= n+1 || string(rest[:n]) != string(timeoutName) || int(rest[n]) != len(rest)-n-1 || rest[n] > timeoutDigits+1 {
		return nil, false
	}
	return rest[n+1:], true
}

// appendMetadata appends what a caller or a handler adds.
func appendMetadata(b []byte, md metadata.MD) []byte {
	for name, values := range md {
		name = strings.ToLower(name)
		if reserved(name) {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(name, "-bin") {
				value = encodeBinary([]byte(value))
			}
			b = appendField(b, name, value)
		}
	}
	return b
}
