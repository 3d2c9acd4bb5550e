package main

import (
	"slices"
	"strconv"
)

// operation is a row of the tables.
type operation struct {
	name string
	// driver is what driver/operations.c calls it, if that is another name, and items how many objects more the token has.
	driver string
	items  int
	// threads are the numbers of callers that it is measured with.
	threads []int
	// near says that it needs no daemon: then TLS makes no difference.
	near bool
}

var (
	alone = []int{1}
	few   = []int{1, 4}
	many  = []int{1, 4, 16}
	crowd = []int{1, 4, 16, 64}
)

// Sizes of tokens: items besides the twelve objects. One for TLS has only keys that libp11 can read.
const (
	thousand = 1000 - 12
	lakh     = 100_000
	forTLS   = -1
)

// setup is how the driver fills a token of a size; what is missing is copied.
func setup(items int) []string {
	if items == forTLS {
		return []string{"--setup", "--tls"}
	}
	return []string{"--setup", "--items", strconv.Itoa(min(items, 1))}
}

// operations are those of issue 4, in its order.
var operations = []operation{
	{name: "round-trip", threads: crowd},
	{name: "p256-sign", threads: crowd},
	{name: "p384-sign", threads: many},
	{name: "ed25519-sign", threads: many},
	{name: "rsa2048-sign", threads: crowd},
	{name: "rsa2048-pss", threads: crowd},
	{name: "rsa2048-oaep", threads: crowd},
	{name: "gcm-1k", threads: crowd},
	{name: "gcm-64k", threads: many},
	{name: "hmac-sha256", threads: crowd},
	{name: "p256-verify", threads: many, near: true},
	{name: "rsa2048-verify", threads: many, near: true},
	{name: "ecdh", threads: many},
	{name: "find-sign", threads: crowd},
	{name: "find-1k", driver: "find-label", items: thousand, threads: alone, near: true},
	{name: "find-100k", driver: "find-label", items: lakh, threads: alone, near: true},
	{name: "list-1k-cold", driver: "list-cold", items: thousand, threads: alone},
	{name: "list-1k-warm", driver: "list", items: thousand, threads: alone, near: true},
	{name: "attribute", threads: few, near: true},
	{name: "session", threads: few, near: true},
	{name: "random-32", threads: few, near: true},
	{name: "digest-256", threads: few, near: true},
	{name: "digest-1m", threads: few, near: true},
	{name: "start", threads: alone},
	{name: "start-1k", driver: "start", items: thousand, threads: alone},
}

func names() []string {
	var all []string
	for _, o := range operations {
		all = append(all, o.name)
	}
	return all
}

// sizes are how many items the tokens must have for these operations.
func sizes(ops []operation) []int {
	all := []int{0}
	for _, o := range ops {
		if !slices.Contains(all, o.items) {
			all = append(all, o.items)
		}
	}
	return all
}

func operationOf(name string) (operation, bool) {
	i := slices.IndexFunc(operations, func(o operation) bool { return o.name == name })
	if i < 0 {
		return operation{}, false
	}
	return operations[i], true
}
