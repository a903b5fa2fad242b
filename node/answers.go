package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/query"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
	language "github.com/peerdex/peerdex/store/query"
)

// answers answers what other devices ask about the locations that this one holds.
type answers struct{ n *Node }

var _ query.Source = answers{}

// List reads one page of a folder.
func (a answers) List(ctx context.Context, r *query.Request) (query.State, *query.Listing, error) {
	defer a.n.activity.Begin()()
	after := ""
	if r.After != nil {
		after = fmt.Sprintf("%s/%d", r.After.Text, r.After.ID)
	}
	limit := r.Limit
	if limit == 0 {
		limit = query.DefaultLimit
	}
	got, err := a.n.st.ListFolder(ctx, r.Location, r.Entry, r.Path, after, limit)
	st, found, err := a.state(ctx, got.Head, &got.Record, err)
	if !found {
		return st, nil, err
	}
	return st, &query.Listing{Folder: got.Folder, Entries: got.Entries, More: got.Next != ""}, nil
}

// Entry reads one entry.
func (a answers) Entry(ctx context.Context, r *query.Request) (query.State, *query.Found, error) {
	defer a.n.activity.Begin()()
	f, children, err := a.n.st.Get(ctx, r.Location, r.Entry, r.Path)
	st, found, err := a.stateOf(ctx, f.In, err)
	if !found {
		return st, nil, err
	}
	return st, &query.Found{Entry: f.Entry, Children: children, Path: relative(&f)}, nil
}

// Totals adds up what lies below a folder.
func (a answers) Totals(ctx context.Context, r *query.Request) (query.State, *query.Totals, error) {
	defer a.n.activity.Begin()()
	f, t, err := a.n.st.Totals(ctx, r.Location, r.Entry, r.Path)
	st, found, err := a.stateOf(ctx, f.In, err)
	if !found {
		return st, nil, err
	}
	return st, &query.Totals{Folder: f.Entry, Entries: t.Entries, Folders: t.Folders, Bytes: t.Bytes}, nil
}

// Search finds entries.
func (a answers) Search(ctx context.Context, r *query.Request) (query.State, *query.Hits, error) {
	defer a.n.activity.Begin()()
	q, err := language.Parse(r.Text, time.Now())
	if err != nil {
		return query.State{}, nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	limit := r.Limit
	if limit == 0 {
		limit = query.DefaultLimit
	}
	var in *store.State
	req := store.SearchRequest{
		Query: q, Locations: []index.Location{r.Location}, Order: storeOrder(r.Order), Limit: limit + 1,
		Seen: func(s *store.State) { in = s },
	}
	if m := r.After; m != nil {
		req.After = &store.Mark{Location: r.Location, ID: m.ID, Key: store.Key{Number: m.Number, Text: m.Text}}
	}
	hits := &query.Hits{}
	for f, err := range a.n.st.Search(ctx, req) {
		if err != nil {
			st, _, err := a.stateOf(ctx, in, err)
			return st, nil, err
		}
		hits.Hits = append(hits.Hits, query.Hit{Entry: f.Entry, Path: relative(&f)})
	}
	if len(hits.Hits) > limit {
		hits.Hits, hits.More = hits.Hits[:limit], true
	}
	if in == nil {
		return query.State{}, nil, wire.ErrNoReplica
	}
	st, _, err := a.stateOf(ctx, in, nil)
	return st, hits, err
}

// relative is the path of an entry below the root of its location.
func relative(f *store.Found) string {
	return strings.TrimPrefix(strings.TrimPrefix(f.Path, f.In.Record.Base()), "/")
}

func (a answers) stateOf(ctx context.Context, in *store.State, err error) (query.State, bool, error) {
	if in == nil {
		in = &store.State{}
	}
	return a.state(ctx, in.Head, &in.Record, err)
}

// state is what an answer says of the state that it was read at. found is false if there is no such entry, or with an
// error.
func (a answers) state(ctx context.Context, head index.SignedHead, rec *index.Record, err error) (st query.State, found bool, _ error) {
	absent := errors.Is(err, store.ErrNotFound)
	switch {
	case absent && head.Seq == 0, damaged(err), head.Seq != 0 && head.Library != a.n.lib.id():
		return st, false, wire.ErrNoReplica
	case err != nil && !absent:
		return st, false, err
	}
	st.Head = head
	if st.Record, err = rec.MarshalBinary(); err != nil {
		return st, false, err
	}
	if head.Location.Owner == a.n.st.Self() {
		if a.n.isTwin(ctx, head.Location) {
			return st, false, wire.ErrNoReplica
		}
		if err := a.n.st.Publish(ctx, &head.Head); err != nil {
			return st, false, err
		}
	}
	return st, !absent, nil
}

func storeOrder(o query.Order) store.Order {
	return store.Order{By: [...]store.OrderBy{store.ByLocation, store.ByName, store.BySize, store.ByTime}[o.By], Descending: o.Descending}
}

func wireOrder(o store.Order) query.Order {
	return query.Order{By: [...]query.By{query.ByID, query.ByName, query.BySize, query.ByTime}[o.By], Descending: o.Descending}
}
