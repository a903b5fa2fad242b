package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// A chunk of a commit ends after so many rows, or so much time: it bounds the transaction, what a crash can lose, and
// how long a reader waits to see progress.
const (
	chunkRows = 20_000
	chunkTime = 2 * time.Second
)

// maxLevels bounds the folders whose levels a commit remembers from chunk to chunk.
const maxLevels = 100_000

// CommitOptions say what a commit means.
type CommitOptions struct {
	// AsOf is asked once, after the changes ended without an error, for the moment at which the location is known
	// true. It moves the head's "as of", alone if nothing changed. Nil, or a zero time, leaves "as of" where it is.
	AsOf func() time.Time
	// Progress is called after each chunk with the rows put so far; may be nil.
	Progress func(put int64)
}

// CommitResult says what a commit did.
type CommitResult struct {
	Head      index.SignedHead
	Put       int64 // rows inserted or changed
	Deleted   int64 // rows deleted
	Unchanged int64 // puts that made no difference
	Chunks    int   // transactions
}

// Commit takes changes to an own location in a stream, of any length, and commits them in chunks of bounded size:
// rows, dead runs, counters and signed head in one transaction each. If the stream or a change is in error, the
// chunks before it stay, the rest is rolled back, and "as of" does not move. One Commit of a location runs at a time.
func (s *Store) Commit(ctx context.Context, l index.Location, changes iter.Seq2[index.Change, error], opt CommitOptions) (CommitResult, error) {
	w := &committer{s: s, opt: opt, ctx: ctx}
	err := s.writeLocation(ctx, l, func(c *conn, beside reader) error {
		w.c, w.rows, w.tree = c, newFreshRows(c), newTreeWriter(c, beside, s.limits.besideLeaves)
		err := w.all(changes)
		if err != nil {
			err = errors.Join(err, w.join(), c.rollback())
		}
		return errors.Join(err, w.rows.close())
	})
	if err != nil {
		return w.res, fmt.Errorf("commit: %w", err)
	}
	return w.res, nil
}

// committer is the state of one Commit. It fills a chunk while the one before is written on another goroutine, which has
// the writer's connection meanwhile: whoever else needs that calls [committer.conn].
type committer struct {
	s    *Store
	ctx  context.Context // of this call only
	c    *conn
	opt  CommitOptions
	res  CommitResult
	rows *freshRows
	tree *treeWriter

	m       meta // as it will be after the open chunk, but for root and signature
	known   bool // m was read
	open    bool // there is a chunk
	tx      bool // its transaction is open
	dirty   int  // changes in this chunk
	since   time.Time
	parent  int64       // the last parent that was checked to be a folder
	form    *deltaShape // levels of folders; made anew when one moves or dies, or when it knows too many
	paths   map[string]int64
	put     int64 // in the open chunk
	dead    int64
	writing *chunk // the chunk before; nil if it was written
}

