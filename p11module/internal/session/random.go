package session

import (
	"sync"

	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

const (
	// randomChunk is how many random bytes one call asks for at the most.
	randomChunk = 64 << 10
	// A request of up to smallRandom bytes is answered from what an earlier one of readAhead brought: SunPKCS11 as the
	// first provider takes 32 bytes for each signature.
	smallRandom, readAhead = 64, 1024
	// Threads that find nothing read at the same time; what they bring is kept up to maxAhead bytes.
	maxAhead = 32 << 10
)

// randomPool holds random bytes that nobody has had yet. What is handed out is wiped here; a forked child has a pool
// of its own, since it has an image of its own.
type randomPool struct {
	mu    sync.Mutex
	bytes []byte
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
	if out := s.token.random.take(n); out != nil {
		return out, nil
	}
	fetched, err := s.fetchRandom(readAhead)
	if err != nil {
		return nil, err
	}
	s.token.random.add(fetched[n:])
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
