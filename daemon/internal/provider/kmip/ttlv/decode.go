package ttlv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// What no message of KMIP needs more of.
const (
	maxDepth = 32
	maxItems = 1 << 16
	header   = 8
)

// ErrTooLarge tells that a message is longer than the reader takes.
var ErrTooLarge = errors.New("the message is larger than is taken")

// Unmarshal decodes exactly one item.
func Unmarshal(b []byte) (Item, error) {
	d := decoder{left: maxItems}
	item, rest, err := d.item(b, 0)
	if err != nil {
		return Item{}, err
	}
	if len(rest) > 0 {
		return Item{}, fmt.Errorf("%d bytes follow the item", len(rest))
	}
	return item, nil
}

// Read reads one structure of at most limit bytes from a connection. It is io.EOF only if there was nothing at all.
func Read(r io.Reader, limit int) (Item, error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Item{}, err
	}
	tag, t, length := parse(head[:])
	switch {
	case !tag.valid() || t != StructureType || length%8 != 0:
		return Item{}, fmt.Errorf("what begins with % x is no message of KMIP", head)
	case length > uint32(limit-header):
		return Item{}, fmt.Errorf("%w: %d bytes, not %d", ErrTooLarge, limit, uint64(length)+header)
	}
	// The buffer grows with what really comes: a length alone costs nothing.
	b := bytes.NewBuffer(append(make([]byte, 0, min(int(length)+header, 4096)), head[:]...))
	if n, err := io.CopyN(b, r, int64(length)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Item{}, fmt.Errorf("the message ends after %d of %d bytes: %w", n, length, err)
	}
	return Unmarshal(b.Bytes())
}

func parse(b []byte) (Tag, Type, uint32) {
	return Tag(b[0])<<16 | Tag(b[1])<<8 | Tag(b[2]), Type(b[3]), binary.BigEndian.Uint32(b[4:])
}

// valid tells whether a tag is in the standard's range or in that of vendors.
func (t Tag) valid() bool { return t>>16 == 0x42 || t>>16 == 0x54 }

type decoder struct{ left int }

func (d *decoder) item(b []byte, depth int) (Item, []byte, error) {
	if len(b) < header {
		return Item{}, nil, fmt.Errorf("an item needs %d bytes, there are %d", header, len(b))
	}
	if d.left--; d.left < 0 || depth > maxDepth {
		return Item{}, nil, errors.New("more items, or deeper ones, than a message of KMIP has")
	}
	tag, t, length := parse(b)
	b = b[header:]
	i := Item{Tag: tag, Type: t}
	if !tag.valid() {
		return i, nil, fmt.Errorf("0x%06x is no tag", uint32(tag))
	}
	padded := uint64(length) + uint64(-length&7)
	if padded > uint64(len(b)) {
		return i, nil, fmt.Errorf("item 0x%06x: %d bytes are announced, %d are there", uint32(tag), length, len(b))
	}
	value, zeros, rest := b[:length], b[length:padded], b[padded:]
	for _, z := range zeros {
		if z != 0 {
			return i, nil, fmt.Errorf("item 0x%06x: the padding is not zero", uint32(tag))
		}
	}
	if err := d.value(&i, value, depth); err != nil {
		return i, nil, err
	}
	return i, rest, nil
}

// lengths are the types whose values have one length.
var lengths = map[Type]int{
	IntegerType: 4, EnumerationType: 4, IntervalType: 4,
	LongIntegerType: 8, BooleanType: 8, DateTimeType: 8, DateTimeExtendedType: 8,
}

func (d *decoder) value(i *Item, value []byte, depth int) error {
	if length, ok := lengths[i.Type]; ok && len(value) != length {
		return fmt.Errorf("item 0x%06x: type %d has %d bytes, not %d", uint32(i.Tag), i.Type, length, len(value))
	}
	switch i.Type {
	case StructureType:
		for len(value) > 0 {
			item, rest, err := d.item(value, depth+1)
			if err != nil {
				return err
			}
			i.Items = append(i.Items, item)
			value = rest
		}
	case IntegerType:
		i.Number = int64(int32(binary.BigEndian.Uint32(value)))
	case EnumerationType, IntervalType:
		i.Number = int64(binary.BigEndian.Uint32(value))
	case LongIntegerType, DateTimeType, DateTimeExtendedType:
		i.Number = int64(binary.BigEndian.Uint64(value))
	case BooleanType:
		i.Number = int64(binary.BigEndian.Uint64(value))
		if i.Number != 0 && i.Number != 1 {
			return fmt.Errorf("item 0x%06x: a Boolean is 0 or 1", uint32(i.Tag))
		}
	case BigIntegerType:
		if len(value) == 0 || len(value)%8 != 0 {
			return fmt.Errorf("item 0x%06x: a Big Integer has a multiple of 8 bytes, not %d", uint32(i.Tag), len(value))
		}
		i.Bytes = value
	case TextStringType:
		if !utf8.Valid(value) {
			return fmt.Errorf("item 0x%06x: the text is not UTF-8", uint32(i.Tag))
		}
		i.Bytes = value
	case ByteStringType:
		i.Bytes = value
	default:
		return fmt.Errorf("item 0x%06x: %d is no type", uint32(i.Tag), i.Type)
	}
	return nil
}
