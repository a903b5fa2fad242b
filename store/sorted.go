package store

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Order is the order of an answer. The zero value is by location, then by id.
type Order struct {
	By         OrderBy
	Descending bool // of what is equal, the order of locations and ids stays
}

// OrderBy says what entries are ordered by.
type OrderBy uint8

// The orders. Entries that are equal in it come by location, then by id.
const (
	ByLocation OrderBy = iota
	ByName             // of the entry, byte by byte
	BySize             // in bytes
	ByTime             // of the last change
)

// Key is what an order compares.
type Key struct {
	Number int64
	Text   string
}

// Key returns what the order compares of an entry.
func (o Order) Key(e *index.Entry) Key {
	switch o.By {
	case ByName:
		return Key{Text: e.Name}
	case BySize:
		return Key{Number: e.Size}
	case ByTime:
		return Key{Number: e.MTime}
	}
	return Key{}
}

func (o Order) column() string { return [...]string{"", "name", "size", "mtime"}[o.By] }

// between returns the values of the condition on the column: from a to b, both included, where nil is no end. SQLite
// takes every blob as larger than every text.
func (o Order) between(a, b *Key) []any {
	if o.By == ByLocation {
		return nil
	}
	if o.Descending {
		a, b = b, a
	}
	lo, hi := any(int64(math.MinInt64)), any(int64(math.MaxInt64))
	if o.By == ByName {
		lo, hi = "", []byte{}
	}
	value := func(k *Key, none any) any {
		switch {
		case k == nil:
			return none
		case o.By == ByName:
			return k.Text
		}
		return k.Number
	}
	return []any{value(a, lo), value(b, hi)}
}

// ranked is an entry with its place in the order.
type ranked struct {
	Key
	rank  int // of its location
	entry index.Entry
	w     *sweep
}

func (o Order) compare(a, b *ranked) int {
	c := cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Text, b.Text))
	if o.Descending {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.rank, b.rank), cmp.Compare(a.entry.ID, b.entry.ID))
}

// sortPage is how many entries a sorted search passes on at a time; it holds twice as many at most. For more it reads the
// same states again.
const sortPage = 10_000

// first collects the first entries of an order that come after one. Safe for concurrent use.
type first struct {
	order Order
	after *ranked // nil = from the beginning
	max   int

	mu   sync.Mutex
	kept []ranked
	last *Key // nothing beyond it is needed; nil = not known yet
}

func (t *first) add(r *ranked) {
	if t.after != nil && t.order.compare(r, t.after) <= 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept = append(t.kept, *r); len(t.kept) >= 2*t.max {
		t.cut()
		last := t.kept[t.max-1].Key
		t.last = &last
	}
}

// cut puts the entries in order, and keeps as many as are asked for.
func (t *first) cut() {
	slices.SortFunc(t.kept, func(a, b ranked) int { return t.order.compare(&a, &b) })
	if len(t.kept) > t.max {
		clear(t.kept[t.max:])
		t.kept = t.kept[:t.max]
	}
}

// between is the range of keys that can still be added.
func (t *first) between() []any {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.after == nil {
		return t.order.between(nil, t.last)
	}
	return t.order.between(&t.after.Key, t.last)
}

// rankedSweep is a location of a sorted search.
type rankedSweep struct {
	*sweep
	rank  int
	found []Found // by following a path; nil if all is to be read
}

// sorted passes on what is found in order, a page at a time. All pages are of the same states.
func (h *hunt) sorted() error {
	sweeps, err := h.openAll()
	release := sync.OnceFunc(func() {
		for _, w := range sweeps {
			w.done()
		}
	})
	defer release()
	if err != nil {
		return err
	}
	top := first{order: h.r.Order, max: cmp.Or(h.s.limits.sortPage, sortPage)}
	if m := h.r.After; m != nil {
		top.after = &ranked{Key: m.Key, rank: slices.Index(h.r.Locations, m.Location), entry: index.Entry{ID: m.ID}}
	}
	for {
		if h.left > 0 {
			top.max = min(top.max, h.left)
		}
		if err := h.fill(&top, sweeps); err != nil {
			return err
		}
		top.cut()
		found, n, err := h.withPaths(top.kept)
		if err != nil {
			return err
		}
		if n == len(top.kept) && (n < top.max || n == h.left) {
			release()
			return h.giveAll(found, nil)
		}
		if err := h.giveAll(found, release); err != nil {
			return err
		}
		last := top.kept[n-1]
		top.after, top.kept, top.last = &last, nil, nil
	}
}

