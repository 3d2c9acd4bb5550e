package ttlv

import "encoding/binary"

// Marshal encodes an item.
func Marshal(item Item) []byte { return item.append(nil) }

func (i Item) append(b []byte) []byte {
	b = append(b, byte(i.Tag>>16), byte(i.Tag>>8), byte(i.Tag), byte(i.Type))
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	switch i.Type {
	case StructureType:
		for _, item := range i.Items {
			b = item.append(b)
		}
	case IntegerType, EnumerationType, IntervalType:
		b = binary.BigEndian.AppendUint32(b, uint32(i.Number))
	case LongIntegerType, BooleanType, DateTimeType, DateTimeExtendedType:
		b = binary.BigEndian.AppendUint64(b, uint64(i.Number))
	default:
		b = append(b, i.Bytes...)
	}
	length := len(b) - at - 4
	binary.BigEndian.PutUint32(b[at:], uint32(length))
	return append(b, make([]byte, padding(length))...)
}

// padding is how many zeros follow a value.
func padding(length int) int { return -length & 7 }
