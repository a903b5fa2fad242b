package main

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/node/api"
)

// listPage is how many entries ls asks for at once.
const listPage = 1000

func (a *app) lsCommand() *cobra.Command {
	var f hitFlags
	c := &cobra.Command{
		Use:   "ls DEVICE:PATH",
		Short: "List a folder of any device",
		Long: `List a folder of any device, whether it is on or off. "peerdex ls nas:" lists the
folders that nas has indexed.

On a terminal names come with size and time; in a pipe one DEVICE:PATH a line, or
as the flags say.`,
		Example: "  peerdex ls nas:\n  peerdex ls nas:/tank/photos/2019",
		Args:    exactly(1, "folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(cmd); err != nil {
				return err
			}
			device, path, err := parseDevicePath(args[0])
			if err != nil {
				return err
			}
			return a.ls(cmd.Context(), api.ListRequest{Device: device, Path: path, Limit: listPage}, f)
		},
	}
	f.register(c)
	return c
}

func (a *app) ls(ctx context.Context, req api.ListRequest, f hitFlags) error {
	r, release, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer release()
	begun := a.now()
	name := func(h *api.Hit) string { return baseName(h.Path) }
	if req.Path == "" || req.Path == "/" {
		name = func(h *api.Hit) string { return h.Path } // the roots of locations
	}
	p := a.newHitPrinter(f, name)
	var of api.Listing
	if err := p.printAll(pages(ctx, r, req, &of)); err != nil {
		return err
	}
	st, err := r.Status(ctx)
	if err != nil {
		return err
	}
	s := summary{Count: p.total(), Elapsed: int64(a.now().Sub(begun)), Complete: true, Devices: []deviceAsOf{}}
	for _, d := range allDevices(&st) {
		if d.Name != of.Device {
			continue
		}
		v, _ := deviceSummary(&st, &d)
		if !of.AsOf.IsZero() {
			v.AsOf = of.AsOf
		}
		s.Devices = append(s.Devices, v)
	}
	p.noteVia(of.Device, of.Via, of.AsOf) // also if the folder is empty
	s.Devices = p.asked(s.Devices)
	p.finish(&s)
	return nil
}

// pages yields the entries of a folder page by page, and leaves in of what the last page says about them all.
func pages(ctx context.Context, r api.Reader, req api.ListRequest, of *api.Listing) iter.Seq2[api.Hit, error] {
	return func(yield func(api.Hit, error) bool) {
		for {
			page, err := r.List(ctx, req)
			if err != nil {
				yield(api.Hit{}, err)
				return
			}
			*of = page
			for _, h := range page.Entries {
				if !yield(h, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			req.After = page.Next
		}
	}
}
