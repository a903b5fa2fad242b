package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

const (
	// maxSweepers bounds the connections of one location's file that searches use, beside those of other readers.
	maxSweepers = 8
	// sweepCache is their page cache in KiB. A search reads a file once, so that more does not help.
	sweepCache = "1024"
	// agreeTries is how often the connections of a sweep are begun anew until they see one state.
	agreeTries = 8
	// pathCache bounds what a sweeper remembers of the paths of folders, in bytes.
	pathCache = 1 << 20
	// searchIDs is how many rows one part of a search has, about.
	searchIDs = 8192
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

// pool keeps the connections of one file that searches use.
type pool struct {
	slots chan struct{} // one token a connection in use
	mu    sync.Mutex
	idle  []*conn
}

func newPool() *pool { return &pool{slots: make(chan struct{}, maxSweepers)} }

// take returns a connection, and waits for one if it is to. Without waiting it may return nil.
func (p *pool) take(ctx context.Context, path string, wait bool) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		if !wait {
			return nil, nil
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	var c *conn
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := openSweeper(path)
	if err != nil {
		<-p.slots
	}
	return c, err
}

func openSweeper(path string) (*conn, error) {
	if !exists(path) {
		return nil, ErrNotFound
	}
	c, err := openConn(path, accessRead)
	if err != nil {
		return nil, err
	}
	err = c.expect(locationAppID, locationVersion)
	if err == nil {
		err = c.script("PRAGMA cache_size=-" + sweepCache)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), c.close())
	}
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	<-p.slots
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}

// sweeper is a connection of a sweep.
type sweeper struct {
	*conn
	base  string           // path of the root
	paths map[int64]string // of folders met, by id
	size  int              // of paths, in bytes
}

// sweep is one location under search. All its connections see one state. It is closed when the last user is done.
type sweep struct {
	at      *State
	base    string // path of the root
	slashed string // base with slashes only, for conditions on paths
	query   query.Query
	sql     string
	args    []any
	ids     int64 // of each part

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
	// As many ids as have that many rows, on average.
	w.ids = cmp.Or(s.limits.searchIDs, searchIDs) * max(1, head.NextID/max(1, head.Count))
	if w.slashed = w.base; w.at.Record.Platform == "windows" {
		w.slashed = strings.ReplaceAll(w.base, `\`, "/")
	}
	for _, c := range w.all {
		c.base = w.base
		w.free <- c
	}
	w.sql, w.args = searchSQL(q, order)
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
		w.all = append(w.all, &sweeper{conn: c, paths: map[int64]string{}})
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
		if errors.Join(c.forget(w.sql), c.rollback()) != nil { // of no more use; it only read
			_ = c.close()
			<-w.h.sweepers.slots
			continue
		}
		w.h.sweepers.put(c.conn)
	}
}

// done lets go of the sweep. The last one to do so closes it.
func (w *sweep) done() {
	if w.users.Add(-1) == 0 {
		w.drop(w.all)
		w.release()
	}
}

// parts yields the ids of the location but the root, above after, in parts.
func (w *sweep) parts(after int64) func(func(lo, hi int64) bool) {
	return func(yield func(lo, hi int64) bool) {
		for lo := max(after, index.RootID) + 1; lo < w.at.Head.NextID; lo += w.ids {
			if !yield(lo, min(lo+w.ids, w.at.Head.NextID)-1) {
				return
			}
		}
	}
}

// forget closes a prepared statement: those of searches are of too many forms to keep them.
func (c *conn) forget(sql string) error {
	st, ok := c.stmts[sql]
	if !ok {
		return nil
	}
	delete(c.stmts, sql)
	return dbError(st.Close())
}

// folder returns the path of a folder.
func (c *sweeper) folder(id int64) (string, error) {
	var ids []int64
	var names []string
	at, path := id, c.base
	for at != index.RootID {
		if known, ok := c.paths[at]; ok {
			path = known
			break
		}
		if len(ids) > index.MaxDepth {
			return "", fmt.Errorf("folder %d: deeper than %d folders: %w", id, index.MaxDepth, ErrCorrupt)
		}
		row, err := c.one("SELECT parent, name FROM entries WHERE id = ?", at)
		if errors.Is(err, ErrNotFound) {
			err = ErrCorrupt
		}
		if err != nil {
			return "", fmt.Errorf("folder %d above %d: %w", at, id, err)
		}
		name, _ := row[1].(string)
		ids, names = append(ids, at), append(names, name)
		at, _ = row[0].(int64)
	}
	if len(ids) == 0 {
		return path, nil
	}
	b := []byte(path)
	ends := make([]int, len(ids))
	for i := len(ids) - 1; i >= 0; i-- {
		b = appendName(b, names[i])
		ends[i] = len(b)
	}
	path = string(b)
	if c.size += len(path); c.size > pathCache {
		clear(c.paths)
		c.size = len(path)
	}
	for i, end := range ends { // all share the memory of the longest
		c.paths[ids[i]] = path[:end]
	}
	return path, nil
}

func appendName(path []byte, name string) []byte {
	if n := len(path); n == 0 || path[n-1] != '/' {
		path = append(path, '/')
	}
	return append(path, name...)
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
