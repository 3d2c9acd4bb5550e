package object

import (
	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// Copy applies C_CopyObject's rules: besides what Set may change, CKA_TOKEN, CKA_PRIVATE, CKA_MODIFIABLE and
// CKA_DESTROYABLE. The copy has no CKA_UNIQUE_ID yet. Secret attributes, if the source holds them, are copied.
func Copy(source, template cryptoki.Attributes) (cryptoki.Attributes, error) {
	if source.Has(cryptoki.CKA_COPYABLE) && !source.Bool(cryptoki.CKA_COPYABLE) {
		return nil, fault.New(fault.ActionProhibited, "the object's CKA_COPYABLE is false; it cannot be copied")
	}
	copied, err := change(source, template, modifiable|copyable)
	if err != nil {
		return nil, err
	}
	if source.Bool(cryptoki.CKA_PRIVATE) && !copied.Bool(cryptoki.CKA_PRIVATE) {
		return nil, fault.New(fault.TemplateInconsistent, "a copy of a private object stays private; leave CKA_PRIVATE out")
	}
	copied.Remove(cryptoki.CKA_UNIQUE_ID)
	return copied, nil
}

// Set applies C_SetAttributeValue's rules and returns all attributes after the change. What the object may never be
// again (not sensitive, extractable, copyable) is refused.
func Set(current, changes cryptoki.Attributes) (cryptoki.Attributes, error) {
	if current.Has(cryptoki.CKA_MODIFIABLE) && !current.Bool(cryptoki.CKA_MODIFIABLE) {
		return nil, fault.New(fault.ActionProhibited, "the object's CKA_MODIFIABLE is false; it cannot be changed")
	}
	return change(current, changes, modifiable)
}

func change(current, template cryptoki.Attributes, permitted flags) (cryptoki.Attributes, error) {
	given, err := once(template)
	if err != nil {
		return nil, err
	}
	c, f := shape(current)
	keyType, _ := current.KeyType()
	changed := current.Clone()
	for _, a := range given {
		r, ok := find(c, f, a.Type)
		switch {
		case !Known(a.Type):
			return nil, fault.New(fault.AttributeTypeInvalid, "%v is unknown here; take it out of the template", a.Type)
		case !ok:
			return nil, fault.New(fault.TemplateInconsistent, "the object has no %v; take it out of the template", a.Type)
		case r.flags&permitted == 0:
			return nil, readOnlyError(a.Type)
		}
		value, err := normalise(r, a.Value)
		if err != nil {
			return nil, err
		}
		if r.kind == Bool {
			before := current.Bool(a.Type)
			switch {
			case r.flags&onlyTrue != 0 && before && value[0] == 0, r.flags&onlyFalse != 0 && !before && value[0] != 0:
				return nil, fault.New(fault.AttributeReadOnly, "%v cannot be set back; what is protected stays so", a.Type)
			case r.flags&byOfficer != 0 && !before && value[0] != 0:
				return nil, readOnlyError(a.Type)
			case r.flags&usage != 0 && !able(c, keyType, a.Type):
				value = []byte{0} // as New does
			}
		}
		changed.Set(cryptoki.Attribute{Type: a.Type, Value: value})
	}
	if changed.Bool(cryptoki.CKA_ALWAYS_AUTHENTICATE) && !changed.Bool(cryptoki.CKA_PRIVATE) {
		return nil, fault.New(fault.TemplateInconsistent, "CKA_ALWAYS_AUTHENTICATE needs CKA_PRIVATE to be true; leave CKA_PRIVATE out")
	}
	return changed, nil
}
