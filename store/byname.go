package store

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/peerdex/peerdex/index"
)

// byNameSQL returns the statement that looks for names in the folders of some ids. It reads the index over names, which
// is half as long as the rows.
func byNameSQL(where string) string {
	return "SELECT id FROM entries INDEXED BY entries_parent_name WHERE parent BETWEEN ? AND ? AND " + where
}

// byName finds the ids whose names the query's filter lets through, unless they are many: then it would have been
// quicker to read the rows at once.
func (h *hunt) byName(w *sweep) error {
	limit := maxNamed
	if h.r.Limit > 0 { // where a few are enough and many are there, the first rows have them
		limit = min(limit, 64+16*h.r.Limit)
	}
	n := &named{limit: limit}
	var at atomic.Int64
	at.Store(index.RootID)
	var workers sync.WaitGroup
	for range len(w.all) {
		workers.Go(func() {
			for {
				lo := at.Add(w.ids) - w.ids
				if lo >= w.at.Head.NextID || !h.names(w, n, lo) {
					return
				}
			}
		})
	}
	workers.Wait()
	switch {
	case h.ctx.Err() != nil:
		return context.Cause(h.ctx)
	case n.err != nil || len(n.ids) > limit:
		return n.err
	}
	w.named = slices.Grow(n.ids, 1)
	slices.Sort(w.named)
	return nil
}

// named collects ids. Safe for concurrent use.
type named struct {
	limit int

	mu  sync.Mutex
	ids []int64
	err error
}

// add reports whether more are welcome.
func (n *named) add(ids []int64, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids = append(n.ids, ids...)
	if n.err == nil {
		n.err = err
	}
	return n.err == nil && len(n.ids) <= n.limit
}

// names looks through the folders of one part, and reports whether to go on.
func (h *hunt) names(w *sweep, n *named, lo int64) bool {
	c := <-w.free
	defer func() { w.free <- c }()
	if h.turn() != nil {
		return false
	}
	defer h.rest()
	var ids []int64
	for row, err := range c.query(h.ctx, w.namesSQL, w.values(lo, lo+w.ids-1)...) {
		if err != nil {
			return n.add(ids, err)
		}
		id, _ := row[0].(int64)
		if ids = append(ids, id); len(ids) > n.limit {
			break
		}
	}
	return n.add(ids, nil)
}
