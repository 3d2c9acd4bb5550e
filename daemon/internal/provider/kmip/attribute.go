package kmip

import (
	"github.com/anyhsm/anyhsm/daemon/internal/provider/kmip/ttlv"
)

// In KMIP 2 an attribute is an item of its own. In KMIP 1 it is a name and a value; the value has the same content as
// the item of KMIP 2.

// attributeNames are the names of KMIP 1.
var attributeNames = map[ttlv.Tag]string{
	ttlv.TagName: "Name", ttlv.TagObjectType: "Object Type", ttlv.TagCryptographicAlgorithm: "Cryptographic Algorithm",
	ttlv.TagCryptographicLength: "Cryptographic Length", ttlv.TagCryptographicUsageMask: "Cryptographic Usage Mask",
	ttlv.TagCryptographicDomainParameters: "Cryptographic Domain Parameters", ttlv.TagState: "State",
	ttlv.TagInitialDate: "Initial Date", ttlv.TagLink: "Link", ttlv.TagSensitive: "Sensitive", ttlv.TagExtractable: "Extractable",
	ttlv.TagApplicationSpecificInformation: "Application Specific Information",
}

var attributeTags = func() map[string]ttlv.Tag {
	tags := map[string]ttlv.Tag{}
	for tag, name := range attributeNames {
		tags[name] = tag
	}
	return tags
}()

// attributes wraps attributes for a request: old is the tag of KMIP 1's template, young that of KMIP 2.
func (v version) attributes(old, young ttlv.Tag, attributes []ttlv.Item) ttlv.Item {
	if v.major >= 2 {
		return ttlv.Structure(young, attributes...)
	}
	return ttlv.Structure(old, v.each(attributes)...)
}

// each makes the attributes of KMIP 1.
func (v version) each(attributes []ttlv.Item) []ttlv.Item {
	items := make([]ttlv.Item, 0, len(attributes))
	for _, a := range attributes {
		value := a
		value.Tag = ttlv.TagAttributeValue
		items = append(items, ttlv.Structure(ttlv.TagAttribute, ttlv.TextString(ttlv.TagAttributeName, attributeNames[a.Tag]), value))
	}
	return items
}

// filter is what Locate compares with.
func (v version) filter(attributes []ttlv.Item) []ttlv.Item {
	if v.major >= 2 {
		return []ttlv.Item{ttlv.Structure(ttlv.TagAttributes, attributes...)}
	}
	return v.each(attributes)
}

// read returns the attributes in an answer as a structure of KMIP 2, whatever the version.
func (v version) read(payload ttlv.Item) ttlv.Item {
	if v.major >= 2 {
		return payload.In(ttlv.TagAttributes)
	}
	read := ttlv.Structure(ttlv.TagAttributes)
	for _, a := range payload.All(ttlv.TagAttribute) {
		tag, known := attributeTags[a.Text(ttlv.TagAttributeName)]
		value, ok := a.Find(ttlv.TagAttributeValue)
		if known && ok {
			value.Tag = tag
			read.Items = append(read.Items, value)
		}
	}
	return read
}

// name is the attribute Name.
func name(value string) ttlv.Item {
	return ttlv.Structure(ttlv.TagName, ttlv.TextString(ttlv.TagNameValue, value),
		ttlv.Enumeration(ttlv.TagNameType, ttlv.NameUninterpretedText))
}

// labelNamespace is the application namespace of the attribute that keeps a key's label: unlike names, labels may be
// the same for many keys.
const labelNamespace = "anyhsm-label"

// label is the attribute that keeps a label.
func label(value string) ttlv.Item {
	return ttlv.Structure(ttlv.TagApplicationSpecificInformation,
		ttlv.TextString(ttlv.TagApplicationNamespace, labelNamespace), ttlv.TextString(ttlv.TagApplicationData, value))
}
