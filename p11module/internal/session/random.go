package session

import (
	"sync"

	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// randomChunk is how many random bytes one call asks for at the most.
	randomChunk = 64 << 10
	// A request of up to smallRandom bytes is answered from what an earlier one of readAhead brought: with SunPKCS11 as the
	// first provider Java takes 32 bytes for each RSA signature, and for an ECDSA signature of its own twice the curve's size.
	smallRandom, readAhead = 256, 4096
	// maxAhead is how many bytes are kept at the most.
	maxAhead = 32 << 10
)

// randomPool holds random bytes that nobody has had yet. What is handed out is wiped here; a forked child has a pool
// of its own, since it has an image of its own.
type randomPool struct {
	mu    sync.Mutex
	bytes []byte
	// coming is what one thread fetches for all that find nothing; nil while nobody fetches.
	coming *fetch
}

// fetch is a call for more bytes. failed may be read once done is closed.
type fetch struct {
	done   chan struct{}
	failed bool
}

// join begins to fetch, or joins who does already. Who has begun ends it.
func (p *randomPool) join() (f *fetch, begun bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.coming != nil {
		return p.coming, false
	}
	p.coming = &fetch{done: make(chan struct{})}
	return p.coming, true
}

// end wakes those who wait for a fetch.
func (p *randomPool) end(f *fetch, failed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.failed = failed
	p.coming = nil
	close(f.done)
}

// take hands out n bytes, or nil if there are fewer.
func (p *randomPool) take(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.bytes) < n {
		return nil
	}
	out := make([]byte, n)
	last := p.bytes[len(p.bytes)-n:]
	copy(out, last)
	clear(last)
	p.bytes = p.bytes[:len(p.bytes)-n]
	return out
}

// add takes more bytes in and wipes them where they came from.
func (p *randomPool) add(bytes []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes == nil {
		p.bytes = make([]byte, 0, maxAhead) // of one size for good: growing would leave copies behind
	}
	p.bytes = append(p.bytes, bytes[:min(len(bytes), maxAhead-len(p.bytes))]...)
	clear(bytes)
}

// wipe forgets everything.
func (p *randomPool) wipe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.bytes)
	p.bytes = nil
}

// GenerateRandom is C_GenerateRandom.
func (s *Session) GenerateRandom(n int) ([]byte, error) {
	if n <= 0 || n > smallRandom {
		return s.fetchRandom(n)
	}
	pool := &s.token.random
	for {
		if out := pool.take(n); out != nil {
			return out, nil
		}
		f, begun := pool.join()
		if begun {
			return s.fetchAhead(f, n)
		}
		if <-f.done; f.failed {
			// Each hears of the failure from a call of its own: with one after the other the last would wait too long.
			return s.fetchRandom(n)
		}
	}
}

// fetchAhead fetches for all, and returns n bytes.
func (s *Session) fetchAhead(f *fetch, n int) ([]byte, error) {
	failed := true
	defer func() { s.token.random.end(f, failed) }()
	fetched, err := s.fetchRandom(readAhead)
	if err != nil {
		return nil, err
	}
	s.token.random.add(fetched[n:])
	failed = false
	return fetched[:n:n], nil
}

func (s *Session) fetchRandom(n int) ([]byte, error) {
	ctx, cancel := s.token.context()
	defer cancel()
	random := make([]byte, 0, min(max(n, 0), 1<<20))
	for len(random) < n {
		length := min(n-len(random), randomChunk)
		answer, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.GenerateRandomResponse, error) {
			return s.token.client.Crypto.GenerateRandom(ctx, &anyhsmv1.GenerateRandomRequest{Header: header, Length: uint32(length)})
		})
		if err != nil {
			return nil, s.remember(err)
		}
		if len(answer.GetData()) != length {
			return nil, fault.New(fault.Internal, "the daemon sent %d random bytes for %d; upgrade module and daemon together",
				len(answer.GetData()), length)
		}
		random = append(random, answer.GetData()...)
	}
	return random, nil
}

// SeedRandom is C_SeedRandom. What was read ahead knows nothing of the seed.
func (s *Session) SeedRandom(seed []byte) error {
	s.token.random.wipe()
	ctx, cancel := s.token.context()
	defer cancel()
	_, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.SeedRandomResponse, error) {
		return s.token.client.Crypto.SeedRandom(ctx, &anyhsmv1.SeedRandomRequest{Header: header, Seed: seed})
	})
	return s.remember(err)
}
