package session

import (
	"cmp"
	"slices"

	"github.com/anyhsm/anyhsm/internal/cryptoki"
	"github.com/anyhsm/anyhsm/internal/object"
)

// index finds objects by handle, and by what applications look for: CKA_ID, CKA_LABEL, CKA_CLASS.
type index struct {
	byHandle map[uint64]*Object
	by       map[cryptoki.AttributeType]map[string]map[uint64]*Object
}

// indexed are the attributes with an index, the most selective first.
var indexed = []cryptoki.AttributeType{cryptoki.CKA_ID, cryptoki.CKA_LABEL, cryptoki.CKA_CLASS}

func newIndex() index {
	x := index{byHandle: map[uint64]*Object{}, by: map[cryptoki.AttributeType]map[string]map[uint64]*Object{}}
	for _, t := range indexed {
		x.by[t] = map[string]map[uint64]*Object{}
	}
	return x
}

func (x *index) get(handle uint64) *Object { return x.byHandle[handle] }

// put adds an object or replaces the one with its handle.
func (x *index) put(o *Object) {
	x.remove(o.Handle)
	x.byHandle[o.Handle] = o
	for _, t := range indexed {
		value := string(o.Attributes.Bytes(t))
		bucket := x.by[t][value]
		if bucket == nil {
			bucket = map[uint64]*Object{}
			x.by[t][value] = bucket
		}
		bucket[o.Handle] = o
	}
}

func (x *index) remove(handle uint64) {
	o := x.byHandle[handle]
	if o == nil {
		return
	}
	delete(x.byHandle, handle)
	for _, t := range indexed {
		value := string(o.Attributes.Bytes(t))
		delete(x.by[t][value], handle)
		if len(x.by[t][value]) == 0 {
			delete(x.by[t], value)
		}
	}
}

func (x *index) removeIf(condition func(*Object) bool) {
	for handle, o := range x.byHandle {
		if condition(o) {
			x.remove(handle)
		}
	}
}

// find appends the handles of the objects that match a template, in ascending order.
func (x *index) find(handles []uint64, template cryptoki.Attributes, visible func(*Object) bool) []uint64 {
	candidates := x.byHandle
	for _, t := range indexed {
		if value, ok := template.Get(t); ok {
			candidates = x.by[t][string(value)]
			break
		}
	}
	from := len(handles)
	for handle, o := range candidates {
		if visible(o) && object.Match(o.Attributes, template) {
			handles = append(handles, handle)
		}
	}
	slices.SortFunc(handles[from:], cmp.Compare[uint64])
	return handles
}
