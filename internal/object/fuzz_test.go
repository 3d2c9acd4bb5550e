package object

import (
	"reflect"
	"testing"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/wire"
)

// FuzzNew: no template makes it panic, and what it accepts is complete, splits, copies, matches itself and can be made
// again from what an application may give.
func FuzzNew(f *testing.F) {
	for _, template := range everyObject {
		f.Add(wire.MarshalAttributes(template), uint8(Create), uint64(0))
	}
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Ulong(cryptoki.CKA_VALUE_LEN, uint64(16))}), uint8(Generate), uint64(cryptoki.CKM_AES_KEY_GEN))
	f.Add(wire.MarshalAttributes(key(cryptoki.CKO_SECRET_KEY, cryptoki.CKK_GENERIC_SECRET)), uint8(Derive), uint64(cryptoki.CKM_ECDH1_DERIVE))
	f.Add(wire.MarshalAttributes(with(aesKey, cryptoki.Bytes(cryptoki.CKA_WRAP_TEMPLATE, wire.MarshalAttributes(aesKey)))), uint8(Unwrap), uint64(1))
	f.Fuzz(func(t *testing.T, encoded []byte, purpose uint8, mechanism uint64) {
		template, err := wire.UnmarshalAttributes(encoded)
		if err != nil {
			return
		}
		before := template.Clone()
		as, err := New(Purpose(purpose%4), cryptoki.MechanismType(mechanism), template)
		if len(before) > 0 && !reflect.DeepEqual(template, before) {
			t.Fatal("the template changed")
		}
		if err != nil {
			return
		}
		checkComplete(t, as)
		if copied, err := Copy(as, nil); err == nil {
			checkComplete(t, copied)
		}
		if open, _ := Split(as); !Match(as, open) {
			t.Fatal("does not match itself")
		}
		if Purpose(purpose%4) != Create {
			return
		}
		c, f := shape(as)
		var again cryptoki.Attributes
		for _, a := range as {
			if r, ok := find(c, f, a.Type); ok && (r.flags&notCreate == 0 || r.flags&fact != 0) {
				again = append(again, a)
			}
		}
		if second, err := New(Create, 0, again); err != nil || !reflect.DeepEqual(second, as) {
			t.Fatalf("%v\nis not itself any more (%v):\n%v", as, err, second)
		}
	})
}

func FuzzSet(f *testing.F) {
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_SENSITIVE, true)}))
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_EXTRACTABLE, true), cryptoki.Bytes(cryptoki.CKA_LABEL, []byte("x"))}))
	f.Add(wire.MarshalAttributes(cryptoki.Attributes{cryptoki.Bool(cryptoki.CKA_TOKEN, true), cryptoki.Bool(cryptoki.CKA_PRIVATE, false)}))
	var objects []cryptoki.Attributes
	for _, template := range everyObject {
		objects = append(objects, create(f, template))
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		changes, err := wire.UnmarshalAttributes(encoded)
		if err != nil {
			return
		}
		for _, as := range objects {
			_ = Match(as, changes)
			for _, change := range []func(cryptoki.Attributes, cryptoki.Attributes) (cryptoki.Attributes, error){Set, Copy} {
				after, err := change(as, changes)
				if err != nil {
					continue
				}
				checkComplete(t, after)
				if as.Bool(cryptoki.CKA_SENSITIVE) && !after.Bool(cryptoki.CKA_SENSITIVE) || !as.Bool(cryptoki.CKA_EXTRACTABLE) && after.Bool(cryptoki.CKA_EXTRACTABLE) {
					t.Fatal("a protection was lost")
				}
			}
		}
	})
}
