// Package wire turns the vocabulary of internal/cryptoki and internal/fault into the messages of proto/anyhsm/v1 and
// back. Module and daemon use it for calls, the store for attributes at rest.
package wire

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// Protocol is the version of the calls between module and daemon.
	Protocol = "1"
	// ProtocolHeader is the metadata key that carries Protocol on each call; a daemon that speaks another version
	// answers fault.VersionMismatch.
	ProtocolHeader = "anyhsm-protocol"
	// MaxMessage is the largest message in bytes: 32 MiB of data, which is what one operation takes, with room.
	MaxMessage = 64 << 20
)

// AttributesToProto makes messages of a template. The values are shared, not copied.
func AttributesToProto(attributes cryptoki.Attributes) []*anyhsmv1.Attribute {
	if len(attributes) == 0 {
		return nil
	}
	messages := make([]*anyhsmv1.Attribute, len(attributes))
	for i, a := range attributes {
		messages[i] = &anyhsmv1.Attribute{Type: uint64(a.Type), Value: a.Value}
	}
	return messages
}

// AttributesFromProto makes a template of messages. The values are shared, not copied; one without bytes is nil.
func AttributesFromProto(messages []*anyhsmv1.Attribute) cryptoki.Attributes {
	if len(messages) == 0 {
		return nil
	}
	attributes := make(cryptoki.Attributes, len(messages))
	for i, m := range messages {
		attributes[i] = cryptoki.Attribute{Type: cryptoki.AttributeType(m.GetType()), Value: m.GetValue()}
		if len(attributes[i].Value) == 0 {
			attributes[i].Value = nil
		}
	}
	return attributes
}

// The fields of AttributeList and Attribute in types.proto.
const (
	fieldAttributes = 1
	fieldType       = 1
	fieldValue      = 2
)

// MarshalAttributes encodes a template as a serialised AttributeList, always in the same way: the order of the
// attributes is kept. It is the form of nested templates and of attributes in the store. A listing encodes and decodes
// each object's attributes, so both are written out here: the generated code takes five times as long.
func MarshalAttributes(attributes cryptoki.Attributes) []byte {
	encoded := make([]byte, 0, AttributesSize(attributes))
	for _, a := range attributes {
		encoded = protowire.AppendTag(encoded, fieldAttributes, protowire.BytesType)
		encoded = protowire.AppendVarint(encoded, uint64(attributeSize(a)))
		if a.Type != 0 {
			encoded = protowire.AppendTag(encoded, fieldType, protowire.VarintType)
			encoded = protowire.AppendVarint(encoded, uint64(a.Type))
		}
		if len(a.Value) > 0 {
			encoded = protowire.AppendTag(encoded, fieldValue, protowire.BytesType)
			encoded = protowire.AppendBytes(encoded, a.Value)
		}
	}
	return encoded
}

// AttributesSize is how many bytes MarshalAttributes makes.
func AttributesSize(attributes cryptoki.Attributes) int {
	size := 0
	for _, a := range attributes {
		size += protowire.SizeTag(fieldAttributes) + protowire.SizeBytes(attributeSize(a))
	}
	return size
}

func attributeSize(a cryptoki.Attribute) int {
	size := 0
	if a.Type != 0 {
		size += protowire.SizeTag(fieldType) + protowire.SizeVarint(uint64(a.Type))
	}
	if len(a.Value) > 0 {
		size += protowire.SizeTag(fieldValue) + protowire.SizeBytes(len(a.Value))
	}
	return size
}

// UnmarshalAttributes decodes what MarshalAttributes made. Fields of a newer version are dropped. The values are copied,
// into one piece of memory.
func UnmarshalAttributes(encoded []byte) (cryptoki.Attributes, error) {
	var attributes cryptoki.Attributes
	if len(encoded) > 0 {
		// Few attributes take less than eight bytes.
		attributes = make(cryptoki.Attributes, 0, 1+len(encoded)/8)
	}
	for rest := bytes.Clone(encoded); len(rest) > 0; {
		number, kind, value, n := field(rest)
		if n < 0 {
			return nil, undecodable(encoded)
		}
		rest = rest[n:]
		if number != fieldAttributes || kind != protowire.BytesType {
			continue
		}
		a, ok := unmarshalAttribute(value)
		if !ok {
			return nil, undecodable(encoded)
		}
		attributes = append(attributes, a)
	}
	if len(attributes) == 0 {
		return nil, nil
	}
	return attributes, nil
}

func unmarshalAttribute(encoded []byte) (a cryptoki.Attribute, ok bool) {
	for len(encoded) > 0 {
		number, kind, value, n := field(encoded)
		if n < 0 {
			return cryptoki.Attribute{}, false
		}
		encoded = encoded[n:]
		switch {
		case number == fieldType && kind == protowire.VarintType:
			t, _ := protowire.ConsumeVarint(value)
			a.Type = cryptoki.AttributeType(t)
		case number == fieldValue && kind == protowire.BytesType:
			if a.Value = value[:len(value):len(value)]; len(value) == 0 {
				a.Value = nil
			}
		}
	}
	return a, true
}

// field is the first field of a message, its value without the length of bytes; n is negative if there is none.
func field(message []byte) (number protowire.Number, kind protowire.Type, value []byte, n int) {
	number, kind, tag := protowire.ConsumeTag(message)
	if tag < 0 || number > protowire.MaxValidNumber {
		return 0, 0, nil, -1
	}
	length := 0
	if kind == protowire.BytesType {
		value, length = protowire.ConsumeBytes(message[tag:])
	} else if length = protowire.ConsumeFieldValue(number, kind, message[tag:]); length >= 0 {
		value = message[tag : tag+length]
	}
	if length < 0 {
		return 0, 0, nil, length
	}
	return number, kind, value, tag + length
}

// undecodable does not say why: the decoder's words may quote the input, which can be secret.
func undecodable(encoded []byte) error {
	return fault.New(fault.AttributeValueInvalid,
		"an encoded template of %d bytes does not decode; it is damaged or not a template", len(encoded))
}
