// Package delay proves how many round trips an operation takes: between module and daemon lies a relay that holds
// everything back for a while, and an operation's time is a multiple of that.
package delay

import (
	"net"
	"time"
)

// relay passes connections on to an address and holds every byte back for a while, in both directions, as a long cable
// does: what is sent while other things are under way arrives right behind them. It needs no rights and no kernel
// with netem, so the test is the same everywhere.
func relay(listener net.Listener, address string, hold time.Duration) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			_ = near.Close()
			continue
		}
		go carry(near, far, hold)
		go carry(far, near, hold)
	}
}

// part is what was read at once.
type part struct {
	data []byte
	due  time.Time
}

// carry carries one direction until either end closes.
func carry(from, to net.Conn, hold time.Duration) {
	parts := make(chan part, 4096)
	go func() {
		defer func() { _ = to.Close() }()
		for p := range parts {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				_ = from.Close()
			}
		}
	}()
	defer close(parts)
	for {
		data := make([]byte, 64<<10)
		n, err := from.Read(data)
		if n > 0 {
			parts <- part{data[:n], time.Now().Add(hold)}
		}
		if err != nil {
			return
		}
	}
}
