package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

func (a *app) infoCommand() *cobra.Command {
	var total bool
	c := &cobra.Command{
		Use:   "info DEVICE:PATH",
		Short: "Show all that is known of one file or folder",
		Long: `Show all that is known of one file or folder of any device, whether it is on or
off. How old that is goes to standard error. With --total it also adds up what
lies below a folder, at any depth.`,
		Example: "  peerdex info nas:/tank/photos/2019\n  peerdex info --total nas:/tank",
		Args:    exactly(1, "file or folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			device, path, err := parseDevicePath(args[0])
			if err != nil {
				return err
			}
			return a.info(cmd.Context(), api.EntryRequest{Device: device, Path: path}, total)
		},
	}
	c.Flags().BoolVar(&total, "total", false, "add up what lies below a folder")
	return c
}

// infoData is what info prints with --json.
type infoData struct {
	api.Entry
	Total *api.Totals `json:"total,omitempty"`
}

func (a *app) info(ctx context.Context, req api.EntryRequest, total bool) error {
	r, release, err := a.reader(ctx)
	if err != nil {
		return err
	}
	defer release()
	e, err := r.Entry(ctx, req)
	if err != nil {
		return err
	}
	st, err := r.Status(ctx)
	if err != nil {
		return err
	}
	data := infoData{Entry: e}
	if total && e.Hit.Kind == index.KindDir {
		t, err := r.Totals(ctx, req)
		if err != nil {
			return err
		}
		data.Total = &t
	}
	a.answer("entry", data, func() { a.printEntry(&data) })
	for _, d := range allDevices(&st) {
		if d.ID == e.Hit.Owner && !a.flags.json {
			v, _ := deviceSummary(&st, &d)
			v.AsOf, v.Notes = e.Hit.AsOf, nil
			p := a.newHitPrinter(hitFlags{}, fullPath)
			p.noteVia(v.Device, e.Hit.Via, e.Hit.AsOf)
			a.note("%s", a.ageOf(&v))
			for _, n := range p.asked([]deviceAsOf{v})[0].Notes {
				a.note("note: %s: %s", quote(v.Device), n)
			}
		}
	}
	return nil
}

func (a *app) printEntry(e *infoData) {
	h := &e.Hit
	a.say("%s", quote(fullPath(h)))
	switch h.Kind {
	case index.KindFile:
		a.say("kind      file")
		a.say("size      %s (%s)", size(h.Size), count(h.Size, "byte"))
	case index.KindDir:
		a.say("kind      folder")
		a.say("holds     %s", count(e.Children, "entry"))
		if t := e.Total; t != nil {
			a.say("in all    %s, %s of them folders, with %s", count(t.Entries, "entry"), number(t.Folders), size(t.Bytes))
		}
	default:
		a.say("kind      %v", h.Kind)
	}
	a.say("modified  %s", h.Modified.Local().Format(time.DateTime))
	a.say("mode      %04o", h.Mode)
	if len(e.Hash) > 0 {
		a.say("hash      %s", hex.EncodeToString(e.Hash))
	}
	if len(e.Attrs) > 0 {
		a.say("attrs     %s", count(int64(len(e.Attrs)), "byte"))
	}
	a.say("location  %s", quote(e.LocationName))
	a.say("id        %s", fmt.Sprintf("%v/%v/%d", h.Owner, h.Location, h.EntryID))
}
