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
LOCATION is a name, a path or an id, or DEVICE:NAME. The daemon does the deep check
of each location once a week, while nothing else goes on.

What is damaged is quarantined by the daemon: nothing of it is used any more. A copy
is fetched again from any device that has one. An index of this device is taken
back from a device that has a copy of it, or begins anew if nobody can have one;
either way its folder is scanned. With --repair it begins anew also if such a
device is away, and the command waits for that; it needs the daemon. Exit code 1
says that something is, or was, damaged.`,
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
	c.Flags().BoolVar(&r.Repair, "repair", false, "take damaged indexes of this device back, or begin them anew, and wait")
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
		case l.State == api.StateQuarantined:
			outcome = a.paint(red, l.State, a.outTTY)
		case !results[i].OK:
			outcome = a.paint(red, "damaged", a.outTTY)
		}
		rows = append(rows, table.Row{
			quote(l.Device), quote(l.Name), number(l.Entries), outcome, took(results[i].Duration), asOf(l.Checked, a.now()),
		})
	}
	a.say("%s", renderTable(table.Row{"device", "location", "entries", "state", "took", "read through"}, rows, 3, 5))
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
