package grpcwire

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// appendStatus appends a status as trailers.
func appendStatus(b []byte, s *status.Status) []byte {
	if s.Code() == codes.OK {
		return append(b, okTrailer...)
	}
	b = appendField(b, "grpc-status", strconv.FormatUint(uint64(s.Code()), 10))
	b = appendPassing(b, "grpc-message", escape(s.Message()))
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			b = appendPassing(b, "grpc-status-details-bin", encodeBinary(details))
		}
	}
	return b
}

const hexDigits = "0123456789ABCDEF"

// escape writes what is not printable ASCII as %XX.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// unescape takes anything: what is no escape stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// outcome gathers an answer's header fields.
type outcome struct {
	http, content, code, message, details string
	md                                    metadata.MD
}

func (o *outcome) read(fields []hpack.HeaderField, md metadata.MD) {
	o.md = md
	for _, f := range fields {
		switch f.Name {
		case ":status":
			o.http = f.Value
		case "content-type":
			o.content = f.Value
		case "grpc-status":
			o.code = f.Value
		case "grpc-message":
			o.message = f.Value
		case "grpc-status-details-bin":
			o.details = f.Value
		default:
			if md != nil && !reserved(f.Name) {
				// A header that is no base64 belongs to nobody.
				_ = readMetadata(md, f)
			}
		}
	}
}

// status is what the trailers say.
func (o *outcome) status() *status.Status {
	code, err := strconv.ParseUint(o.code, 10, 32)
	if err != nil {
		return status.New(codes.Internal, "the answer ends without a status")
	}
	if o.details != "" {
		var p spb.Status
		if raw, err := decodeBinary(o.details); err == nil && proto.Unmarshal(raw, &p) == nil && uint64(uint32(p.GetCode())) == code {
			return status.FromProto(&p)
		}
	}
	return status.New(codes.Code(code), unescape(o.message))
}

// accept refuses answers that are no gRPC; nil for those that are.
func (o *outcome) accept() *status.Status {
	if o.http != "200" {
		number, _ := strconv.Atoi(o.http)
		return status.Newf(codeOfHTTP(number), "the server answers with HTTP status %.8q and is no gRPC server", o.http)
	}
	if o.content != "application/grpc" && !strings.HasPrefix(o.content, "application/grpc+") && !strings.HasPrefix(o.content, "application/grpc;") {
		return status.Newf(codes.Unknown, "the server answers with %.64q instead of gRPC", o.content)
	}
	return nil
}

func codeOfHTTP(number int) codes.Code {
	switch number {
	case http.StatusBadRequest:
		return codes.Internal
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return codes.Unavailable
	}
	return codes.Unknown
}

// codeOfReset is what a stream's end by the peer means.
func codeOfReset(code http2.ErrCode) codes.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return codes.Unavailable
	case http2.ErrCodeCancel:
		return codes.Canceled
	case http2.ErrCodeEnhanceYourCalm:
		return codes.ResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return codes.PermissionDenied
	}
	return codes.Internal
}
