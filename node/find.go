package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
)

func joinPath(root, rel string) string {
	switch {
	case rel == "":
		return root
	case strings.HasSuffix(root, "/"):
		return root + rel
	}
	return root + "/" + rel
}

func cleanPath(p string) string {
	if len(p) > 1 {
		p = strings.TrimRight(p, "/")
	}
	if p == "" {
		return "/"
	}
	return p
}

func hit(device string, l index.Location, asOf time.Time, path string, e *index.Entry) Hit {
	return Hit{
		Device: device, Path: path, Kind: e.Kind, Size: e.Size, Modified: e.ModTime(), Mode: e.Mode,
		Owner: l.Owner, Location: l.ID, EntryID: e.ID, AsOf: asOf,
	}
}

// List reads one page of a folder of a device. The path "" or "/" lists the roots of its locations, unless "/" is
// itself a location's root.
func (v *view) List(ctx context.Context, r ListRequest) (Listing, error) {
	d, err := v.findDevice(r.Device)
	if err != nil {
		return Listing{}, err
	}
	if r.Limit <= 0 || r.Limit > 100_000 {
		r.Limit = 1000
	}
	out, err := v.list(ctx, &d, r)
	return out, humane(err)
}

func (v *view) list(ctx context.Context, d *Device, r ListRequest) (Listing, error) {
	path := cleanPath(r.Path)
	out := Listing{Device: d.Name, Path: path, Entries: []Hit{}}
	at, err := v.place(ctx, d, path)
	if err == nil {
		return v.listFolder(ctx, d, &at, r)
	}
	if path != "/" {
		return out, err
	}
	fars, err := v.farAway(ctx, func(l index.Location) bool { return l.Owner == d.ID })
	if err != nil {
		return out, err
	}
	err = v.eachLocation(ctx, d, func(l index.Location, held *store.Held) error {
		if slices.ContainsFunc(fars, func(f far) bool { return f.loc == l }) {
			return nil
		}
		e, err := v.st.Entry(ctx, l, index.RootID)
		if err != nil {
			return err
		}
		out.Entries = append(out.Entries, hit(d.Name, l, held.Head.Time(), held.Record.Base(), &e))
		return nil
	})
	out.Entries = append(out.Entries, v.farRoots(ctx, d, fars)...)
	slices.SortFunc(out.Entries, func(a, b Hit) int { return strings.Compare(a.Path, b.Path) })
	return out, err
}

