package main

import "runtime"

// ballastSize is by how much the heap may grow between two collections. A busy daemon's heap is small, and the garbage
// collector would run each time that it has doubled, hundreds of times a second.
const ballastSize = 64 << 20

// calm makes the garbage collector run less often until the returned function is called: memory counts as in use that is
// none, because nobody touches its pages.
func calm() (end func()) {
	ballast := make([]byte, ballastSize)
	return func() { runtime.KeepAlive(ballast) }
}
