package kmip

import (
	"fmt"

	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
)

// version is a version of the protocol.
type version struct{ major, minor int32 }

// versions are those that the provider speaks.
var versions = map[string]version{"1.4": {1, 4}, "2.0": {2, 0}, "2.1": {2, 1}}

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) item() ttlv.Item {
	return ttlv.Structure(ttlv.TagProtocolVersion,
		ttlv.Integer(ttlv.TagProtocolVersionMajor, v.major), ttlv.Integer(ttlv.TagProtocolVersionMinor, v.minor))
}

func versionOf(item ttlv.Item) version {
	major, _ := item.Value(ttlv.TagProtocolVersionMajor, ttlv.IntegerType)
	minor, _ := item.Value(ttlv.TagProtocolVersionMinor, ttlv.IntegerType)
	return version{int32(major), int32(minor)}
}

// request makes a message with one batch item.
func (c Config) request(operation uint32, payload []ttlv.Item) ttlv.Item {
	header := ttlv.Structure(ttlv.TagRequestHeader, versions[c.Protocol].item(), ttlv.Integer(ttlv.TagMaximumResponseSize, maxResponse))
	if c.Username != "" {
		value := ttlv.Structure(ttlv.TagCredentialValue, ttlv.TextString(ttlv.TagUsername, c.Username))
		if c.Password != "" {
			value.Items = append(value.Items, ttlv.TextString(ttlv.TagPassword, c.Password))
		}
		header.Items = append(header.Items, ttlv.Structure(ttlv.TagAuthentication, ttlv.Structure(ttlv.TagCredential,
			ttlv.Enumeration(ttlv.TagCredentialType, ttlv.CredentialUsernameAndPassword), value)))
	}
	header.Items = append(header.Items, ttlv.Integer(ttlv.TagBatchCount, 1))
	return ttlv.Structure(ttlv.TagRequestMessage, header, ttlv.Structure(ttlv.TagBatchItem,
		ttlv.Enumeration(ttlv.TagOperation, operation), ttlv.Structure(ttlv.TagRequestPayload, payload...)))
}

// malformed tells that an answer is none to what was asked. The connection is not used again.
type malformed struct{ cause string }

func (m *malformed) Error() string { return m.cause }

// answer finds the payload of a message that answers an operation, or why the server refused it.
func answer(operation uint32, message ttlv.Item) (ttlv.Item, error) {
	var none ttlv.Item
	if message.Tag != ttlv.TagResponseMessage {
		return none, &malformed{fmt.Sprintf("the answer is item 0x%06x, no response message", uint32(message.Tag))}
	}
	items := message.All(ttlv.TagBatchItem)
	if len(items) != 1 {
		return none, &malformed{fmt.Sprintf("one operation was asked for, and %d answered", len(items))}
	}
	batch := items[0]
	if answered := batch.Enum(ttlv.TagOperation); answered != 0 && answered != operation {
		return none, &malformed{fmt.Sprintf("operation %s was asked for, and %s answered", nameOf(operation), nameOf(answered))}
	}
	status, ok := batch.Value(ttlv.TagResultStatus, ttlv.EnumerationType)
	switch {
	case !ok:
		return none, &malformed{"the answer has no result status"}
	case uint32(status) == ttlv.StatusSuccess:
		payload, ok := batch.Find(ttlv.TagResponsePayload)
		if ok && payload.Type != ttlv.StructureType {
			return none, &malformed{"the payload is no structure"}
		}
		return payload, nil
	case uint32(status) != ttlv.StatusFailed:
		return none, &malformed{fmt.Sprintf("the server answers with the status %d to a request that is to be answered at once", status)}
	}
	return none, &refusal{operation: operation, reason: batch.Enum(ttlv.TagResultReason), message: batch.Text(ttlv.TagResultMessage)}
}

// uid is the item that names an object.
func uid(id string) ttlv.Item { return ttlv.TextString(ttlv.TagUniqueIdentifier, id) }

// operationNames are the standard's.
var operationNames = map[uint32]string{
	ttlv.OpCreate: "Create", ttlv.OpCreateKeyPair: "Create Key Pair", ttlv.OpRegister: "Register", ttlv.OpLocate: "Locate",
	ttlv.OpGet: "Get", ttlv.OpGetAttributes: "Get Attributes", ttlv.OpActivate: "Activate", ttlv.OpRevoke: "Revoke",
	ttlv.OpDestroy: "Destroy", ttlv.OpQuery: "Query", ttlv.OpDiscoverVersions: "Discover Versions", ttlv.OpEncrypt: "Encrypt",
	ttlv.OpDecrypt: "Decrypt", ttlv.OpSign: "Sign", ttlv.OpMAC: "MAC", ttlv.OpRngRetrieve: "RNG Retrieve",
}

func nameOf(operation uint32) string {
	if name, ok := operationNames[operation]; ok {
		return name
	}
	return fmt.Sprintf("0x%x", operation)
}
