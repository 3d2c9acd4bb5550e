package grpcwire

import (
	"maps"
	"sync/atomic"
)

// requestHeaders are the encoded headers of a client's calls, made once for each method.
type requestHeaders struct {
	// common are the fields that all calls have.
	common []byte
	known  atomic.Pointer[map[string][]byte]
}

// maxMethods bounds the methods that are remembered.
const maxMethods = 256

func commonFields(o *ClientOptions) []byte {
	b := []byte{methodPost, schemeHTTP}
	if o.Credentials != nil {
		b[1] = schemeHTTPS
	}
	b = appendNamed(b, nameAuthority, o.Authority)
	b = appendNamed(b, nameContentType, contentType)
	b = appendField(b, "te", "trailers")
	b = appendNamed(b, nameUserAgent, o.UserAgent)
	return appendMetadata(b, o.Metadata)
}

// of returns the header of a method's calls but for what a call adds.
func (h *requestHeaders) of(method string) []byte {
	known := h.known.Load()
	if known != nil {
		if header := (*known)[method]; header != nil {
			return header
		}
	}
	// The path is a field of HTTP/2's own, which come before the others.
	header := appendNamed([]byte(nil), namePath, method)
	header = append(header, h.common...)
	more := map[string][]byte{}
	if known != nil {
		if len(*known) >= maxMethods {
			return header
		}
		maps.Copy(more, *known)
	}
	more[method] = header
	// Who loses a race encodes again next time.
	h.known.CompareAndSwap(known, &more)
	return header
}
