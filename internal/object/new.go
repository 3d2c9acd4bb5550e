package object

import (
	"bytes"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// New checks a template (duplicates, unknown and contradictory attributes, those that may not be given, lengths, what is
// missing) and returns the complete attributes of the new object, in a fixed order, with all defaults. For Create the
// secret values are among them: Split takes them out. For Generate and Derive the class defaults to CKO_SECRET_KEY and
// the key type to the mechanism's. A derived key without CKA_VALUE_LEN has none until its value is known.
func New(purpose Purpose, mechanism cryptoki.MechanismType, template cryptoki.Attributes) (cryptoki.Attributes, error) {
	given, err := once(template)
	if err != nil {
		return nil, err
	}
	if purpose != Create {
		if err := assume(&given, purpose, mechanism); err != nil {
			return nil, err
		}
	}
	class, ok := given.Ulong(cryptoki.CKA_CLASS)
	if !ok {
		if given.Has(cryptoki.CKA_CLASS) {
			return nil, invalid(cryptoki.CKA_CLASS, "a CK_ULONG of another length")
		}
		return nil, incomplete(cryptoki.CKA_CLASS)
	}
	c := classOf(cryptoki.ObjectClass(class))
	if c == 0 || c == profile || purpose != Create && c&keys == 0 {
		return nil, fault.New(fault.AttributeValueInvalid, "objects of class %v cannot be made so; use another CKA_CLASS",
			cryptoki.ObjectClass(class))
	}
	return build(purpose, mechanism, c, given)
}

// once drops an attribute that is there twice with the same value, as the standard encourages: two values contradict
// each other.
func once(template cryptoki.Attributes) (cryptoki.Attributes, error) {
	given := make(cryptoki.Attributes, 0, len(template)+4)
	for _, a := range template {
		if value, ok := given.Get(a.Type); ok {
			if !bytes.Equal(value, a.Value) {
				return nil, fault.New(fault.TemplateInconsistent, "%v stands in the template twice with two values; give it once", a.Type)
			}
			continue
		}
		given = append(given, a)
	}
	return given, nil
}

// assume adds class and key type where the mechanism implies them, and refuses others.
func assume(given *cryptoki.Attributes, purpose Purpose, mechanism cryptoki.MechanismType) error {
	implied := cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_CLASS, cryptoki.CKO_SECRET_KEY)}
	if keyType, ok := generates[mechanism]; ok && purpose == Generate {
		implied = append(implied, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, keyType))
		// The standard's generic mechanism makes only CKK_GENERIC_SECRET; Java and pkcs11-tool also ask it for HMAC keys.
		if t, ok := given.KeyType(); ok && keyType == cryptoki.CKK_GENERIC_SECRET && familyOf(t) == generic {
			implied[1] = cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, t)
		}
	} else if purpose == Derive && !given.Has(cryptoki.CKA_KEY_TYPE) {
		*given = append(*given, cryptoki.Ulong(cryptoki.CKA_KEY_TYPE, cryptoki.CKK_GENERIC_SECRET))
	}
	if purpose == Unwrap {
		return nil
	}
	return imply(given, implied)
}

// imply adds attributes; one that the template gives with another value contradicts the mechanism.
func imply(given *cryptoki.Attributes, implied cryptoki.Attributes) error {
	for _, a := range implied {
		value, ok := given.Get(a.Type)
		if !ok {
			*given = append(*given, a)
		} else if !bytes.Equal(value, a.Value) {
			return fault.New(fault.TemplateInconsistent, "%v is not what the mechanism makes; leave it out or use another mechanism", a.Type)
		}
	}
	return nil
}

// build checks every given attribute against its rule and adds the defaults.
func build(purpose Purpose, mechanism cryptoki.MechanismType, c classes, given cryptoki.Attributes) (cryptoki.Attributes, error) {
	f := anyType
	if c&keys != 0 {
		if !given.Has(cryptoki.CKA_KEY_TYPE) {
			return nil, incomplete(cryptoki.CKA_KEY_TYPE)
		}
		keyType, ok := given.KeyType()
		if f = familyOf(keyType); !ok || f == 0 {
			return nil, fault.New(fault.AttributeValueInvalid, "keys of type %v are not supported; use RSA, EC, Edwards, ML-DSA, AES or generic secret keys", keyType)
		}
		if (c == secretKey) != (f&symmetric != 0) {
			return nil, fault.New(fault.TemplateInconsistent, "a key of type %v cannot be of that class; correct CKA_CLASS or CKA_KEY_TYPE", keyType)
		}
	}
	checked := make(cryptoki.Attributes, 0, len(rules)/2)
	for _, a := range given {
		r, ok := find(c, f, a.Type)
		if !ok {
			if Known(a.Type) {
				return nil, fault.New(fault.TemplateInconsistent, "%v does not belong to such an object; take it out of the template", a.Type)
			}
			return nil, fault.New(fault.AttributeTypeInvalid, "%v is unknown here; take it out of the template", a.Type)
		}
		if err := allowed(purpose, r); err != nil {
			return nil, err
		}
		value, err := normalise(r, a.Value)
		if err != nil {
			return nil, err
		}
		if r.flags&byOfficer != 0 && value[0] != 0 {
			return nil, readOnlyError(a.Type)
		}
		checked = append(checked, cryptoki.Attribute{Type: a.Type, Value: value})
	}
	for i := range rules {
		r := &rules[i]
		if r.classes&c == 0 || r.families&f == 0 || checked.Has(r.attribute) {
			continue
		}
		if purpose == Create && r.flags&required != 0 || purpose == Generate && r.flags&requiredGenerate != 0 {
			return nil, incomplete(r.attribute)
		}
	}
	if err := consistent(purpose, c, checked); err != nil {
		return nil, err
	}
	return defaults(purpose, mechanism, c, f, checked), nil
}

// allowed refuses attributes that only the token sets.
func allowed(purpose Purpose, r *rule) error {
	forbidden := notGenerate
	if purpose == Create {
		forbidden = notCreate
	}
	if r.flags&forbidden != 0 && r.flags&fact == 0 {
		return readOnlyError(r.attribute)
	}
	return nil
}

func incomplete(t cryptoki.AttributeType) error {
	return fault.New(fault.TemplateIncomplete, "the template lacks %v; add it", t)
}

func readOnlyError(t cryptoki.AttributeType) error {
	return fault.New(fault.AttributeReadOnly, "%v cannot be set here; take it out of the template", t)
}
