package node

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/query"
	"github.com/peerdex/peerdex/protocols/wire"
)

// listFar fills in one page of a folder that is asked for on demand.
func (v *view) listFar(ctx context.Context, at *site, r *ListRequest, out *Listing, missing *Error) error {
	after, err := parseFarPlace(r.After)
	if err != nil {
		return err
	}
	got, err := v.ask(ctx, at.far, &query.Request{Op: query.OpList, Path: at.rel, After: after, Limit: min(r.Limit, wire.MaxRows)})
	switch {
	case err != nil:
		return err
	case !got.Found:
		return got.missing(missing)
	}
	out.AsOf, out.Via = got.asOf, got.via
	l := got.Listing
	if l.Folder.Kind != index.KindDir {
		out.Entries = append(out.Entries, got.hit(out.Device, out.Path, &l.Folder))
		return nil
	}
	out.Entries = slices.Grow(out.Entries, len(l.Entries))
	for i := range l.Entries {
		out.Entries = append(out.Entries, got.hit(out.Device, joinPath(out.Path, l.Entries[i].Name), &l.Entries[i]))
	}
	if n := len(l.Entries); l.More && n > 0 {
		out.Next = l.Entries[n-1].Name + "/" + strconv.FormatInt(l.Entries[n-1].ID, 10)
	}
	return nil
}

// parseFarPlace reads a place in a folder as the store writes it: a name, or a name and an id after a slash.
func parseFarPlace(s string) (*query.Mark, error) {
	if s == "" {
		return nil, nil
	}
	name, number, found := strings.Cut(s, "/")
	m := &query.Mark{ID: index.MaxID, Text: name}
	if found {
		var err error
		if m.ID, err = strconv.ParseInt(number, 10, 64); err != nil {
			return nil, explain(usage("the page to go on from can't be read", "", "begin with the first page"), err)
		}
	}
	m.ID = min(max(m.ID, 1), index.MaxID)
	if len(name) > index.MaxNameLen {
		return nil, usage("the page to go on from can't be read", "its name is too long", "begin with the first page")
	}
	return m, nil
}

func (r *reply) hit(device, path string, e *index.Entry) Hit {
	h := hit(device, r.Head.Location, r.asOf, path, e)
	h.Via = r.via
	return h
}

// missing is the error that there is no such entry, with who says so.
func (r *reply) missing(e *Error) *Error {
	if e.Detail = "says " + r.via.Device; r.via.Unverified {
		e.Detail += ", which is not its owner: unverified"
	}
	return e
}

// farRoots are the roots of the locations of a device that are asked for on demand, all asked at the same time.
func (v *view) farRoots(ctx context.Context, d *Device, fars []far) []Hit {
	out := make([]Hit, len(fars))
	sem := make(chan struct{}, maxAsked)
	var wg sync.WaitGroup
	for i := range fars {
		sem <- struct{}{}
		wg.Go(func() {
			defer func() { <-sem }()
			out[i] = v.farRoot(ctx, d, &fars[i])
		})
	}
	wg.Wait()
	return out
}

// farRoot is the root of a location that is asked for on demand, as far as it is known.
func (v *view) farRoot(ctx context.Context, d *Device, f *far) Hit {
	got, err := v.ask(ctx, f, &query.Request{Op: query.OpEntry, Entry: index.RootID})
	if err != nil || !got.Found {
		return Hit{
			Device: d.Name, Path: f.base(), Kind: index.KindDir, Owner: f.loc.Owner, Location: f.loc.ID, EntryID: index.RootID, AsOf: f.newest.Time(),
		}
	}
	return got.hit(d.Name, f.base(), &got.Entry.Entry)
}

// entryFar asks for one entry.
func (v *view) entryFar(ctx context.Context, at *site, r *EntryRequest, missing *Error) (Entry, error) {
	got, err := v.ask(ctx, at.far, &query.Request{Op: query.OpEntry, Entry: r.EntryID, Path: at.rel})
	switch {
	case err != nil:
		return Entry{}, err
	case !got.Found:
		return Entry{}, got.missing(missing)
	}
	var rec index.Record
	if err := rec.UnmarshalBinary(got.Record); err != nil {
		return Entry{}, err
	}
	e := &got.Entry.Entry
	return Entry{
		Hit: got.hit(v.lib.name(at.loc.Owner), joinPath(rec.Base(), got.Entry.Path), e), LocationName: rec.Name,
		Children: got.Entry.Children, Hash: e.Hash, Attrs: e.Attrs, Seq: e.Seq,
	}, nil
}

// Totals adds up what lies below a folder, at any depth. It may take a second or two for the largest ones.
func (v *view) Totals(ctx context.Context, r EntryRequest) (Totals, error) {
	t, err := v.totals(ctx, &r)
	return t, humane(err)
}

func (v *view) totals(ctx context.Context, r *EntryRequest) (Totals, error) {
	e, err := v.entry(ctx, *r)
	if err != nil {
		return Totals{}, err
	}
	l := index.Location{Owner: e.Hit.Owner, ID: e.Hit.Location}
	out := Totals{Hit: e.Hit}
	fars, err := v.farAway(ctx, func(x index.Location) bool { return x == l })
	if err != nil {
		return out, err
	}
	if len(fars) > 0 && e.Hit.Via != nil {
		got, err := v.ask(ctx, &fars[0], &query.Request{Op: query.OpTotals, Entry: e.Hit.EntryID})
		if err != nil {
			return out, err
		}
		if got.Found {
			t := got.Totals
			out.Hit = got.hit(e.Hit.Device, e.Hit.Path, &t.Folder)
			out.Entries, out.Folders, out.Bytes = t.Entries, t.Folders, t.Bytes
			return out, nil
		}
		return out, notFound(e.Hit.Device+":"+e.Hit.Path+" is gone since a moment ago", "")
	}
	f, t, err := v.st.Totals(ctx, l, e.Hit.EntryID, "")
	if err != nil {
		return out, err
	}
	out.Hit.AsOf, out.Entries, out.Folders, out.Bytes = f.In.Head.Time(), t.Entries, t.Folders, t.Bytes
	return out, nil
}
