package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// command is a subcommand: it prints its result to out, and to notes what people may want to see meanwhile.
type command struct {
	name string
	run  func(ctx context.Context, args []string, out, notes io.Writer) error
}

func commands() []command {
	return []command{
		{"store", benchStore},
		{storeChild, runStoreChild},
		{"sync", benchSync},
		{syncChild, runSyncChild},
		{individualChild, runIndividualChild},
	}
}

func run(ctx context.Context, args []string, out, notes io.Writer) error {
	if len(args) == 0 {
		return errors.New("which benchmark? bench store -h and bench sync -h say more")
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, args[1:], out, notes)
		}
	}
	return fmt.Errorf("there is no benchmark %q; there are store and sync", args[0])
}
