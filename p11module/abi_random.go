package main

/*
#include "pkcs11.h"
*/
import "C"

import "github.com/anyhsm/anyhsm/p11module/internal/session"

//export anyhsm_C_SeedRandom
func anyhsm_C_SeedRandom(hSession C.CK_SESSION_HANDLE, pSeed C.CK_BYTE_PTR, ulSeedLen C.CK_ULONG) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		seed, err := view(pSeed, ulSeedLen)
		if err != nil {
			return err
		}
		return s.SeedRandom(seed)
	})
}

//export anyhsm_C_GenerateRandom
func anyhsm_C_GenerateRandom(hSession C.CK_SESSION_HANDLE, pRandom C.CK_BYTE_PTR, ulRandomLen C.CK_ULONG) C.CK_RV {
	return inSession(hSession, func(s *session.Session) error {
		to, err := view(pRandom, ulRandomLen)
		if err != nil {
			return err
		}
		random, err := s.GenerateRandom(len(to))
		copy(to, random)
		return err
	})
}
