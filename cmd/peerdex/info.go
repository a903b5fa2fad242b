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
	return &cobra.Command{
		Use:   "info DEVICE:PATH",
		Short: "Show all that is known of one file or folder",
		Long: `Show all that is known of one file or folder of any device, whether it is on or
off. How old that is goes to standard error.`,
		Example: "  peerdex info nas:/tank/photos/2019",
		Args:    exactly(1, "file or folder"),
		RunE: func(cmd *cobra.Command, args []string) error {
			device, path, err := parseDevicePath(args[0])
			if err != nil {
				return err
			}
			return a.info(cmd.Context(), api.EntryRequest{Device: device, Path: path})
		},
	}
}

func (a *app) info(ctx context.Context, req api.EntryRequest) error {
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
	a.answer("entry", e, func() { a.printEntry(&e) })
	for _, d := range allDevices(&st) {
		if d.ID == e.Hit.Owner && !a.flags.json {
			v, _ := deviceSummary(&st, &d)
			v.AsOf = e.Hit.AsOf
			a.note("%s", a.ageOf(&v))
		}
	}
	return nil
}

func (a *app) printEntry(e *api.Entry) {
	h := &e.Hit
	a.say("%s", quote(fullPath(h)))
	switch h.Kind {
	case index.KindFile:
		a.say("kind      file")
		a.say("size      %s (%s)", size(h.Size), count(h.Size, "byte"))
	case index.KindDir:
		a.say("kind      folder")
		a.say("holds     %s", count(e.Children, "entry"))
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
