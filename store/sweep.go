package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

const (
	// agreeTries is how often the connections of a sweep are begun anew until they see one state.
	agreeTries = 8
	// minParts is how many parts a location has for each worker, with minRows to maxRows rows in each: to begin one costs
	// as much as to look at a thousand rows.
	minParts = 8
	minRows  = 8192
	maxRows  = 65536
	// maxNamed is how many ids a search notes while it looks at names alone; if there are more, the rows are read instead.
	// They make parts of namedRows.
	maxNamed  = 4096
	namedRows = 256
	// walkRows is how many rows a search looks at before it gives up to follow the folders that a path names, and
	// answerBytes how long the paths may be, in all, that it holds at once.
	walkRows    = 20_000
	answerBytes = 8 << 20
)

// State is what a location held when it was read.
type State struct {
	Location index.Location
	Head     index.SignedHead
	Record   index.Record
}

// Found is an entry, with the path under which its device shows it.
type Found struct {
	Entry index.Entry
	Path  string // absolute, "/" between names
	In    *State // shared by all that one search found in a location
}

// sweep is one location under search. All its connections see one state. It is closed when the last user is done.
type sweep struct {
	at      *State
	base    string // path of the root
	slashed string // base with slashes only, for conditions on paths
	query   query.Query

	sql, namesSQL string  // of a part, and of names in a part
	args          []any   // their values, after the first
	rows, ids     int64   // of each part; so many ids have so many rows, on average
	named         []int64 // the ids whose names the query's filter lets through; nil = not known

	h       *location
	release func()
	all     []*sweeper
	free    chan *sweeper
	users   atomic.Int64
	broken  atomic.Bool // an error was met; what is left need not be read
	failure error       // the first one of a sorted search, not told yet
}

