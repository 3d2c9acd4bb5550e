package main

// ballast counts as memory in use for the garbage collector and is none: nobody touches its pages. A daemon's heap is
// small, and the collector would run each time it has doubled, a thousand times a second; so it may grow by this much.
var ballast []byte

const ballastSize = 64 << 20

// calm makes the garbage collector run less often.
func calm() { ballast = make([]byte, ballastSize) }
