package session

import (
	"github.com/anyhsm/anyhsm/internal/fault"
	anyhsmv1 "github.com/anyhsm/anyhsm/proto/anyhsm/v1"
)

// randomChunk is how many random bytes one call asks for.
const randomChunk = 64 << 10

// GenerateRandom is C_GenerateRandom.
func (s *Session) GenerateRandom(n int) ([]byte, error) {
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

// SeedRandom is C_SeedRandom.
func (s *Session) SeedRandom(seed []byte) error {
	ctx, cancel := s.token.context()
	defer cancel()
	_, err := read(s.token, func(header *anyhsmv1.CallHeader) (*anyhsmv1.SeedRandomResponse, error) {
		return s.token.client.Crypto.SeedRandom(ctx, &anyhsmv1.SeedRandomRequest{Header: header, Seed: seed})
	})
	return s.remember(err)
}