// openSweep begins to read a location with up to n connections. The first is waited for, others are taken if they are
// free.
func (s *Store) openSweep(ctx context.Context, l index.Location, q query.Query, order Order, n int) (*sweep, error) {
	h, release, err := s.use(ctx, l)
	if err != nil {
		return nil, err
	}
	w := &sweep{at: &State{Location: l}, query: q, h: h, release: release, free: make(chan *sweeper, n)}
	w.users.Store(1)
	if err := w.begin(ctx, n); err != nil {
		w.done()
		return nil, err
	}
	head := &w.at.Head
	w.base = w.at.Record.Base()
	w.rows = cmp.Or(s.limits.searchRows, min(max(head.Count/int64(minParts*n), minRows), maxRows))
	if order.By != ByLocation { // each part learns from those before what it need not look for
		w.rows = min(w.rows, minRows)
	}
	w.ids = w.rows * max(1, head.NextID/max(1, head.Count))
	if w.slashed = w.base; w.at.Record.Platform == "windows" {
		w.slashed = strings.ReplaceAll(w.base, `\`, "/")
	}
	for _, c := range w.all {
		if c.base = w.base; c.head != *head {
			clear(c.paths)
			c.head, c.size = *head, 0
		}
		w.free <- c
	}
	where, args := q.SQL()
	w.sql, w.namesSQL, w.args = searchSQL(where, order), byNameSQL(where), args
	return w, nil
}

// begin takes connections and begins a read transaction on each, such that all see the same head.
func (w *sweep) begin(ctx context.Context, n int) error {
	for i := range n {
		c, err := w.h.sweepers.take(ctx, w.h.path, i == 0)
		if c == nil && (err == nil || i > 0) {
			break
		}
		if err != nil {
			return err
		}
		w.all = append(w.all, c)
	}
	for try := 0; ; try++ {
		same, err := w.agree()
		if err != nil {
			return err
		}
		if same == len(w.all) {
			return nil
		}
		if try == agreeTries { // its owner commits without a pause
			others := w.all[same:]
			w.all = w.all[:same]
			w.drop(others)
			return nil
		}
		for _, c := range w.all {
			if err := c.rollback(); err != nil {
				return err
			}
		}
	}
}

// agree begins a transaction on all connections, and moves those that see what the first one sees to the front. It
// returns how many these are.
func (w *sweep) agree() (int, error) {
	same := 0
	for i, c := range w.all {
		if err := c.run("BEGIN"); err != nil {
			return 0, fmt.Errorf("begin: %w", err)
		}
		m, err := readMeta(c.conn)
		if err != nil {
			return 0, err
		}
		if i == 0 {
			w.at.Head, w.at.Record = m.head, index.Record{}
			if err := w.at.Record.UnmarshalBinary(m.record); err != nil {
				return 0, fmt.Errorf("record: %w (%w)", ErrCorrupt, err)
			}
		}
		if m.head == w.at.Head {
			w.all[same], w.all[i] = w.all[i], w.all[same]
			same++
		}
	}
	return same, nil
}

// drop gives connections back.
func (w *sweep) drop(cs []*sweeper) {
	for _, c := range cs {
		w.h.sweepers.put(c, errors.Join(c.forget(w.sql), c.forget(w.namesSQL), c.rollback()) == nil)
	}
}

// done lets go of the sweep. The last one to do so closes it.
func (w *sweep) done() {
	if w.users.Add(-1) == 0 {
		w.drop(w.all)
		w.release()
	}
}

// span is a part of a location: the ids from lo to hi, or those listed, in order.
type span struct {
	lo, hi int64
	ids    []int64
}

// spans cuts the location in parts, without the root, above an id.
func (w *sweep) spans(after int64) iter.Seq[span] {
	return func(yield func(span) bool) {
		if w.named != nil {
			at, _ := slices.BinarySearch(w.named, after+1)
			for ids := range slices.Chunk(w.named[at:], namedRows) {
				if !yield(span{ids: ids}) {
					return
				}
			}
			return
		}
		for lo := max(after, index.RootID) + 1; lo < w.at.Head.NextID; lo += w.ids {
			if !yield(span{lo: lo, hi: min(lo+w.ids, w.at.Head.NextID) - 1}) {
				return
			}
		}
	}
}

func joinPath(folder, name string) string {
	if strings.HasSuffix(folder, "/") {
		return folder + name
	}
	return folder + "/" + name
}

// matchPath reports whether what the query says of paths holds.
func (w *sweep) matchPath(path string) bool {
	return !w.query.UsesPath() || w.query.MatchPath(w.slash(path))
}

func (w *sweep) slash(path string) string {
	if w.slashed == w.base {
		return path
	}
	return w.slashed + path[len(w.base):]
}

// walk finds everything by following the folders that the query's paths can lead to, or returns nil if that takes more
// than limit rows.
func (w *sweep) walk(ctx context.Context, limit int) ([]Found, error) {
	c := <-w.free
	defer func() { w.free <- c }()
	type folder struct {
		id   int64
		path string
	}
	found, size := []Found{}, 0
	for open := []folder{{index.RootID, w.base}}; len(open) > 0; {
		at := open[len(open)-1]
		open = open[:len(open)-1]
		if !w.query.Reaches(w.slash(at.path)) {
			continue
		}
		for row, err := range c.query(ctx, "SELECT "+entryColumns+" FROM entries WHERE parent = ?", at.id) {
			if err != nil {
				return nil, err
			}
			if limit--; limit < 0 {
				return nil, nil
			}
			var e index.Entry
			if err := scanEntry(row, &e); err != nil {
				return nil, err
			}
			path := joinPath(at.path, e.Name)
			if size += len(path); size > answerBytes {
				return nil, nil
			}
			if e.Kind == index.KindDir {
				open = append(open, folder{e.ID, path})
			}
			if w.query.Match(&e) && w.matchPath(path) {
				found = append(found, Found{e, path, w.at})
			}
		}
	}
	slices.SortFunc(found, func(a, b Found) int { return cmp.Compare(a.Entry.ID, b.Entry.ID) })
	return found, nil
}
