package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/store/query"
)

// displayRoot is the path under which a location's entries are shown: its root, or its name for one without a folder.
func displayRoot(rec *index.Record) string {
	if rec.Root == "" {
		return "/" + rec.Name
	}
	return rec.Root
}

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

// Search yields what a query finds on all devices, location by location: own ones first, then by device.
func (v *view) Search(ctx context.Context, q Query) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		if err := v.search(ctx, q, yield); err != nil {
			yield(Hit{}, humane(err))
		}
	}
}

// errStop says that whoever reads has enough.
var errStop = errors.New("stop")

func (v *view) search(ctx context.Context, q Query, yield func(Hit, error) bool) error {
	if q.Limit < 0 {
		return usage("the limit is negative", "", "leave it out, or give a number of hits")
	}
	parsed, err := query.Fields{Text: q.Text, Ext: q.Ext, Size: q.Size, Modified: q.Modified, Type: q.Type, On: q.On}.Parse(time.Now())
	if err != nil {
		return err
	}
	for _, name := range parsed.Devices() {
		if _, err := v.findDevice(name); err != nil {
			return err
		}
	}
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(locs, v.byDevice)
	left := q.Limit
	var broken error // told at the end: the other locations are searched all the same
	for _, l := range locs {
		m, ok := v.lib.member(l.Owner)
		if !ok || !parsed.MatchesDevice(m.Name, l.Owner.Short(), l.Owner.String()) {
			continue
		}
		err := v.searchLocation(ctx, l, m.Name, parsed, func(h Hit) bool {
			if !yield(h, nil) {
				return false
			}
			left--
			return left != 0
		})
		switch {
		case errors.Is(err, errStop):
			return nil
		case damaged(err):
			broken = errors.Join(broken, fmt.Errorf("location of %s: %w", m.Name, err))
		case err != nil && !errors.Is(err, store.ErrNotFound): // gone meanwhile
			return err
		}
	}
	return broken
}

// byDevice orders locations: own ones first, then by the name of their device.
func (v *view) byDevice(a, b index.Location) int {
	self := v.st.Self()
	if (a.Owner == self) != (b.Owner == self) {
		if a.Owner == self {
			return -1
		}
		return 1
	}
	return strings.Compare(v.lib.name(a.Owner), v.lib.name(b.Owner))
}

func (v *view) searchLocation(ctx context.Context, l index.Location, device string, q query.Query, yield func(Hit) bool) error {
	held, err := v.st.Held(ctx, l)
	if err != nil {
		return err
	}
	root := displayRoot(&held.Record)
	for f, err := range v.st.Search(ctx, l, q) {
		if err != nil {
			return err
		}
		if !yield(hit(device, l, held.Head.Time(), joinPath(root, f.Path), &f.Entry)) {
			return errStop
		}
	}
	return nil
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
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return out, err
	}
	var roots []Hit
	var shown []string
	var broken error
	for _, l := range locs {
		if l.Owner != d.ID {
			continue
		}
		held, err := v.st.Held(ctx, l)
		if damaged(err) || errors.Is(err, store.ErrNotFound) {
			v.warn("a location can't be listed", l, err)
			if damaged(err) {
				broken = errors.Join(broken, err)
			}
			continue
		}
		if err != nil {
			return out, err
		}
		root := displayRoot(&held.Record)
		shown = append(shown, d.Name+":"+root)
		if rel, ok := below(root, path); ok {
			return v.listFolder(ctx, d, l, root, rel, r)
		}
		e, err := v.st.Entry(ctx, l, index.RootID)
		if err != nil {
			return out, err
		}
		roots = append(roots, hit(d.Name, l, held.Head.Time(), root, &e))
	}
	if path == "/" {
		slices.SortFunc(roots, func(a, b Hit) int { return strings.Compare(a.Path, b.Path) })
		out.Entries = append(out.Entries, roots...)
		return out, nil
	}
	if broken != nil { // it may be there
		return out, broken
	}
	hint := d.Name + " has no locations that this device knows"
	if len(shown) > 0 {
		hint = "it has: " + strings.Join(shown, ", ")
	}
	return out, notFound(fmt.Sprintf("%s:%s is in no location", d.Name, path), hint)
}

// below returns path relative to root if it is root or below it.
func below(root, path string) (string, bool) {
	if path == root {
		return "", true
	}
	rel, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
	return rel, ok
}

func (v *view) listFolder(ctx context.Context, d *Device, l index.Location, root, rel string, r ListRequest) (Listing, error) {
	path := joinPath(root, rel)
	out := Listing{Device: d.Name, Path: path, Entries: []Hit{}}
	got, err := v.st.List(ctx, l, rel, r.After, r.Limit)
	if errors.Is(err, store.ErrNotFound) {
		return out, notFound(fmt.Sprintf("%s:%s is not in the index", d.Name, path), "peerdex ls "+d.Name+":"+root)
	}
	if err != nil {
		return out, err
	}
	out.AsOf = got.Head.Time()
	if got.Folder.Kind != index.KindDir {
		out.Entries = append(out.Entries, hit(d.Name, l, out.AsOf, path, &got.Folder))
		return out, nil
	}
	for i := range got.Entries {
		e := &got.Entries[i]
		out.Entries = append(out.Entries, hit(d.Name, l, out.AsOf, joinPath(path, e.Name), e))
	}
	if got.More {
		out.Next = got.Entries[len(got.Entries)-1].Name
	}
	return out, nil
}
