//go:build race

package grpcwire

import "sync/atomic"

// order shows the race detector what a socket orders: who has read what another one wrote comes after it.
var order atomic.Int64

func publish() { order.Add(1) }

func observe() { order.Load() }
