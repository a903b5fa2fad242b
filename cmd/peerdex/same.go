package main

import (
	"context"
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

func (a *app) sameCommand() *cobra.Command {
	var not bool
	c := &cobra.Command{
		Use:   "same [LOCATION DEVICE:LOCATION]",
		Short: "Say that a folder here is the one that another device indexes",
		Long: `A share that this device has mounted, or a disk that was moved, may be indexed by
another device, too. Without arguments, show what looks so, why, and what was
answered. With a location of this device and one of another, say that they are one
folder: this device goes on with its own index of it, fetches the other one no more,
and a search lists it once. While the folder is away here, the other's index is
fetched and searched again.

That two look the same is never enough: a copy does, too. With --not they are two
folders; that also takes an earlier answer back.`,
		Example: "  peerdex same\n  peerdex same media nas:media\n  peerdex same --not media nas:media",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && !not {
				return nil
			}
			return twoArgs("which location of this device, and which of another?")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listSame(cmd.Context())
			}
			return a.setSame(cmd.Context(), api.SameRequest{Location: locationArg(args[0]), With: refArg(args[1]), Different: not})
		},
	}
	c.Flags().BoolVar(&not, "not", false, "they are two folders")
	return c
}

// searchedOnce leaves out the locations of other devices that are folders of this one, but for those that were asked for.
func searchedOnce(all []api.Location, asked map[index.Location]bool) []api.Location {
	var out []api.Location
	for i := range all {
		if all[i].State != api.StateSame || asked[all[i].Ref()] {
			out = append(out, all[i])
		}
	}
	return out
}

func (a *app) listSame(ctx context.Context) error {
	r, release, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer release()
	all, err := r.Same(ctx)
	if err != nil {
		return err
	}
	a.answer("same", orEmpty(all), func() {
		if len(all) == 0 {
			a.say("Nothing here looks like what another device indexes.")
			return
		}
		rows := make([]table.Row, 0, len(all))
		for i := range all {
			s := &all[i]
			answer, why := "not answered", s.Detail
			if s.Answer != "" {
				answer = s.Answer
			}
			if why == "" {
				why = "-"
			}
			rows = append(rows, table.Row{quote(s.Own.Name), quote(s.Other.Device + ":" + s.Other.Name), answer, oneLine(why)})
		}
		a.say("%s", renderTable(table.Row{"here", "there", "answer", "why"}, rows))
	})
	return nil
}

func (a *app) setSame(ctx context.Context, r api.SameRequest) error {
	d, err := a.daemon(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	s, err := d.SetSame(ctx, r)
	if err != nil {
		return err
	}
	a.answer("same", s, func() {
		there := fmt.Sprintf("%s of %s", quote(s.Other.Name), quote(s.Other.Device))
		if r.Different {
			a.say("%s and %s are two folders", quote(s.Own.Name), there)
			return
		}
		a.say("%s is the same folder as %s: %s.", quote(s.Own.Name), there, oneLine(s.Detail))
		a.say("It is searched once. To take that back:  peerdex same --not LOCATION DEVICE:LOCATION")
	})
	return nil
}