// eachLocation calls f for what is held of a device, but not for what is damaged or gone.
func (v *view) eachLocation(ctx context.Context, d *Device, f func(index.Location, *store.Held) error) error {
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return err
	}
	for _, l := range locs {
		if l.Owner != d.ID {
			continue
		}
		held, err := v.st.Held(ctx, l)
		if err == nil {
			err = f(l, &held)
		}
		if damaged(err) || errors.Is(err, store.ErrNotFound) {
			v.warn("a location can't be listed", l, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// site is where a path of a device lies.
type site struct {
	loc  index.Location
	root string // under which the location is shown
	rel  string // path relative to that
	far  *far   // nil: a replica is here that answers
}

// place finds the location of a path.
func (v *view) place(ctx context.Context, d *Device, path string) (at site, err error) {
	var shown []string
	found := false
	consider := func(l index.Location, base string, f *far) {
		shown = append(shown, d.Name+":"+base)
		if rel, ok := below(base, path); ok && !found {
			at, found = site{l, base, rel, f}, true
		}
	}
	fars, err := v.farAway(ctx, func(l index.Location) bool { return l.Owner == d.ID })
	if err != nil {
		return at, err
	}
	for i := range fars {
		consider(fars[i].loc, fars[i].base(), &fars[i])
	}
	err = v.eachLocation(ctx, d, func(l index.Location, held *store.Held) error {
		if !slices.ContainsFunc(fars, func(f far) bool { return f.loc == l }) {
			consider(l, held.Record.Base(), nil)
		}
		return nil
	})
	if found || err != nil {
		return at, err
	}
	isFar := func(l index.Location) bool { return slices.ContainsFunc(fars, func(f far) bool { return f.loc == l }) }
	if err := cmp.Or(v.damagedOf(ctx, d, isFar), v.notKept(ctx, d, path)); err != nil { // it may be there
		return at, err
	}
	hint := d.Name + " has no locations that this device knows"
	if len(shown) > 0 {
		hint = "it has: " + strings.Join(shown, ", ")
	}
	return at, notFound(fmt.Sprintf("%s:%s is in no location", d.Name, path), hint)
}

// Entry reads one entry of a device.
func (v *view) Entry(ctx context.Context, r EntryRequest) (Entry, error) {
	e, err := v.entry(ctx, r)
	return e, humane(err)
}

func (v *view) entry(ctx context.Context, r EntryRequest) (Entry, error) {
	at, missing, err := v.siteOf(ctx, &r)
	if err != nil {
		return Entry{}, err
	}
	if at.far != nil {
		e, err := v.entryFar(ctx, &at, &r, missing)
		if !errors.Is(err, errHeld) {
			return e, err
		}
	}
	f, children, err := v.st.Get(ctx, at.loc, r.EntryID, at.rel)
	if errors.Is(err, store.ErrNotFound) {
		return Entry{}, missing
	}
	if err != nil {
		return Entry{}, err
	}
	return Entry{
		Hit:          hit(v.lib.name(at.loc.Owner), at.loc, f.In.Head.Time(), f.Path, &f.Entry),
		LocationName: f.In.Record.Name, Children: children, Hash: f.Entry.Hash, Attrs: f.Entry.Attrs, Seq: f.Entry.Seq,
	}, nil
}

// siteOf finds where an entry lies that is asked for by id or by path, and the error to return if it isn't there.
func (v *view) siteOf(ctx context.Context, r *EntryRequest) (at site, missing *Error, err error) {
	if r.EntryID < 0 {
		return at, nil, usage("entries are numbered from 1 up", "", "")
	}
	if r.EntryID == 0 {
		d, err := v.findDevice(r.Device)
		if err != nil {
			return at, nil, err
		}
		path := cleanPath(r.Path)
		at, err = v.place(ctx, &d, path)
		return at, notFound(fmt.Sprintf("%s:%s is not in the index", d.Name, path), "peerdex ls "+d.Name+":"+at.root), err
	}
	at.loc = index.Location{Owner: r.Owner, ID: r.Location}
	missing = notFound(fmt.Sprintf("there is no entry %d in that location", r.EntryID), "it may have been deleted: search for it by name")
	if _, ok := v.lib.member(at.loc.Owner); !ok {
		return at, missing, missing
	}
	fars, err := v.farAway(ctx, func(l index.Location) bool { return l == at.loc })
	if err == nil && len(fars) > 0 {
		at.far, at.root = &fars[0], fars[0].base()
	}
	return at, missing, err
}

// below returns path relative to root if it is root or below it.
func below(root, path string) (string, bool) {
	if path == root {
		return "", true
	}
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	return rel, ok
}

func (v *view) listFolder(ctx context.Context, d *Device, at *site, r ListRequest) (Listing, error) {
	l, path := at.loc, joinPath(at.root, at.rel)
	out := Listing{Device: d.Name, Path: path, Entries: []Hit{}}
	missing := notFound(fmt.Sprintf("%s:%s is not in the index", d.Name, path), "peerdex ls "+d.Name+":"+at.root)
	if at.far != nil {
		err := v.listFar(ctx, at, &r, &out, missing)
		if !errors.Is(err, errHeld) {
			return out, err
		}
	}
	got, err := v.st.List(ctx, l, at.rel, r.After, r.Limit)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return out, missing
	case errors.Is(err, index.ErrInvalid):
		return out, explain(usage("the page to go on from can't be read", "", "begin with the first page"), err)
	case err != nil:
		return out, err
	}
	out.AsOf = got.Head.Time()
	if got.Folder.Kind != index.KindDir {
		out.Entries = append(out.Entries, hit(d.Name, l, out.AsOf, path, &got.Folder))
		return out, nil
	}
	out.Entries = slices.Grow(out.Entries, len(got.Entries))
	for i := range got.Entries {
		e := &got.Entries[i]
		out.Entries = append(out.Entries, hit(d.Name, l, out.AsOf, joinPath(path, e.Name), e))
	}
	out.Next = got.Next
	return out, nil
}
