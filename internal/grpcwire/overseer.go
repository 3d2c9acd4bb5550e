package grpcwire

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// inlineLimit is after which time a call that runs on its connection's reader gives the reading to somebody else;
	// it may take twice as long.
	inlineLimit = 4 * time.Millisecond
	// quietRounds is for how many rounds a connection stays under watch after its last call.
	quietRounds = 64
)

// overseer looks after calls that run on their connections' readers. It costs a call two atomic additions; a timer per
// call would cost more than the rest of the transport. Without calls it sleeps.
type overseer struct {
	mu      sync.Mutex
	watched []*inline
	running bool
	stopped bool
	ended   chan struct{}
}

// inline is what the overseer knows of a connection.
type inline struct {
	// number is odd while a call runs on the reader.
	number  atomic.Uint64
	watched atomic.Bool
	late    func(number uint64)

	// The overseer's own.
	seen  uint64
	quiet int
}

// begin says that a call runs on the reader from now on.
func (o *overseer) begin(i *inline) (number uint64) {
	number = i.number.Add(1)
	if !i.watched.Load() {
		o.watch(i)
	}
	return number
}

// end says that the reader reads again.
func (i *inline) end() { i.number.Add(1) }

func (o *overseer) watch(i *inline) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stopped || i.watched.Swap(true) {
		return
	}
	i.quiet = 0
	o.watched = append(o.watched, i)
	if !o.running {
		o.running = true
		o.ended = make(chan struct{})
		go o.run(o.ended)
	}
}

func (o *overseer) run(ended chan struct{}) {
	defer close(ended)
	for {
		time.Sleep(inlineLimit)
		if !o.round() {
			return
		}
	}
}

// round looks at all connections under watch; false if there are none left.
func (o *overseer) round() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := o.watched[:0]
	for _, i := range o.watched {
		number := i.number.Load()
		switch {
		case number != i.seen:
			i.seen, i.quiet = number, 0
		case number%2 == 1:
			i.late(number)
		default:
			i.quiet++
		}
		if i.quiet >= quietRounds || o.stopped {
			i.watched.Store(false)
			// A call that began just now may still have seen that it is watched.
			if i.number.Load() == number || i.watched.Swap(true) {
				continue
			}
		}
		kept = append(kept, i)
	}
	clear(o.watched[len(kept):])
	o.watched = kept
	o.running = len(kept) > 0
	return o.running
}

func (o *overseer) stop() {
	o.mu.Lock()
	o.stopped = true
	ended := o.ended
	o.mu.Unlock()
	if ended != nil {
		<-ended
	}
}
