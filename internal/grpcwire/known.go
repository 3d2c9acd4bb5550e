package grpcwire

import "bytes"

// maxKnown is how many headers a connection remembers. An application that calls more methods in turn loses little.
const maxKnown = 8

// usual handles the next frame if it is one of those that make up nearly all requests of a client like ours: a header
// that has come before but for its timeout, and data.
func (c *serverConn) usual() (done bool, err error) {
	c.unknown = nil
	f, ok := peek(c.in)
	if !ok {
		return false, nil
	}
	switch {
	case f.data() && f.stream != 0 && f.stream <= maxWindow:
		err = c.data(f.stream, uint32(len(f.payload)), f.payload, f.last())
	case f.header() && f.stream <= maxWindow:
		o, timeout := c.recall(f.payload)
		if o == nil {
			if head, ok := lasting(f.payload); ok && len(head) <= keptHeader {
				c.unknown = bytes.Clone(head)
			}
			return false, nil
		}
		window, mine, wrong := c.admit(f.stream, f.last())
		if err = wrong; mine {
			err = c.begin(f.stream, *o, string(timeout), window, f.last())
		}
	default:
		return false, nil
	}
	f.drop(c.in)
	return true, err
}

// recall finds a header that has come before.
func (c *serverConn) recall(block []byte) (o *opening, timeout []byte) {
	for i := range c.known {
		known := &c.known[i]
		if !bytes.HasPrefix(block, known.block) {
			continue
		}
		rest := block[len(known.block):]
		if len(rest) == 0 {
			return known, nil
		}
		if timeout, ok := cutTimeout(rest); ok {
			return known, timeout
		}
	}
	return nil, nil
}

// remember keeps what the header meant that has just been read, if it means the same the next time.
func (c *serverConn) remember(o opening) {
	if len(c.unknown) == 0 {
		return
	}
	o.block = c.unknown
	c.unknown = nil
	if len(c.known) < maxKnown {
		c.known = append(c.known, o)
		return
	}
	copy(c.known, c.known[1:])
	c.known[maxKnown-1] = o
}

// keptHeader is the longest header that is remembered.
const keptHeader = 1 << 10
