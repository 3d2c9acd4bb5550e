package config

import (
	"encoding/binary"
	"math/bits"
	"os"
)

// atSecure is the auxiliary vector's entry that the kernel sets when a program runs with more rights than its caller:
// set-uid, set-gid, file capabilities.
const atSecure = 23

// secureExecution tells whether the host runs with more rights than its caller. Who cannot know assumes so: a process
// whose /proc/self is closed to it has changed its rights.
func secureExecution() bool {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return true
	}
	vector, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		// A chroot without /proc is no reason for suspicion; a /proc that is closed to us is.
		return !os.IsNotExist(err)
	}
	return secureVector(vector)
}

// secureVector reads AT_SECURE from an auxiliary vector: pairs of machine words.
func secureVector(vector []byte) bool {
	const word = bits.UintSize / 8
	read := func(b []byte) uint64 {
		if word == 4 {
			return uint64(binary.NativeEndian.Uint32(b))
		}
		return binary.NativeEndian.Uint64(b)
	}
	for len(vector) >= 2*word {
		if read(vector) == atSecure {
			return read(vector[word:]) != 0
		}
		vector = vector[2*word:]
	}
	return false
}
