// Package ttlv reads and writes TTLV, the binary encoding of KMIP's messages: a tag, a type, a length, a value padded
// to eight bytes. What it accepts is bounded and strict: one meaning has one encoding.
package ttlv

import "time"

// Tag names an item.
type Tag uint32

// Type is the type of an item's value.
type Type uint8

// The types of KMIP 1.0 to 2.1.
const (
	StructureType Type = iota + 1
	IntegerType
	LongIntegerType
	BigIntegerType
	EnumerationType
	BooleanType
	TextStringType
	ByteStringType
	DateTimeType
	IntervalType
	DateTimeExtendedType
)

// Item is one tag with its value. The field that holds the value follows from the type.
type Item struct {
	Tag  Tag
	Type Type
	// Items are those of a Structure.
	Items []Item
	// Number is the value of an Integer, Long Integer, Enumeration, Boolean (0 or 1), Interval (seconds), Date-Time
	// (seconds since 1970) or Date-Time-Extended (microseconds).
	Number int64
	// Bytes is the value of a Text String, a Byte String, or a Big Integer: two's complement, big endian, a multiple of
	// eight bytes.
	Bytes []byte
}

// Structure makes a structure.
func Structure(tag Tag, items ...Item) Item {
	return Item{Tag: tag, Type: StructureType, Items: items}
}

// Integer makes an Integer.
func Integer(tag Tag, value int32) Item {
	return Item{Tag: tag, Type: IntegerType, Number: int64(value)}
}

// LongInteger makes a Long Integer.
func LongInteger(tag Tag, value int64) Item {
	return Item{Tag: tag, Type: LongIntegerType, Number: value}
}

// BigInteger makes a Big Integer of an unsigned number's bytes.
func BigInteger(tag Tag, unsigned []byte) Item {
	lead := 8 - len(unsigned)%8
	if lead == 8 && (len(unsigned) > 0 && unsigned[0] < 0x80) {
		lead = 0
	}
	return Item{Tag: tag, Type: BigIntegerType, Bytes: append(make([]byte, lead), unsigned...)}
}

// Enumeration makes an Enumeration.
func Enumeration(tag Tag, value uint32) Item {
	return Item{Tag: tag, Type: EnumerationType, Number: int64(value)}
}

// Boolean makes a Boolean.
func Boolean(tag Tag, value bool) Item {
	i := Item{Tag: tag, Type: BooleanType}
	if value {
		i.Number = 1
	}
	return i
}

// TextString makes a Text String.
func TextString(tag Tag, value string) Item {
	return Item{Tag: tag, Type: TextStringType, Bytes: []byte(value)}
}

// ByteString makes a Byte String.
func ByteString(tag Tag, value []byte) Item {
	return Item{Tag: tag, Type: ByteStringType, Bytes: value}
}

// DateTime makes a Date-Time.
func DateTime(tag Tag, value time.Time) Item {
	return Item{Tag: tag, Type: DateTimeType, Number: value.Unix()}
}

// Find returns the first item with a tag in a structure.
func (i Item) Find(tag Tag) (Item, bool) {
	for _, item := range i.Items {
		if item.Tag == tag {
			return item, true
		}
	}
	return Item{}, false
}

// All returns the items with a tag in a structure.
func (i Item) All(tag Tag) []Item {
	var all []Item
	for _, item := range i.Items {
		if item.Tag == tag {
			all = append(all, item)
		}
	}
	return all
}

// In returns the structure with a tag in a structure; an empty one if there is none.
func (i Item) In(tag Tag) Item {
	item, ok := i.Find(tag)
	if !ok || item.Type != StructureType {
		return Item{Tag: tag, Type: StructureType}
	}
	return item
}

// Text returns the value of a Text String in a structure, "" if there is none.
func (i Item) Text(tag Tag) string {
	if item, ok := i.Find(tag); ok && item.Type == TextStringType {
		return string(item.Bytes)
	}
	return ""
}

// ByteValue returns the value of a Byte String in a structure; ok is false if there is none.
func (i Item) ByteValue(tag Tag) (value []byte, ok bool) {
	if item, found := i.Find(tag); found && item.Type == ByteStringType {
		return item.Bytes, true
	}
	return nil, false
}

// Value returns the number of an item in a structure; ok is false if there is none of the type.
func (i Item) Value(tag Tag, t Type) (value int64, ok bool) {
	if item, found := i.Find(tag); found && item.Type == t {
		return item.Number, true
	}
	return 0, false
}

// Enum returns the value of an Enumeration in a structure, 0 if there is none.
func (i Item) Enum(tag Tag) uint32 {
	value, _ := i.Value(tag, EnumerationType)
	return uint32(value)
}

// Wipe overwrites all byte strings below an item: a message may have held a key.
func (i Item) Wipe() {
	clear(i.Bytes)
	for _, item := range i.Items {
		item.Wipe()
	}
}
