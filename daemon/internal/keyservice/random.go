package keyservice

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"os"
	"sync"

	"github.com/anyhsm/anyhsm/daemon/internal/provider"
	"github.com/anyhsm/anyhsm/internal/fault"
)

// maxRandom bounds one answer, maxSeed one seed.
const (
	maxRandom = 16 << 20
	maxSeed   = 64 << 10
)

// GenerateRandom returns random bytes (C_GenerateRandom): those of the kernel, mixed with the provider's where it has
// its own, so that the result is as good as the better of the two. A service that bills each call is not asked: what it
// sends is no better than the kernel's, and applications ask often. No key is used, so it is not recorded.
func (s *Service) GenerateRandom(ctx context.Context, call Call, length int) ([]byte, Reply, error) {
	a, err := s.enterToUse(ctx, call, begin(call, "random"))
	if err != nil {
		return nil, Reply{}, settle(err)
	}
	if length < 0 || length > maxRandom {
		return nil, Reply{}, fault.New(fault.ArgumentsBad, "%d random bytes are more than the %d of one call; ask several times", length, maxRandom)
	}
	random := make([]byte, length)
	rand.Read(random) // never fails: the runtime ends the process instead
	b, err := s.backend(a.token.Provider)
	if err != nil {
		return nil, Reply{}, err
	}
	source, ok := b.Provider.(provider.RandomSource)
	if !ok || b.capabilities.Metered || length == 0 {
		return random, a.reply, nil
	}
	own, err := source.Random(ctx, length)
	if err != nil {
		return nil, Reply{}, settle(err)
	}
	if len(own) != length {
		return nil, Reply{}, fault.New(fault.FunctionFailed, "provider %s returned %d random bytes instead of %d; check the provider", b.name, len(own), length)
	}
	subtle.XORBytes(random, random, own)
	return random, a.reply, nil
}

// kernelPool is the kernel's pool of random numbers, opened once.
var kernelPool = sync.OnceValues(func() (*os.File, error) { return os.OpenFile("/dev/urandom", os.O_WRONLY, 0) })

// SeedRandom mixes a seed in (C_SeedRandom): into the kernel's pool, which mixes without counting it as entropy, so a
// bad seed does no harm.
func (s *Service) SeedRandom(ctx context.Context, call Call, seed []byte) (Reply, error) {
	a, err := s.enterToUse(ctx, call, begin(call, "seed"))
	if err != nil {
		return Reply{}, settle(err)
	}
	if len(seed) > maxSeed {
		return Reply{}, fault.New(fault.ArgumentsBad, "a seed of %d bytes is longer than %d; send less", len(seed), maxSeed)
	}
	pool, err := kernelPool()
	if err == nil {
		_, err = pool.Write(seed)
	}
	if err != nil {
		s.log.Warn("the seed could not be mixed in", "error", err)
		return Reply{}, fault.New(fault.RandomSeedNotSupported, "this system takes no seed; its own random numbers need none")
	}
	return a.reply, nil
}
