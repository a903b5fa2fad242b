package node

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
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

// Search yields what a query finds on all devices: location by location, own ones first, then by device, those last that
// are asked for on demand; or as [Query].Sort says. Locations are searched side by side. A location whose file is damaged
// is told of last, and so is one that nobody could be asked about, with an [Error] of kind incomplete.
func (v *view) Search(ctx context.Context, q Query) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		r, fars, err := v.searchRequest(ctx, &q)
		if err != nil {
			yield(Hit{}, humane(err))
			return
		}
		if len(fars) > 0 {
			v.searchAll(ctx, &q, &r, fars, yield)
			return
		}
		n := 0
		for f, err := range v.st.Search(ctx, r) {
			if err != nil {
				yield(Hit{}, humane(v.nameLocations(err)))
				return
			}
			h := v.searchHit(&f)
			if n++; n == q.Limit {
				h.Next = encodeMark(&f, &r)
			}
			if !yield(h, nil) {
				return
			}
		}
	}
}

func (v *view) searchHit(f *store.Found) Hit {
	return hit(v.lib.name(f.In.Location.Owner), f.In.Location, f.In.Head.Time(), f.Path, &f.Entry)
}

// searchRequest is a query as the store takes it, and the locations that it can't search.
func (v *view) searchRequest(ctx context.Context, q *Query) (r store.SearchRequest, fars []far, err error) {
	if q.Limit < 0 {
		return r, nil, usage("the limit is negative", "", "leave it out, or give a number of hits")
	}
	if r.Order, err = parseSort(q.Sort); err != nil {
		return r, nil, err
	}
	r.Limit = q.Limit
	r.Query, err = query.Fields{
		Text: q.Text, Ext: q.Ext, Kind: q.Kind, Location: q.Location, Modified: q.Modified, Name: q.Name, On: q.On, Path: q.Path,
		Size: q.Size, Type: q.Type,
	}.Parse(time.Now())
	if err != nil {
		return r, nil, err
	}
	for _, name := range r.Query.Devices() {
		if _, err := v.findDevice(name); err != nil {
			return r, nil, err
		}
	}
	wanted := func(l index.Location) bool {
		m, ok := v.lib.member(l.Owner)
		return ok && r.Query.MatchesDevice(m.Name, l.Owner.Short(), l.Owner.String())
	}
	if fars, err = v.farAway(ctx, wanted); err != nil {
		return r, nil, err
	}
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return r, nil, err
	}
	isFar := func(l index.Location) bool { return slices.ContainsFunc(fars, func(f far) bool { return f.loc == l }) }
	r.Locations = slices.DeleteFunc(locs, func(l index.Location) bool { return !wanted(l) || isFar(l) })
	if q.After != "" {
		if r.After, err = decodeMark(q.After, r.Order); err != nil {
			return r, nil, err
		}
		if !slices.Contains(r.Locations, r.After.Location) && !isFar(r.After.Location) { // gone meanwhile; it still has a place
			r.Locations = append(r.Locations, r.After.Location)
		}
	}
	if err = v.once(ctx, &r); err != nil {
		return r, nil, err
	}
	slices.SortFunc(r.Locations, v.byDevice)
	fars = slices.DeleteFunc(fars, func(f far) bool { return !r.Query.MatchesLocation(f.record.Name) })
	slices.SortFunc(fars, func(a, b far) int { return v.byDevice(a.loc, b.loc) })
	return r, fars, nil
}

// byDevice orders locations: own ones first, then by the name of their device, then by what never changes.
func (v *view) byDevice(a, b index.Location) int {
	own := func(l index.Location) int {
		if l.Owner == v.st.Self() {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(own(a), own(b)), strings.Compare(v.lib.name(a.Owner), v.lib.name(b.Owner)),
		strings.Compare(a.String(), b.String()))
}

// nameLocations says whose locations could not be searched.
func (v *view) nameLocations(err error) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var named []error
		for _, one := range many.Unwrap() {
			named = append(named, v.nameLocations(one))
		}
		return errors.Join(named...)
	}
	if l, ok := errors.AsType[*store.LocationError](err); ok {
		return fmt.Errorf("location of %s: %w", v.lib.name(l.Location.Owner), l.Err)
	}
	return err
}

func parseSort(s string) (store.Order, error) {
	by, descending := strings.CutSuffix(s, "-")
	o := store.Order{Descending: descending}
	switch by {
	case "name":
		o.By = store.ByName
	case "size":
		o.By = store.BySize
	case "modified":
		o.By = store.ByTime
	default:
		if s != "" {
			return o, usage(fmt.Sprintf("can't sort by %q", s), "", "sort by name, size or modified; size- begins with the largest")
		}
	}
	return o, nil
}

// mark is what a cursor of a search holds.
type mark struct {
	By         store.OrderBy  `json:"b,omitempty"`
	Descending bool           `json:"d,omitempty"`
	Location   index.Location `json:"l"`
	ID         int64          `json:"i"`
	Number     int64          `json:"n,omitempty"`
	Text       []byte         `json:"t,omitempty"`
}

func encodeMark(f *store.Found, r *store.SearchRequest) string {
	k := r.Order.Key(&f.Entry)
	b, err := json.Marshal(mark{r.Order.By, r.Order.Descending, f.In.Location, f.Entry.ID, k.Number, []byte(k.Text)})
	if err != nil {
		return "" // of such fields there is none that JSON can't say
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeMark(s string, o store.Order) (*store.Mark, error) {
	var m mark
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return nil, explain(usage("the page to go on from can't be read", "", "begin with the first page"), err)
	}
	if o.By != m.By || o.Descending != m.Descending {
		return nil, usage("the page to go on from was sorted otherwise", "", "sort as before, or begin with the first page")
	}
	return &store.Mark{Location: m.Location, ID: m.ID, Key: store.Key{Number: m.Number, Text: string(m.Text)}}, nil
}
