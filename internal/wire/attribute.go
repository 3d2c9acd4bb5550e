// Package wire turns the vocabulary of internal/cryptoki and internal/fault into the messages of proto/anyhsm/v1 and
// back. Module and daemon use it for calls, the store for attributes at rest.
package wire

import (
	"google.golang.org/protobuf/proto"

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

// MarshalAttributes encodes a template as a serialised AttributeList, always in the same way: the order of the
// attributes is kept. It is the form of nested templates and of attributes in the store.
func MarshalAttributes(attributes cryptoki.Attributes) []byte {
	list := &anyhsmv1.AttributeList{Attributes: AttributesToProto(attributes)}
	// Marshalling fails only for strings that are not UTF-8 and for required fields: the message has neither.
	encoded, _ := proto.MarshalOptions{Deterministic: true}.Marshal(list)
	return encoded
}

// UnmarshalAttributes decodes what MarshalAttributes made. Fields of a newer version are dropped.
func UnmarshalAttributes(encoded []byte) (cryptoki.Attributes, error) {
	var list anyhsmv1.AttributeList
	if err := proto.Unmarshal(encoded, &list); err != nil {
		// The decoder's own words may quote the input, which can be secret.
		return nil, fault.New(fault.AttributeValueInvalid,
			"an encoded template of %d bytes does not decode; it is damaged or not a template", len(encoded))
	}
	return AttributesFromProto(list.GetAttributes()), nil
}
