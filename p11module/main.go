// Command p11module is the PKCS#11 module anyhsm-pkcs11.so, built with -buildmode=c-shared.
//
// A call of an application enters in front.c, which routes it to a function of abi_<chapter>.go here (or, in a forked
// child, in a private copy of the library); that turns C's pointers and lengths into Go values and calls
// internal/module and internal/session. call.go and buffer.go hold what all of them share.
package main

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -I${SRCDIR}/../include
#cgo LDFLAGS: -ldl -lpthread
#include "front.h"
*/
import "C"

import "runtime/debug"

//go:generate go run ./generate

// A guest keeps little memory: until it is used, its heap may grow by half between two collections, instead of doubling.
func init() { debug.SetGCPercent(50) }

// main is never called: the library's user is the host's main.
func main() {}
