package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

func (a *app) checkCommand() *cobra.Command {
	var r api.CheckRequest
	c := &cobra.Command{
		Use:   "check [LOCATION]",
		Short: "Check that what this device holds is whole",
		Long: `Check that what this device holds is whole: its own index and its copies of those
of other devices. Each file, its counts and its signatures are checked; with
--deep every entry is read and hashed, and compared with what its owner signed.
LOCATION is a name, a path or an id, or DEVICE:NAME.

With --repair damaged copies are deleted, and fetched again from any device that
has one. A damaged or lost index of this device is taken back from a device that
is connected and has a copy of it, or begins anew if there is none; either way
its folder is scanned. It needs the daemon. Exit code 1 says that something is, or was, damaged.`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				r.Location = args[0]
				if !slices.Contains([]byte(args[0]), ':') {
					r.Location = locationArg(args[0])
				}
			}
			return a.check(cmd.Context(), r)
		},
	}
	c.Flags().BoolVar(&r.Deep, "deep", false, "read and hash every entry")
	c.Flags().BoolVar(&r.Repair, "repair", false, "fetch damaged copies again; take damaged indexes of this device back, or begin them anew")
	return c
}

func (a *app) check(ctx context.Context, r api.CheckRequest) error {
	var from api.Reader
	if r.Repair {
		d, err := a.daemon(ctx)
		if err != nil {
			return err
		}
		defer d.Close()
		from = d
	} else {
		reader, release, err := a.reader(ctx)
		if err != nil {
			return err
		}
		defer release()
		from = reader
	}
	results, err := from.Check(ctx, r)
	if err != nil {
		return err
	}
	a.answer("check", orEmpty(results), func() { a.printChecks(results) })
	if slices.ContainsFunc(results, func(c api.CheckResult) bool { return !c.OK }) {
		return errNothing // exit code 1: a check found damage
	}
	return nil
}

// maxProblems bounds what is printed of one location; --json has all.
const maxProblems = 5

func (a *app) printChecks(results []api.CheckResult) {
	if len(results) == 0 {
		a.note("Nothing is held yet, so there is nothing to check.")
		return
	}
	rows := make([]table.Row, 0, len(results))
	for i := range results {
		l, outcome := &results[i].Location, "whole"
		switch {
		case results[i].Repaired:
			outcome = "was damaged"
		case !results[i].OK:
			outcome = a.paint(red, "damaged", a.outTTY)
		}
		rows = append(rows, table.Row{quote(l.Device), quote(l.Name), number(l.Entries), outcome, took(results[i].Duration)})
	}
	a.say("%s", renderTable(table.Row{"device", "location", "entries", "state", "took"}, rows, 3, 5))
	for i := range results {
		if results[i].OK {
			continue
		}
		name := quote(results[i].Location.Device) + ": " + quote(results[i].Location.Name)
		for n, p := range results[i].Problems {
			if n == maxProblems {
				a.note("note: %s: %s", name, fmt.Sprintf("and %d more", len(results[i].Problems)-n))
				break
			}
			a.note("note: %s: %s", name, oneLine(p))
		}
		a.note("note: %s: %s", name, oneLine(results[i].Hint))
	}
}
