package grpcwire

import (
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// prefix is a message's head: whether it is compressed, and its length.
const prefix = 5

// appendMessage appends a message with its prefix.
func appendMessage(to []byte, message any, limit int) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return to, status.Errorf(codes.Internal, "a %T is no protocol buffer message", message)
	}
	start := len(to)
	to = room(to, prefix+proto.Size(m))
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(append(to, 0, 0, 0, 0, 0), m)
	if err != nil {
		return to, status.Errorf(codes.Internal, "a message cannot be encoded: %v", err)
	}
	length := len(out) - start - prefix
	if length > limit {
		return to, status.Errorf(codes.ResourceExhausted, "a message of %d bytes is longer than the %d that may be sent", length, limit)
	}
	binary.BigEndian.PutUint32(out[start+1:], uint32(length))
	return out, nil
}

// messageLength is how long the message is that begins in body, with its prefix; -1 as long as that is not known.
func messageLength(body []byte, limit int) (int, error) {
	if len(body) < prefix {
		return -1, nil
	}
	if body[0] != 0 {
		return 0, status.Error(codes.Unimplemented, "the message is compressed, and no compression was agreed on; send it as it is")
	}
	length := binary.BigEndian.Uint32(body[1:prefix])
	if uint64(length) > uint64(limit) {
		return 0, status.Errorf(codes.ResourceExhausted, "a message of %d bytes is longer than the %d that are taken", length, limit)
	}
	return prefix + int(length), nil
}

// appendPart appends what has come of a message, whose length is known after its first bytes.
func appendPart(body, part []byte, limit int) []byte {
	body = append(room(body, len(part)), part...)
	if length, err := messageLength(body, limit); err == nil && length > len(body) {
		body = room(body, min(length-len(body), trusted))
	}
	return body
}

// decodeMessage reads the one message that a body holds.
func decodeMessage(body []byte, into any, limit int) error {
	length, err := messageLength(body, limit)
	switch {
	case err != nil:
		return err
	case length < 0 || len(body) < length:
		return status.Error(codes.Internal, "the message ends early")
	case len(body) > length:
		return status.Error(codes.Internal, "there is more than one message in a unary call")
	}
	m, ok := into.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "a %T is no protocol buffer message", into)
	}
	if err := proto.Unmarshal(body[prefix:], m); err != nil {
		return status.Errorf(codes.Internal, "a message cannot be decoded: %v", err)
	}
	return nil
}