// openAll opens all locations. It does so in an order that all searches share: they hold some while they wait for others.
func (h *hunt) openAll() (sweeps []rankedSweep, err error) {
	locs := slices.SortedFunc(slices.Values(h.r.Locations), func(a, b index.Location) int {
		return cmp.Or(bytes.Compare(a.Owner[:], b.Owner[:]), bytes.Compare(a.ID[:], b.ID[:]))
	})
	for _, l := range slices.Compact(locs) {
		w, found, err := h.open(l)
		if err != nil {
			err = h.failed(l, err)
		}
		if err != nil {
			return sweeps, err
		}
		if w != nil {
			sweeps = append(sweeps, rankedSweep{w, slices.Index(h.r.Locations, l), found})
		}
	}
	return sweeps, nil
}

// fill looks through all locations, part by part on all workers.
func (h *hunt) fill(top *first, sweeps []rankedSweep) error {
	work := make(chan func())
	var workers sync.WaitGroup
	for range h.workers {
		workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	for _, w := range sweeps {
		for _, f := range w.found {
			top.add(&ranked{top.order.Key(&f.Entry), w.rank, f.Entry, w.sweep})
		}
		if w.found != nil {
			continue
		}
		for sp := range w.spans(0) {
			work <- func() { h.rank(top, &w, sp) }
		}
	}
	close(work)
	workers.Wait()
	if h.ctx.Err() != nil {
		return context.Cause(h.ctx)
	}
	for _, w := range sweeps {
		if err := w.failure; err != nil {
			w.failure = nil
			if err := h.failed(w.at.Location, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// rank looks through one part.
func (h *hunt) rank(top *first, w *rankedSweep, sp span) {
	if w.broken.Load() {
		return
	}
	c := <-w.free
	defer func() { w.free <- c }()
	if h.turn() != nil {
		return
	}
	defer h.rest()
	err := w.scan(h.ctx, c, sp, top.between(), func(e *index.Entry) error {
		if w.query.UsesPath() {
			folder, err := c.folder(e.Parent)
			if err != nil {
				return err
			}
			if !w.matchPath(joinPath(folder, e.Name)) {
				return nil
			}
		}
		top.add(&ranked{top.order.Key(e), w.rank, *e, w.sweep})
		return nil
	})
	if err != nil && !w.broken.Swap(true) {
		w.failure = err
	}
}

// withPaths finds the paths of the first n entries: of all, unless they are very long.
func (h *hunt) withPaths(rs []ranked) (found []Found, n int, err error) {
	found = make([]Found, 0, len(rs))
	for size := 0; n < len(rs) && size < answerBytes; n++ {
		r := &rs[n]
		c := <-r.w.free
		folder, err := c.folder(r.entry.Parent)
		r.w.free <- c
		if err == nil {
			path := joinPath(folder, r.entry.Name)
			size += len(path)
			found = append(found, Found{Entry: r.entry, Path: path, In: r.w.at})
			continue
		}
		if !r.w.broken.Swap(true) {
			if err := h.failed(r.w.at.Location, err); err != nil {
				return nil, n, err
			}
		}
	}
	return found, n, nil
}

// giveAll passes entries on. If nobody takes one for long, stalled is called and the search ends; nil = let it wait.
func (h *hunt) giveAll(found []Found, stalled func()) error {
	var timer *time.Timer
	for i := range found {
		switch {
		case stalled == nil:
		case timer == nil:
			timer = time.AfterFunc(h.stall, stalled)
		default:
			timer.Reset(h.stall)
		}
		err := h.give(found[i])
		if timer != nil && !timer.Stop() {
			return ErrStalled
		}
		if err != nil {
			return err
		}
	}
	return nil
}
