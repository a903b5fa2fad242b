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
		var err error
		if w.rows, err = newFreshRows(c); err != nil {
			return err
		}
		w.c, w.tree = c, newTreeWriter(c, beside, s.limits.besideLeaves)
		if err := w.all(changes); err != nil {
			return errors.Join(err, w.rows.idle(), c.rollback())
		}
		return nil
	})
	if err != nil {
		return w.res, fmt.Errorf("commit: %w", err)
	}
	return w.res, nil
}

// committer is the state of one Commit.
type committer struct {
	s    *Store
	ctx  context.Context // of this call only
	c    *conn
	opt  CommitOptions
	res  CommitResult
	rows *freshRows
	tree *treeWriter

	m      meta
	open   bool // a transaction is open
	dirty  int  // changes in this chunk
	since  time.Time
	parent int64       // the last parent that was checked to be a folder
	form   *deltaShape // levels of folders; made anew when one moves or dies, or when it knows too many
	paths  map[string]int64
	put    int64 // in the open chunk
	dead   int64
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
			if err := w.commit(); err != nil {
				return err
			}
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
	return w.commit()
}

func (w *committer) begin() error {
	if err := w.s.steps.at("commit: begin"); err != nil {
		return err
	}
	if err := w.c.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	w.open, w.since, w.dirty, w.put, w.dead, w.parent = true, time.Now(), 0, 0, 0, 0
	w.paths = map[string]int64{}
	if w.form == nil || len(w.form.level) > maxLevels {
		w.form = newDeltaShape(w.c)
	}
	var err error
	w.m, err = readMeta(w.c)
	return err
}

func (w *committer) commit() error {
	if err := w.s.steps.at("commit: write rows"); err != nil {
		return err
	}
	if err := w.rows.flush(); err != nil {
		return err
	}
	before, err := readMeta(w.c)
	if err != nil {
		return err
	}
	if err := w.s.steps.at("commit: write tree"); err != nil {
		return err
	}
	if w.m.head.Seq != before.head.Seq {
		if w.m.head.Root, err = w.tree.flush(w.m.head.NextID); err != nil {
			return err
		}
	}
	if err := w.s.steps.at("commit: write head"); err != nil {
		return err
	}
	if w.m.head.Head != before.head.Head {
		if err := w.s.signMeta(w.c, &w.m); err != nil {
			return err
		}
	}
	if err := w.s.steps.at("commit: commit"); err != nil {
		return fmt.Errorf("commit chunk: %w", err)
	}
	if err := w.c.run("COMMIT"); err != nil {
		return fmt.Errorf("commit chunk: %w", err)
	}
	w.s.steps.passed("commit: committed")
	w.open = false
	w.res.Head = w.m.head
	w.res.Put += w.put
	w.res.Deleted += w.dead
	w.res.Chunks++
	if w.opt.Progress != nil {
		w.opt.Progress(w.res.Put)
	}
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
	w.rows.add(e)
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
	e.Seq = w.seq()
	w.put++
	w.tree.put(e)
	if err := w.c.run(updateEntrySQL, entryArgs(nil, e)...); err != nil || e.Parent == old.Parent || e.Kind != index.KindDir {
		return err
	}
	if err := w.rows.flush(); err != nil {
		return err
	}
	w.form, w.parent = newDeltaShape(w.c), 0
	return w.form.below([]int64{e.ID})
}

// get reads a live row, of this chunk too.
func (w *committer) get(id int64) (index.Entry, error) {
	var e index.Entry
	ready := w.rows.idle
	if w.rows.holds(id) {
		ready = w.rows.flush
	}
	if err := ready(); err != nil {
		return e, err
	}
	row, err := w.c.one("SELECT "+entryColumns+" FROM main.entries WHERE id = ?", id)
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
	if err := w.rows.flush(); err != nil {
		return err
	}
	if _, err := w.get(id); err != nil {
		return err
	}
	clear(w.paths)
	w.form, w.parent = newDeltaShape(w.c), 0
	ids, err := subtree(w.ctx, w.c, id)
	if err != nil {
		return err
	}
	if !self {
		ids = slices.DeleteFunc(ids, func(x int64) bool { return x == id })
	}
	runs, err := deadRuns(w.c, ids)
	if err != nil {
		return err
	}
	for _, r := range runs {
		r.Seq = w.seq()
		if err := w.tree.touchRange(r.Lo, r.Hi); err != nil {
			return err
		}
		n, err := w.c.exec("DELETE FROM entries WHERE id BETWEEN ? AND ?", r.Lo, r.Hi)
		if err != nil {
			return err
		}
		if err := w.c.run("INSERT INTO dead (seq, lo, hi) VALUES (?, ?, ?)", r.Seq, r.Lo, r.Hi); err != nil {
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
