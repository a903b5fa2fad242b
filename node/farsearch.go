package node

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	wirequery "github.com/peerdex/peerdex/protocols/query"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/store/query"
)

const (
	// maxAsked is how many locations a search asks for at a time.
	maxAsked = 16
	// farPage is how many entries it asks for first of one; later pages are as large as they can be.
	farPage = 1000
	// keepPages is how many pages of one answer are remembered, so that a long one does not push out all others.
	keepPages = 4
	// maxBusy is how often a device may say that it is busy, before it is given up.
	maxBusy = 5
)

// farHit is one entry found, here or on demand.
type farHit struct {
	store.Found
	hit Hit
}

// farStream is what is found in one location that is asked for on demand, page by page as it comes.
type farStream struct {
	f     *far
	pages chan []farHit
	err   error // why not all of it could be asked for; set before pages is closed
}

// farSearch is a search that asks for some locations on demand.
type farSearch struct {
	v     *view
	r     *store.SearchRequest
	fars  []far
	text  string
	sem   chan struct{}
	local error // of the locations that are here
	done  int   // hits passed on
}

// searchAll searches what is here, and asks for the rest at the same time.
func (v *view) searchAll(ctx context.Context, q *Query, r *store.SearchRequest, fars []far, yield func(Hit, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	s := &farSearch{v: v, r: r, fars: fars, text: r.Query.String(), sem: make(chan struct{}, maxAsked)}
	begin := 0 // of fars, where the page begins
	if r.After != nil && r.Order.By == store.ByLocation {
		begin = max(0, slices.IndexFunc(fars, func(f far) bool { return f.loc == r.After.Location }))
	}
	streams := make([]*farStream, 0, len(fars))
	for i := range fars[begin:] {
		st := &farStream{f: &fars[begin+i], pages: make(chan []farHit, 1)}
		streams = append(streams, st)
		wg.Go(func() {
			defer close(st.pages)
			st.err = s.ask(ctx, st)
		})
	}
	pass, limited := s.concatenated, false
	if r.Order.By != store.ByLocation {
		pass = s.merged
	}
	for h := range pass(ctx, streams) {
		s.done++
		out := h.hit
		if limited = s.done == q.Limit; limited {
			out.Next = encodeMark(&h.Found, r)
		}
		if !yield(out, nil) {
			return
		}
		if limited {
			break
		}
	}
	if ctx.Err() != nil {
		yield(Hit{}, context.Cause(ctx))
		return
	}
	cancel() // of what comes after this page
	wg.Wait()
	if err := s.incomplete(streams, limited); err != nil {
		yield(Hit{}, err)
	}
}

// here yields what is found in the locations that are here.
func (s *farSearch) here(ctx context.Context) iter.Seq[farHit] {
	return func(yield func(farHit) bool) {
		if len(s.r.Locations) == 0 {
			return
		}
		r := *s.r
		if m := r.After; m != nil && !slices.Contains(r.Locations, m.Location) { // the page before ended on demand, behind all this
			if r.Order.By == store.ByLocation {
				return
			}
			r.After = &store.Mark{Location: r.Locations[len(r.Locations)-1], ID: index.MaxID, Key: m.Key}
		}
		for f, err := range s.v.st.Search(ctx, r) {
			if err != nil {
				s.local = s.v.nameLocations(err)
				return
			}
			if !yield(farHit{f, s.v.searchHit(&f)}) {
				return
			}
		}
	}
}

// concatenated yields what is here, and then what is asked for, location by location.
func (s *farSearch) concatenated(ctx context.Context, streams []*farStream) iter.Seq[farHit] {
	return func(yield func(farHit) bool) {
		for h := range s.here(ctx) {
			if !yield(h) {
				return
			}
		}
		for _, st := range streams {
			for h := range st.all(ctx) {
				if !yield(h) {
					return
				}
			}
		}
	}
}

// all yields what comes. Once it is through, err says why that is not all.
func (st *farStream) all(ctx context.Context) iter.Seq[farHit] {
	return func(yield func(farHit) bool) {
		for {
			select {
			case page, more := <-st.pages:
				if !more {
					return
				}
				for _, h := range page {
					if !yield(h) {
						return
					}
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// merged yields everything in the order asked for. What is equal in it comes as concatenated would yield it.
func (s *farSearch) merged(ctx context.Context, streams []*farStream) iter.Seq[farHit] {
	return func(yield func(farHit) bool) {
		type source struct {
			next func() (farHit, bool)
			at   farHit
		}
		var sources []*source
		seqs := []iter.Seq[farHit]{s.here(ctx)}
		for _, st := range streams {
			seqs = append(seqs, st.all(ctx))
		}
		for _, seq := range seqs {
			next, stop := iter.Pull(seq)
			defer stop()
			if h, ok := next(); ok {
				sources = append(sources, &source{next, h})
			}
		}
		for len(sources) > 0 {
			// The first of those that are equal: sources are in the order of their locations.
			best := slices.MinFunc(sources, func(a, b *source) int { return s.compare(&a.at, &b.at) })
			if !yield(best.at) {
				return
			}
			var ok bool
			if best.at, ok = best.next(); !ok {
				sources = slices.DeleteFunc(sources, func(x *source) bool { return x == best })
			}
		}
	}
}

func (s *farSearch) compare(a, b *farHit) int {
	ka, kb := s.r.Order.Key(&a.Entry), s.r.Order.Key(&b.Entry)
	c := cmp.Or(cmp.Compare(ka.Number, kb.Number), strings.Compare(ka.Text, kb.Text))
	if s.r.Order.Descending {
		return -c
	}
	return c
}

// ask asks for one location page by page, and puts what is found into the stream.
func (s *farSearch) ask(ctx context.Context, st *farStream) error {
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return nil
	}
	after, limit := s.start(st.f)
	if q, err := query.Parse(s.text, time.Now()); err != nil || q.Empty() {
		return usage("the query is too long to ask other devices", "", "")
	}
	for pages := 0; ; pages++ {
		got, err := s.askPage(ctx, st.f, &wirequery.Request{
			Op: wirequery.OpSearch, Text: s.text, Order: wireOrder(s.r.Order), After: after, Limit: limit,
		}, pages < keepPages)
		if errors.Is(err, errHeld) {
			return s.held(ctx, st, after)
		}
		if err != nil {
			return err
		}
		page, err := s.page(st.f, &got)
		if err != nil {
			return err
		}
		select {
		case st.pages <- page:
		case <-ctx.Done():
			return nil
		}
		hits := got.Hits.Hits
		if !got.Hits.More || len(hits) == 0 {
			return nil
		}
		m := wireOrder(s.r.Order).Mark(&hits[len(hits)-1].Entry)
		after = &m
		if s.r.Limit == 0 {
			limit = wire.MaxRows
		}
	}
}

// askPage asks for one page, and again after a while if the device is busy.
func (s *farSearch) askPage(ctx context.Context, f *far, r *wirequery.Request, keep bool) (reply, error) {
	for tries := 0; ; tries++ {
		got, err := s.v.askFor(ctx, f, r, keep)
		if !errors.Is(err, wire.ErrBusy) || tries == maxBusy {
			return got, err
		}
		wait := time.Second
		if st, ok := errors.AsType[wire.Status](err); ok && st.RetryAfter > 0 {
			wait = min(st.RetryAfter, askTimeout)
		}
		if !sleep(ctx, wait) {
			return reply{}, context.Cause(ctx)
		}
	}
}

// start says behind which entry of a location the page begins, and how many are asked for at a time.
func (s *farSearch) start(f *far) (after *wirequery.Mark, limit int) {
	limit = farPage
	if s.r.Limit > 0 {
		limit = min(limit, s.r.Limit)
	}
	m := s.r.After
	switch {
	case m == nil:
		return nil, limit
	case m.Location == f.loc:
		return &wirequery.Mark{ID: m.ID, Number: m.Key.Number, Text: m.Key.Text}, limit
	case s.r.Order.By == store.ByLocation:
		return nil, limit
	}
	// Of what is equal to the mark, all is still to come from the locations behind that of the mark, nothing from the others.
	after = &wirequery.Mark{ID: index.MaxID, Number: m.Key.Number, Text: m.Key.Text}
	if s.rank(f.loc) > s.rank(m.Location) {
		after.ID = index.RootID // which no search finds
	}
	return after, limit
}

// rank is the place of a location in the answer.
func (s *farSearch) rank(l index.Location) int {
	if i := slices.IndexFunc(s.fars, func(f far) bool { return f.loc == l }); i >= 0 {
		return len(s.r.Locations) + i
	}
	return slices.Index(s.r.Locations, l)
}

// page makes hits of what was answered. What does not fit the query is left out, whoever sent it.
func (s *farSearch) page(f *far, got *reply) ([]farHit, error) {
	in := &store.State{Location: f.loc, Head: got.Head}
	if err := in.Record.UnmarshalBinary(got.Record); err != nil {
		return nil, err
	}
	base := in.Record.Base()
	slashed := base
	if in.Record.Platform == "windows" {
		slashed = strings.ReplaceAll(base, `\`, "/")
	}
	var out []farHit
	for i := range got.Hits.Hits {
		x := &got.Hits.Hits[i]
		if !s.r.Query.Match(&x.Entry) || !s.r.Query.MatchPath(joinPath(slashed, x.Path)) {
			continue
		}
		f := store.Found{Entry: x.Entry, Path: joinPath(base, x.Path), In: in}
		out = append(out, farHit{f, got.hit(s.v.lib.name(in.Location.Owner), f.Path, &f.Entry)})
	}
	return out, nil
}

// held searches the replica that is kept of a location, since nobody can be asked.
func (s *farSearch) held(ctx context.Context, st *farStream, after *wirequery.Mark) error {
	r := *s.r
	r.Locations, r.After = []index.Location{st.f.loc}, nil
	if after != nil {
		r.After = &store.Mark{Location: st.f.loc, ID: after.ID, Key: store.Key{Number: after.Number, Text: after.Text}}
	}
	var page []farHit
	send := func() bool {
		select {
		case st.pages <- page:
			page = nil
			return true
		case <-ctx.Done():
			return false
		}
	}
	for f, err := range s.v.st.Search(ctx, r) {
		if err != nil {
			return err
		}
		if page = append(page, farHit{f, s.v.searchHit(&f)}); len(page) == farPage && !send() {
			return nil
		}
	}
	send()
	return nil
}

// incomplete is the error that says what could not be searched, nil if all was. Once a limit is reached, only an order over
// all locations depends on those that were not.
func (s *farSearch) incomplete(streams []*farStream, limited bool) error {
	if limited && s.r.Order.By == store.ByLocation {
		return nil
	}
	var missing []string
	var causes []error
	for _, st := range streams {
		if st.err == nil || errors.Is(st.err, context.Canceled) {
			continue
		}
		why := st.err.Error()
		if e, ok := errors.AsType[*Error](st.err); ok && e.Code == api.CodeUnavailable {
			why = e.Detail
		}
		missing = append(missing, s.v.lib.name(st.f.loc.Owner)+": "+st.f.record.Name+": "+why)
		causes = append(causes, st.err)
	}
	if len(missing) == 0 {
		return humane(s.local)
	}
	e := &Error{Code: api.CodeIncomplete, Title: "not everything could be searched", Detail: strings.Join(missing, "; "), Hint: "peerdex devices"}
	if s.local != nil {
		e.Detail = humane(s.local).Error() + "; " + e.Detail
		causes = append(causes, s.local)
	}
	return explain(e, errors.Join(causes...))
}
