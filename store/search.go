package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

// SearchRequest says what to look for, where, and in what order.
type SearchRequest struct {
	// Query is what is looked for. What it says of devices is for the caller to heed.
	Query query.Query
	// Locations are searched, and answer in this order, each by id, unless Order says otherwise.
	Locations []index.Location
	Order     Order
	After     *Mark // go on behind this entry; nil = begin
	Limit     int   // end after so many entries; 0 = find all
	// Seen, if not nil, is told the state of each location that is searched, also if nothing is found there. What it was
	// told is complete when the search has ended.
	Seen func(*State)
}

// Mark is a place in the answer to a search. The entry itself may be gone.
type Mark struct {
	Location index.Location // one of the request's
	ID       int64
	Key      Key // of the entry, for the order asked for
}

// LocationError says which location could not be read.
type LocationError struct {
	Location index.Location
	Err      error
}

// Error names the location.
func (e *LocationError) Error() string {
	return fmt.Sprintf("search location %v: %v", e.Location, e.Err)
}

// Unwrap returns what is wrong with it.
func (e *LocationError) Unwrap() error { return e.Err }

// ErrStalled is returned by a search whose answer nobody took for a minute. It would keep what it reads from being
// replaced.
var ErrStalled = errors.New("nobody read on in the answer")

const (
	stallTime  = time.Minute
	batchHits  = 256
	batchBytes = 64 << 10
	batches    = 32 // of a part that wait to be passed on
)

// Search yields the entries that a query finds. Their order is stable: that of the locations asked for, and by id in
// each, or as Order says. The roots of locations are never found. Files are read side by side and in parts, by as many
// workers as there are processors (but at most eight), whose turns all searches share. What is found in one location is
// of one state, [Found].In.
//
// A location that is not there is skipped. One that is damaged does not keep the others from being searched; the error
// that comes last names it, as a [*LocationError]. Any other error ends the search, and is the last thing yielded.
func (s *Store) Search(ctx context.Context, r SearchRequest) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		ctx, cancel := context.WithCancelCause(ctx)
		h := &hunt{s: s, r: &r, ctx: ctx, cancel: cancel, yield: yield, left: r.Limit}
		h.workers, h.stall = cmp.Or(s.limits.searchers, min(cap(s.cpu), maxSweepers)), cmp.Or(s.limits.stall, stallTime)
		run := h.byLocation
		if r.Order.By != ByLocation {
			run = h.sorted
		}
		err := run()
		cancel(errStopped)
		h.wg.Wait()
		switch {
		case errors.Is(err, errStopped):
		case err != nil:
			yield(Found{}, err)
		case len(h.broken) > 0:
			yield(Found{}, errors.Join(h.broken...))
		}
	}
}

// errStopped says that whoever reads has enough.
var errStopped = errors.New("stopped")

// hunt is a search under way.
type hunt struct {
	s       *Store
	r       *SearchRequest
	ctx     context.Context // of this search only
	cancel  context.CancelCauseFunc
	yield   func(Found, error) bool
	workers int
	stall   time.Duration
	left    int // of the limit
	broken  []error
	wg      sync.WaitGroup
}

// give passes one entry on.
func (h *hunt) give(f Found) error {
	if !h.yield(f, nil) {
		return errStopped
	}
	if h.left--; h.left == 0 {
		return errStopped
	}
	return nil
}