func (w *committer) all(changes iter.Seq2[index.Change, error]) error {
	for ch, err := range changes {
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil {
			return err
		}
		if !w.open {
			if err := w.begin(); err != nil {
				return err
			}
		}
		if err := w.apply(&ch); err != nil {
			return err
		}
		if w.dirty >= w.s.limits.chunkRows || w.dirty > 0 && w.dirty%1024 == 0 && time.Since(w.since) > chunkTime {
			if err := w.seal(); err != nil {
				return err
			}
			go w.writing.run()
		}
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if !w.open {
		if err := w.begin(); err != nil {
			return err
		}
	}
	if w.opt.AsOf != nil {
		if at := w.opt.AsOf(); !at.IsZero() {
			w.m.head.AsOf = max(w.m.head.AsOf, at.UnixNano())
		}
	}
	if err := w.seal(); err != nil {
		return err
	}
	w.writing.run()
	return w.join()
}

func (w *committer) begin() error {
	w.open, w.since, w.dirty, w.put, w.dead, w.parent = true, time.Now(), 0, 0, 0, 0
	w.paths = map[string]int64{}
	if w.form == nil || len(w.form.level) > maxLevels {
		w.form = newDeltaShape(w.c)
	}
	if w.known {
		return nil
	}
	c, err := w.conn()
	if err == nil {
		w.m, err = readMeta(c)
	}
	w.known = err == nil
	return err
}

// conn returns the writer's connection, with the transaction of the open chunk.
func (w *committer) conn() (*conn, error) {
	if err := w.join(); err != nil {
		return nil, err
	}
	if w.tx {
		return w.c, nil
	}
	w.tx = true
	return w.c, beginChunk(w.s, w.c)
}

// beginChunk opens the transaction of a chunk, and has the file's lock for writing before anything is read. BEGIN IMMEDIATE
// would lock the tables in memory as well, one of which is being filled.
func beginChunk(s *Store, c *conn) error {
	if err := s.steps.at("commit: begin"); err != nil {
		return err
	}
	if err := c.run("BEGIN"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := c.run("UPDATE main.meta SET head = head WHERE 0"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return nil
}

// seal ends the open chunk, once the one before is written. What is left to do is in w.writing.
func (w *committer) seal() error {
	move, err := w.rows.seal()
	if err := errors.Join(err, w.join()); err != nil {
		return err
	}
	w.writing = &chunk{
		s: w.s, c: w.c, tx: w.tx, move: move, tree: w.tree.seal(), m: w.m, put: w.put, dead: w.dead, done: make(chan error, 1),
	}
	w.open, w.tx = false, false
	return nil
}

// join waits until the chunk before is written, and takes note of it.
func (w *committer) join() error {
	ch := w.writing
	if ch == nil {
		return nil
	}
	w.writing = nil
	if err := <-ch.done; err != nil {
		return err
	}
	w.m.head.Root = ch.m.head.Root
	w.res.Head = ch.m.head
	w.res.Put += ch.put
	w.res.Deleted += ch.dead
	w.res.Chunks++
	if w.opt.Progress != nil {
		w.opt.Progress(w.res.Put)
	}
	return nil
}

// chunk is a part of a commit that is one transaction.
type chunk struct {
	s    *Store
	c    *conn
	tx   bool         // the transaction is open
	move func() error // writes the rows that were added
	tree *treeWriter
	m    meta
	put  int64
	dead int64
	done chan error
}

// run writes the chunk. If that fails, nothing of it is there.
func (ch *chunk) run() {
	err := ch.write()
	if err != nil {
		err = errors.Join(err, ch.c.rollback())
	}
	ch.done <- err
}

func (ch *chunk) write() error {
	if !ch.tx {
		if err := beginChunk(ch.s, ch.c); err != nil {
			return err
		}
	}
	if err := ch.s.steps.at("commit: write rows"); err != nil {
		return err
	}
	if err := ch.move(); err != nil {
		return err
	}
	before, err := readMeta(ch.c)
	if err != nil {
		return err
	}
	if err := ch.s.steps.at("commit: write tree"); err != nil {
		return err
	}
	if ch.m.head.Seq != before.head.Seq {
		if ch.m.head.Root, err = ch.tree.flush(ch.m.head.NextID); err != nil {
			return err
		}
	}
	if err := ch.s.steps.at("commit: write head"); err != nil {
		return err
	}
	if ch.m.head.Head != before.head.Head {
		if err := ch.s.signMeta(ch.c, &ch.m); err != nil {
			return err
		}
	}
	if err := ch.s.steps.at("commit: commit"); err != nil {
		return fmt.Errorf("commit chunk: %w", err)
	}
	if err := ch.c.run("COMMIT"); err != nil {
		return fmt.Errorf("commit chunk: %w", err)
	}
	ch.s.steps.passed("commit: committed")
	return nil
}

func (w *committer) apply(ch *index.Change) error {
	if ch.Entry.ID == 0 {
		return w.applyPath(ch)
	}
	switch ch.Op {
	case index.Put:
		return w.putID(ch.Entry)
	case index.Delete:
		return w.delete(ch.Entry.ID, true)
	}
	return fmt.Errorf("operation %d: %w", ch.Op, index.ErrInvalid)
}

// seq takes the next seq for a change.
func (w *committer) seq() int64 {
	w.m.head.Seq++
	w.dirty++
	return w.m.head.Seq
}

// putID inserts a row with the next id, or changes the live row of an id.
func (w *committer) putID(e index.Entry) error {
	if err := e.Validate(); err != nil {
		return err
	}
	switch {
	case e.ID > w.m.head.NextID:
		return fmt.Errorf("id %d, the next is %d: %w", e.ID, w.m.head.NextID, index.ErrInvalid)
	case e.ID == w.m.head.NextID:
		if err := w.checkParent(e.Parent); err != nil {
			return err
		}
		return w.insert(&e)
	}
	old, err := w.get(e.ID)
	if err != nil {
		return err
	}
	return w.update(&old, &e)
}

func (w *committer) insert(e *index.Entry) error {
	if e.ID > index.MaxID || w.m.head.Count >= index.MaxCount {
		return fmt.Errorf("the location is full (id %d, %d entries): %w", e.ID, w.m.head.Count, index.ErrInvalid)
	}
	e.Seq = w.seq()
	w.m.head.NextID++
	w.m.head.Count++
	w.put++
	if level, ok := w.form.level[e.Parent]; ok && e.Kind == index.KindDir {
		w.form.level[e.ID] = level + 1 // what it holds comes next, mostly
	}
	w.tree.appended(e)
	if w.rows.full() {
		if err := w.pass(); err != nil {
			return err
		}
	}
	w.rows.add(e)
	return nil
}

// pass makes room for another row of the chunk.
func (w *committer) pass() error {
	if w.rows.direct {
		_, err := w.settled()
		return err
	}
	if w.rows.stages == nil {
		if _, err := w.conn(); err != nil {
			return err
		}
		if err := w.rows.open(); err != nil {
			return err
		}
	}
	w.rows.hand()
	return nil
}

func (w *committer) update(old, e *index.Entry) error {
	if old.SameContent(e) {
		w.res.Unchanged++
		return nil
	}
	if e.Parent != old.Parent {
		if err := w.checkParent(e.Parent); err != nil {
			return err
		}
		if err := w.checkCycle(e.ID, e.Parent); err != nil {
			return err
		}
		clear(w.paths)
	}
	if old.Kind == index.KindDir && e.Kind != index.KindDir {
		if err := w.delete(e.ID, false); err != nil {
			return err
		}
	}
	if old.Name != e.Name || e.Kind != old.Kind {
		clear(w.paths)
		w.parent = 0
	}
	c, err := w.settled()
	if err != nil {
		return err
	}
	e.Seq = w.seq()
	w.put++
	w.tree.put(e)
	if err := c.run(updateEntrySQL, entryArgs(nil, e)...); err != nil || e.Parent == old.Parent || e.Kind != index.KindDir {
		return err
	}
	w.form, w.parent = newDeltaShape(c), 0
	return w.form.below([]int64{e.ID})
}

// settled returns the writer's connection once all rows of the chunk are where they belong.
func (w *committer) settled() (*conn, error) {
	c, err := w.conn()
	if err != nil {
		return nil, err
	}
	return c, w.rows.flush()
}

// get reads a live row, of this chunk too.
func (w *committer) get(id int64) (index.Entry, error) {
	if w.rows.holds(id) {
		return w.rows.get(id)
	}
	var e index.Entry
	c, err := w.conn()
	if err != nil {
		return e, err
	}
	row, err := c.one("SELECT "+entryColumns+" FROM main.entries WHERE id = ?", id)
	if err != nil {
		return e, fmt.Errorf("id %d: %w", id, err)
	}
	return e, scanEntry(row, &e)
}

func (w *committer) checkParent(id int64) error {
	if id == w.parent {
		return nil
	}
	level, ok := w.form.level[id]
	if !ok {
		p, err := w.get(id)
		if err != nil {
			return fmt.Errorf("parent: %w", err)
		}
		if p.Kind != index.KindDir {
			return fmt.Errorf("parent %d is a %v: %w", id, p.Kind, index.ErrInvalid)
		}
		if level, err = w.form.levelOf(id); err != nil {
			return err
		}
	}
	if level > index.MaxDepth { // no replica takes what is deeper
		return tooDeep(id)
	}
	w.parent = id
	return nil
}

// checkCycle walks up from the new parent: a folder can't be moved below itself, nor too deep.
func (w *committer) checkCycle(id, parent int64) error {
	for depth := 0; parent != 0; depth++ {
		if parent == id || depth > index.MaxDepth {
			return fmt.Errorf("moving %d below %d: cycle or too deep: %w", id, parent, index.ErrInvalid)
		}
		p, err := w.get(parent)
		if err != nil {
			return err
		}
		parent = p.Parent
	}
	return nil
}

// delete declares everything below id dead, and id too if self is set.
func (w *committer) delete(id int64, self bool) error {
	if id == index.RootID && self {
		return fmt.Errorf("the root can't be deleted: %w", index.ErrInvalid)
	}
	c, err := w.settled()
	if err != nil {
		return err
	}
	if _, err := w.get(id); err != nil {
		return err
	}
	clear(w.paths)
	w.form, w.parent = newDeltaShape(c), 0
	ids, err := subtree(w.ctx, c, id)
	if err != nil {
		return err
	}
	if !self {
		ids = slices.DeleteFunc(ids, func(x int64) bool { return x == id })
	}
	runs, err := deadRuns(c, ids)
	if err != nil {
		return err
	}
	for _, r := range runs {
		r.Seq = w.seq()
		if err := w.tree.touchRange(r.Lo, r.Hi); err != nil {
			return err
		}
		n, err := c.exec("DELETE FROM entries WHERE id BETWEEN ? AND ?", r.Lo, r.Hi)
		if err != nil {
			return err
		}
		if err := c.run("INSERT INTO dead (seq, lo, hi) VALUES (?, ?, ?)", r.Seq, r.Lo, r.Hi); err != nil {
			return err
		}
		w.m.head.Dead = proof.FoldDead(w.m.head.Dead, r)
		w.m.head.Count -= n
		w.dead += n
	}
	return nil
}

// subtree returns the ids of an entry and all that is below it, ascending.
func subtree(ctx context.Context, c *conn, id int64) ([]int64, error) {
	var ids []int64
	const q = "WITH RECURSIVE t (id) AS (VALUES (?) UNION ALL SELECT e.id FROM t JOIN entries e ON e.parent = t.id) SELECT id FROM t"
	for row, err := range c.query(ctx, q, id) {
		if err != nil {
			return nil, fmt.Errorf("subtree of %d: %w", id, err)
		}
		n, _ := row[0].(int64)
		ids = append(ids, n)
	}
	slices.Sort(ids)
	return ids, nil
}

// deadRuns joins ascending ids to as few runs as may be: a run bridges ids that are dead already.
func deadRuns(c *conn, ids []int64) ([]index.DeadRun, error) {
	var runs []index.DeadRun
	for _, id := range ids {
		if n := len(runs); n > 0 {
			last := &runs[n-1]
			free := last.Hi+1 == id
			if !free {
				_, err := c.one("SELECT 1 FROM entries WHERE id > ? AND id < ? LIMIT 1", last.Hi, id)
				if err != nil && !errors.Is(err, ErrNotFound) {
					return nil, err
				}
				free = err != nil
			}
			if free {
				last.Hi = id
				continue
			}
		}
		runs = append(runs, index.DeadRun{Lo: id, Hi: id})
	}
	return runs, nil
}
