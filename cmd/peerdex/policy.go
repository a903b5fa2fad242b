package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

func (a *app) policyCommand() *cobra.Command {
	var unset bool
	values := []string{"auto", "full", "lazy", "off"}
	c := &cobra.Command{
		Use:   "policy LOCATION|DEVICE [auto|full|lazy|off]",
		Short: "Choose what is kept here of another device's index",
		Long: `Choose what this device keeps of a location of another one, or of all locations of
a device for which nothing else was chosen. Without a value it shows what counts.

  full   a copy of the index, always
  lazy   no copy: ls, find and info ask a device that has it, and remember the
         answers. Without such a device, what is remembered answers
  off    nothing: neither a copy nor asking
  auto   full; but lazy for locations of 100,000 entries or more, while this device's
         network is set as metered, or all there is is a relay of strangers (the default)

A copy that is here already stays when lazy or off is chosen, and moves no further;
lazy asks for what is newer and falls back on it. "peerdex sync LOCATION" fetches a
copy once, whatever the policy.`,
		Example: "  peerdex policy nas lazy\n  peerdex policy nas:photos full\n  peerdex policy nas",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 || unset && len(args) > 1 {
				return usage(cmd, "too many arguments: "+quote(args[len(args)-1]))
			}
			if len(args) == 2 && !slices.Contains(values, args[1]) {
				return usage(cmd, "there is no policy "+quote(args[1])+": it is auto, full, lazy or off")
			}
			return atLeastOne(cmd, args[:min(1, len(args))], "location or device")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			r := api.PolicyRequest{Of: refArg(args[0]), Unset: unset}
			if len(args) > 1 {
				r.Policy = args[1]
			}
			return a.policy(cmd.Context(), r)
		},
	}
	c.Flags().BoolVar(&unset, "unset", false, "forget what was chosen for this location or device")
	return c
}

func (a *app) policy(ctx context.Context, r api.PolicyRequest) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	set, err := d.Policy(ctx, r)
	if err != nil {
		return err
	}
	a.answer("policy", orEmpty(set), func() {
		rows := make([]table.Row, 0, len(set))
		for i := range set {
			s := &set[i]
			name, chosen := quote(s.Name), "chosen"
			if s.Location == (index.LocationID{}) {
				name = "(all others)"
			}
			if !s.Set {
				chosen = "by default, or as its device"
			}
			rows = append(rows, table.Row{quote(s.Device), name, s.Policy, chosen})
		}
		a.say("%s", renderTable(table.Row{"device", "location", "policy", ""}, rows))
	})
	return nil
}

func (a *app) syncCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "sync LOCATION",
		Short: "Fetch the index of another device's location now",
		Long: `Fetch the newest index of a location of another device now, whatever its policy,
and wait until it is here. First it shows what that will cost, and asks whether to
go on; --yes goes on without asking. LOCATION is a name, a path or an id, alone or as
DEVICE:NAME.`,
		Example: "  peerdex sync nas:photos\n  peerdex sync --yes photos",
		Args:    exactly(1, "location"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.sync(cmd.Context(), api.SyncRequest{Location: refArg(args[0])}, yes)
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// syncData is what sync prints with --json.
type syncData struct {
	Cost     api.SyncCost `json:"cost"`
	Location api.Location `json:"location"` // as it is now
}

func (a *app) sync(ctx context.Context, r api.SyncRequest, yes bool) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	cost, err := d.SyncCost(ctx, r)
	if err != nil {
		return err
	}
	what := quote(cost.Location.Device) + ": " + quote(cost.Location.Name)
	if cost.Entries > 0 {
		a.note("%s: %s", what, costOf(&cost))
		if err := a.confirm(ctx, "Fetch it now?", yes); err != nil {
			return err
		}
	}
	l, err := a.runSync(ctx, d, r)
	if err != nil {
		return err
	}
	a.answer("sync", syncData{cost, l}, func() {
		a.say("%s: %s, as of %s", what, count(l.Entries, "entry"), asOf(l.AsOf, a.now()))
	})
	return nil
}

// costOf says what fetching a location costs.
func costOf(c *api.SyncCost) string {
	how := "about "
	if !c.Measured {
		how = "perhaps "
	}
	return fmt.Sprintf("up to %s, about %s, %s%s, from %s",
		count(c.Entries, "entry"), size(c.Bytes), how, took(c.Duration), quote(c.Provider))
}

// confirm asks a question to be answered with yes on the terminal. Without a terminal, yes must have been said before.
func (a *app) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	refused := &api.Error{Code: api.CodeUsage, Title: "nothing was done: it was not confirmed", Hint: "say --yes"}
	if !a.inTTY || a.flags.json {
		return refused
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line := make(chan string, 1)
	go func() { // ends with the process at the latest: nothing can interrupt a read of the terminal
		s, _ := bufio.NewReader(a.in).ReadString('\n')
		line <- s
	}()
	select {
	case s := <-line:
		if s = strings.ToLower(strings.TrimSpace(s)); s == "y" || s == "yes" {
			return nil
		}
		return refused
	case <-ctx.Done():
		fmt.Fprintln(a.err)
		return ctx.Err()
	}
}

// runSync shows progress until the location is here.
func (a *app) runSync(ctx context.Context, b api.Backend, r api.SyncRequest) (api.Location, error) {
	type outcome struct {
		l   api.Location
		err error
	}
	ch := make(chan outcome, 1)
	go func() {
		l, err := b.Sync(ctx, r)
		ch <- outcome{l, err}
	}()
	var o outcome
	err := a.follow(ctx, b, func(context.Context) (bool, error) {
		select {
		case o = <-ch:
			return true, o.err
		default:
			return false, nil
		}
	})
	return o.l, err
}
