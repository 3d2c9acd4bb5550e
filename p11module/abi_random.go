package main

/*
#include "pkcs11.h"
*/
import "C"

import "github.com/anyhsm/anyhsm/p11module/internal/session"

const (
	// randomChunk is how many random bytes are asked for at once, whatever length the caller names.
	randomChunk = 64 << 10
	// maxSeed is more than any generator can make use of.
	maxSeed = 64 << 10
)

//export anyhsm_C_SeedRandom
func anyhsm_C_SeedRandom(hSession C.CK_SESSION_HANDLE, pSeed C.CK_BYTE_PTR, ulSeedLen C.CK_ULONG) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		seed, err := view(pSeed, ulSeedLen)
		if err != nil || len(seed) > maxSeed {
			return errArguments
		}
		return s.SeedRandom(seed)
	})
}

//export anyhsm_C_GenerateRandom
func anyhsm_C_GenerateRandom(hSession C.CK_SESSION_HANDLE, pRandom C.CK_BYTE_PTR, ulRandomLen C.CK_ULONG) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		to, err := view(pRandom, ulRandomLen)
		for err == nil && len(to) > 0 {
			var random []byte
			random, err = s.GenerateRandom(min(len(to), randomChunk))
			to = to[copy(to, random):]
		}
		return err
	})
}
