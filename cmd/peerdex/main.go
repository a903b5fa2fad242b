// Command peerdex keeps the file index of every one of your devices on all the others, and searches it.
//
// README.md shows the first minutes with it; `peerdex help` lists the commands. The daemon is `peerdex serve`, which
// `peerdex up` starts in the background; every other command speaks to it over a unix socket, or reads its data
// folder directly when it doesn't run. Answers go to standard output, all else to standard error.
//
// This package is the only one that reads the environment, handles signals and ends the process.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set when a release is built: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func main() { os.Exit(realMain()) }

func realMain() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return newApp(os.Args[1:]).run(ctx)
}
