package grpcwire

import (
	"slices"
	"sync"
)

// trusted is how much memory a message's length alone may ask for; the rest comes with the data.
const trusted = 2 << 20

// large holds buffers beyond what a connection keeps, for whoever has much to send or to receive next. They are clean,
// and the garbage collector takes those that nobody wants.
var large sync.Pool

// room returns the buffer with room for n more bytes. One that becomes too small is wiped.
func room(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	need := len(b) + n
	var bigger []byte
	if need > keptBuffer {
		if pooled, ok := large.Get().(*[]byte); ok && cap(*pooled) >= need {
			bigger = *pooled
		}
	}
	if bigger == nil {
		bigger = slices.Grow([]byte(nil), max(need, 2*cap(b)))
	}
	bigger = append(bigger[:0], b...)
	spare(b)
	return bigger
}

// spare wipes a buffer that nobody needs any more and returns it for the next call, or nil if it is too large to be kept.
func spare(b []byte) []byte {
	clear(b)
	if b = b[:0]; cap(b) > keptBuffer {
		large.Put(&b)
		return nil
	}
	return b
}