// failed decides what an error in one location means for the whole: nothing if it is returned as nil.
func (h *hunt) failed(l index.Location, err error) error {
	err = &LocationError{l, err}
	switch {
	case h.ctx.Err() != nil:
		return context.Cause(h.ctx)
	case errors.Is(err, ErrCorrupt):
		h.s.damaged(l, err)
		h.broken = append(h.broken, err)
		return nil
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// turn lets as many workers of all searches go on as there are processors.
func (h *hunt) turn() error {
	select {
	case h.s.cpu <- struct{}{}:
		return nil
	case <-h.ctx.Done():
		return context.Cause(h.ctx)
	}
}

func (h *hunt) rest() { <-h.s.cpu }

// stretch is a part of a location, and what was found in it.
type stretch struct {
	span
	w   *sweep
	l   index.Location
	out chan []Found
	err error // set before out is closed
}

// byLocation passes on what is found part by part, while the next parts are read.
func (h *hunt) byLocation() error {
	parts := make(chan *stretch, h.workers+1) // in the order of the answer
	work := make(chan *stretch)
	h.wg.Go(func() {
		defer close(parts)
		defer close(work)
		h.dispatch(parts, work)
	})
	for range h.workers {
		h.wg.Go(func() {
			for p := range work {
				p.err = h.read(p)
				close(p.out)
				p.w.done()
			}
		})
	}
	for p := range parts {
		if err := h.deliver(p); err != nil {
			return err
		}
	}
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	return nil
}

// deliver passes on what is found in one part.
func (h *hunt) deliver(p *stretch) error {
	for {
		select {
		case batch, more := <-p.out:
			if !more {
				if p.err != nil {
					return h.failed(p.l, p.err)
				}
				return nil
			}
			for i := range batch {
				if err := h.give(batch[i]); err != nil {
					return err
				}
			}
		case <-h.ctx.Done():
			return context.Cause(h.ctx)
		}
	}
}

// dispatch opens the locations in their order, and cuts them in parts.
func (h *hunt) dispatch(parts, work chan<- *stretch) {
	locs, after := h.r.Locations, int64(0)
	if m := h.r.After; m != nil {
		locs, after = locs[max(0, slices.Index(locs, m.Location)):], m.ID
	}
	for _, l := range locs {
		w, found, err := h.open(l)
		if err != nil {
			p := &stretch{l: l, err: err, out: make(chan []Found)}
			close(p.out)
			if !send(h, parts, p) {
				return
			}
			continue
		}
		ok := true
		switch {
		case w == nil:
		case found != nil:
			ok = h.hand(parts, w, found, after)
		default:
			ok = h.cut(parts, work, w, after)
		}
		if w != nil {
			w.done()
		}
		if !ok {
			return
		}
		after = 0
	}
}

// open begins to read a location. It returns nil if nothing can be found there, and what was found if it was quicker to
// follow a path than to read all.
func (h *hunt) open(l index.Location) (*sweep, []Found, error) {
	w, err := h.s.openSweep(h.ctx, l, h.r.Query, h.r.Order, h.workers)
	if err != nil {
		return nil, nil, err
	}
	if h.r.Seen != nil {
		h.r.Seen(w.at)
	}
	if !h.r.Query.MatchesLocation(w.at.Record.Name) {
		w.done()
		return nil, nil, nil
	}
	var found []Found
	if h.r.Query.Anchored() {
		found, err = h.walk(w)
	}
	if err == nil && found == nil && h.r.Query.OnlyNames() && w.at.Head.Count > 2*w.rows {
		err = h.byName(w)
	}
	if err != nil {
		w.done()
		return nil, nil, err
	}
	return w, found, nil
}

func (h *hunt) walk(w *sweep) ([]Found, error) {
	if err := h.turn(); err != nil {
		return nil, err
	}
	defer h.rest()
	return w.walk(h.ctx, walkRows)
}

// cut makes the parts of one location.
func (h *hunt) cut(parts, work chan<- *stretch, w *sweep, after int64) bool {
	for sp := range w.spans(after) {
		w.users.Add(1)
		p := &stretch{span: sp, w: w, l: w.at.Location, out: make(chan []Found, batches)}
		if !send(h, parts, p) || !send(h, work, p) {
			w.done()
			return false
		}
	}
	return true
}

// hand passes on what is found already.
func (h *hunt) hand(parts chan<- *stretch, w *sweep, found []Found, after int64) bool {
	found = slices.DeleteFunc(found, func(f Found) bool { return f.Entry.ID <= after })
	p := &stretch{l: w.at.Location, out: make(chan []Found, 1)}
	p.out <- found
	close(p.out)
	return send(h, parts, p)
}

// read looks through one part.
func (h *hunt) read(p *stretch) error {
	if p.w.broken.Load() {
		return nil
	}
	c := <-p.w.free // another worker has it when there are more of them than connections
	defer func() { p.w.free <- c }()
	if err := h.turn(); err != nil {
		return err
	}
	b := batcher{h: h, out: p.out}
	defer b.end()
	n := 0
	err := p.w.find(h.ctx, c, p.span, func(f Found) error {
		if err := b.add(f); err != nil {
			return err
		}
		if n++; n == h.r.Limit {
			return errStopped
		}
		return nil
	})
	if err == nil || n == h.r.Limit && n > 0 {
		return b.flush()
	}
	p.w.broken.Store(true)
	return err
}

// batcher passes on what a worker finds. The worker has its turn, except while it waits for the answer to be read.
type batcher struct {
	h       *hunt
	out     chan<- []Found
	batch   []Found
	size    int // bytes
	waiting bool
}

func (b *batcher) add(f Found) error {
	b.batch = append(b.batch, f)
	b.size += len(f.Path) + len(f.Entry.Name) + len(f.Entry.Attrs)
	if len(b.batch) < batchHits && b.size < batchBytes {
		return nil
	}
	return b.flush()
}

func (b *batcher) flush() error {
	if len(b.batch) == 0 {
		return nil
	}
	select {
	case b.out <- b.batch:
	default:
		b.h.rest()
		b.waiting = true
		if !send(b.h, b.out, b.batch) {
			return context.Cause(b.h.ctx)
		}
		if err := b.h.turn(); err != nil {
			return err
		}
		b.waiting = false
	}
	b.batch, b.size = nil, 0
	return nil
}

// end gives the turn back.
func (b *batcher) end() {
	if !b.waiting {
		b.h.rest()
	}
}

// send sends unless the search ends, and ends it if nobody takes for long.
func send[T any](h *hunt, to chan<- T, v T) bool {
	select {
	case to <- v:
		return true
	default:
	}
	stall := time.NewTimer(h.stall)
	defer stall.Stop()
	select {
	case to <- v:
		return true
	case <-stall.C:
		h.cancel(ErrStalled)
	case <-h.ctx.Done():
	}
	return false
}
