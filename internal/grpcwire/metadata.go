package grpcwire

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

// reserved tells whether a header field is the protocol's own and no caller's.
func reserved(name string) bool {
	switch name {
	case "content-type", "user-agent", "te", "connection", "host":
		return true
	}
	return strings.HasPrefix(name, ":") || strings.HasPrefix(name, "grpc-")
}

// readMetadata adds a field to metadata.
func readMetadata(md metadata.MD, f hpack.HeaderField) error {
	value := f.Value
	if strings.HasSuffix(f.Name, "-bin") {
		for part := range strings.SplitSeq(value, ",") {
			decoded, err := decodeBinary(part)
			if err != nil {
				return fmt.Errorf("the header %.64q is no base64", f.Name)
			}
			md[f.Name] = append(md[f.Name], string(decoded))
		}
		return nil
	}
	md[f.Name] = append(md[f.Name], value)
	return nil
}

// encodeBinary writes base64 without padding.
func encodeBinary(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// decodeBinary takes base64 with and without padding, as gRPC wants.
func decodeBinary(s string) ([]byte, error) {
	if len(s)%4 == 0 {
		return base64.StdEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// checkMetadata refuses what cannot be sent.
func checkMetadata(md metadata.MD) error {
	for name, values := range md {
		for i := range len(name) {
			if c := name[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
				return fmt.Errorf("the metadata key %q is no header name", name)
			}
		}
		if strings.HasSuffix(strings.ToLower(name), "-bin") {
			continue
		}
		for _, value := range values {
			for i := range len(value) {
				if value[i] < 0x20 || value[i] > 0x7e {
					return fmt.Errorf("the metadata value of %q is not printable; end its key in -bin", name)
				}
			}
		}
	}
	return nil
}

// writeHeaders writes a header block in as many frames as the peer's limit makes of it.
func writeHeaders(framer *http2.Framer, stream uint32, block []byte, last bool, limit int) error {
	first := true
	for first || len(block) > 0 {
		part := block[:min(limit, len(block))]
		block = block[len(part):]
		var err error
		if first {
			err = framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: stream, BlockFragment: part, EndStream: last, EndHeaders: len(block) == 0,
			})
		} else {
			err = framer.WriteContinuation(stream, len(block) == 0, part)
		}
		if err != nil {
			return err
		}
		first = false
	}
	return nil
}
