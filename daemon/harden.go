package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps key material out of core dumps and away from other processes' debuggers.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("core dumps cannot be turned off (PR_SET_DUMPABLE): %w; run the daemon on Linux 2.6 or newer, outside of a filter that forbids it", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core dumps cannot be turned off (RLIMIT_CORE): %w; allow the daemon setrlimit", err)
	}
	return nil
}
