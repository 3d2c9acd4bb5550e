package ticket

import (
	"encoding/binary"
	"time"

	"github.com/anyhsm/anyhsm/internal/fault"
)

// Inside the seal: version, role, epoch and time of issue (8 bytes each, big endian, microseconds), then id, token
// and application, each with its length in two bytes.
const (
	version   = 1
	fixed     = 2 + 8 + 8
	maxName   = 1024
	maxSealed = 4096
)

var errForeign = fault.New(fault.UserNotLoggedIn, "the login ticket is not one of this daemon; log in again")

func (t Ticket) encode() ([]byte, error) {
	b := []byte{version, byte(t.Role)}
	b = binary.BigEndian.AppendUint64(b, t.Epoch)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Issued.UnixMicro()))
	for _, name := range []string{t.ID, t.Token, t.Application} {
		if len(name) > maxName {
			return nil, fault.New(fault.InvalidInput, "a name of %d bytes is too long for a login ticket; use one of at most %d", len(name), maxName)
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
	}
	return b, nil
}

func decode(b []byte) (Ticket, error) {
	if len(b) < fixed || b[0] != version {
		return Ticket{}, errForeign
	}
	t := Ticket{
		Role:   Role(b[1]),
		Epoch:  binary.BigEndian.Uint64(b[2:]),
		Issued: time.UnixMicro(int64(binary.BigEndian.Uint64(b[10:]))),
	}
	if t.Role < SO || t.Role > Context {
		return Ticket{}, errForeign
	}
	b = b[fixed:]
	for _, name := range []*string{&t.ID, &t.Token, &t.Application} {
		if len(b) < 2 {
			return Ticket{}, errForeign
		}
		length := int(binary.BigEndian.Uint16(b))
		if length > maxName || len(b) < 2+length {
			return Ticket{}, errForeign
		}
		*name, b = string(b[2:2+length]), b[2+length:]
	}
	if len(b) != 0 {
		return Ticket{}, errForeign
	}
	return t, nil
}
