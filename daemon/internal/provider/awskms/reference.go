package awskms

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// reference names a key. Kind and use never change, so no call is needed to know them. For one key it is always the
// same bytes, so that a key that is listed can be known again.
type reference struct {
	ARN  string             `json:"arn"`
	Spec types.KeySpec      `json:"spec"`
	Use  types.KeyUsageType `json:"use"`
}

func (r reference) encode() []byte {
	text, _ := json.Marshal(r) // Three strings marshal.
	return text
}

// maxReference is above any ARN's length.
const maxReference = 4096

// parse reads what encode made. All else is no key of ours.
func (p *Provider) parse(ref []byte) (reference, spec, error) {
	var r reference
	refuse := func() (reference, spec, error) {
		return r, spec{}, fault.New(fault.KeyHandleInvalid, "the key's reference is not one of provider awskms; the store is damaged, or the key belongs to another provider")
	}
	if len(ref) > maxReference {
		return refuse()
	}
	decoder := json.NewDecoder(bytes.NewReader(ref))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil || !bytes.Equal(r.encode(), ref) {
		return refuse()
	}
	name, err := arn.Parse(r.ARN)
	kind, ok := specNamed(r.Spec)
	if err != nil || !ok || name.Service != "kms" || !strings.HasPrefix(name.Resource, "key/") || flags[r.Use] == nil {
		return refuse()
	}
	if name.Region != p.region {
		return r, kind, fault.New(fault.KeyHandleInvalid, "the key %s is in region %s, provider %s is for %s; correct region, or configure a provider for the other region under the old name", r.ARN, name.Region, p.config.Name, p.region)
	}
	return r, kind, nil
}
