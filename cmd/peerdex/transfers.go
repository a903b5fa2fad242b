package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

func (a *app) transfersCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "transfers",
		Short: "Show what is fetched from other devices, and pause, resume or cancel it",
		Long: `Show which indexes are being fetched from other devices, which wait for it and why,
and which were stopped. What was received is never fetched twice: after a pause, a
restart or a broken connection a transfer goes on where it was.`,
		Example: "  peerdex transfers\n  peerdex transfers pause nas:photos\n  peerdex transfers resume --all",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, release, err := a.reader(cmd.Context())
			if err != nil {
				return err
			}
			defer release()
			t, err := r.Transfers(cmd.Context())
			if err != nil {
				return err
			}
			a.answer("transfers", t, func() { a.printTransfers(&t) })
			return nil
		},
	}
	c.AddCommand(
		a.controlCommand(api.PauseTransfers, "Stop transfers until they are resumed",
			`Stop fetching a location, or all of a device, until it is resumed, also after a
restart. What was received is kept. With --all nothing at all is fetched, also what
isn't known yet.`),
		a.controlCommand(api.ResumeTransfers, "Go on with what was paused or cancelled",
			`Go on with what was paused or cancelled. What waits after a failure, or since a
device was busy, is tried at once.`),
		a.controlCommand(api.CancelTransfers, "Stop transfers and drop what they received",
			`Stop fetching a location, or all of a device, and drop what was received of it but
is not in use yet. An index that is here already stays as it is. It is fetched again
when it is resumed, or when its owner has something newer; to keep it from that,
pause it.`),
	)
	return c
}

func (a *app) controlCommand(action api.TransferAction, short, long string) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   string(action) + " LOCATION|DEVICE|--all",
		Short: short,
		Long:  long + "\n\nA location is named by its name, its path or its id, alone or as DEVICE:NAME.",
		Args: func(cmd *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usage(cmd, "name a location or say --all, not both")
			}
			if !all {
				if err := atLeastOne(cmd, args, "location or device"); err != nil {
					return err
				}
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.TransferRequest{Action: action, All: all}
			if !all {
				r.Of = refArg(args[0])
			}
			return a.controlTransfers(cmd.Context(), r)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all transfers")
	return c
}

func (a *app) controlTransfers(ctx context.Context, r api.TransferRequest) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	t, err := d.ControlTransfers(ctx, r)
	if err != nil {
		return err
	}
	a.answer("transfers", t, func() {
		what := "all transfers"
		if !r.All {
			what = quote(r.Of)
		}
		switch r.Action {
		case api.PauseTransfers:
			a.say("Paused %s", what)
		case api.CancelTransfers:
			a.say("Cancelled %s", what)
		default:
			a.say("Resumed %s", what)
		}
	})
	return nil
}

func (a *app) printTransfers(t *api.Transfers) {
	if t.Paused {
		a.say("All transfers are paused. To go on:  peerdex transfers resume --all")
	}
	if len(t.Transfers) == 0 {
		if !t.Paused {
			a.say("Nothing is being fetched.")
		}
		return
	}
	rows := make([]table.Row, 0, len(t.Transfers))
	for i := range t.Transfers {
		x := &t.Transfers[i]
		from, how := "-", "-"
		if x.Provider != "" {
			from, how = quote(x.Provider), x.Strategy
		}
		rows = append(rows, table.Row{quote(x.Device), quote(x.Name), a.transferState(x, t.Paused), doneOf(&x.Progress) + paceOf(&x.Progress), from, how})
	}
	a.say("%s", renderTable(table.Row{"device", "location", "state", "received", "from", "how"}, rows))
	for i := range t.Transfers {
		if x := &t.Transfers[i]; x.Error != "" {
			a.note("note: %s: %s: the last try failed: %s", quote(x.Device), quote(x.Name), oneLine(x.Error))
		}
	}
}

// transferState says when a transfer goes on, if that is known.
func (a *app) transferState(x *api.Transfer, paused bool) string {
	switch {
	case paused && x.State != api.TransferCancelled:
		return api.TransferPaused
	case x.NextTry.After(a.now()):
		return fmt.Sprintf("%s, next try in %s", x.State, took(x.NextTry.Sub(a.now()).Round(time.Second)))
	}
	return x.State
}

// stateOf says in a few words how a location stands.
func stateOf(l *api.Location) string {
	switch l.State {
	case api.StateSyncing:
		if l.Transfer != nil && l.Transfer.Percent() >= 0 {
			return fmt.Sprintf("syncing %d %%", l.Transfer.Percent())
		}
	case api.StateBehind:
		if l.Behind > 0 {
			return "behind by " + number(l.Behind)
		}
	case api.StateNever:
		if l.Own {
			return "never scanned"
		}
		return "never synced"
	case api.StateFrozen:
		return "frozen: two heads"
	case api.StateCurrent:
		if !l.Own {
			return "current, verified"
		}
	}
	return l.State
}
