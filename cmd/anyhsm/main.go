// Command anyhsm administers an AnyHSM daemon: tokens, keys, certificates, applications, providers and the audit log.
// It speaks the protocol of proto/anyhsm/v1 and nothing else.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/anyhsm/anyhsm/cmd/anyhsm/internal/command"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command.Execute(ctx, os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}
