package store

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// besideLeaves is from how many leaves on a second connection shares the work of hashing them.
const besideLeaves = 256

// reader runs f with another connection to the file that a transaction is open on. What f sees is the state before that
// transaction.
type reader func(f func(*conn) error) error

// overlay is what an open transaction changes, kept in memory, so that a connection that sees only what was before can
// tell what will be.
type overlay struct {
	rows []index.Entry   // put; in order of id and seq once settled
	dead []index.DeadRun // deleted; in order and apart once settled
}

// settle puts everything in order, for search.
func (o *overlay) settle() {
	slices.SortFunc(o.rows, func(a, b index.Entry) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Seq, b.Seq)) })
	slices.SortFunc(o.dead, func(a, b index.DeadRun) int { return cmp.Compare(a.Lo, b.Lo) })
	apart := o.dead[:0]
	for _, d := range o.dead {
		if n := len(apart); n > 0 && d.Lo <= apart[n-1].Hi {
			apart[n-1].Hi = max(apart[n-1].Hi, d.Hi)
		} else {
			apart = append(apart, d)
		}
	}
	o.dead = apart
}

// from returns the rows from an id on.
func (o *overlay) from(id int64) []index.Entry {
	i, _ := slices.BinarySearchFunc(o.rows, id, func(e index.Entry, id int64) int { return cmp.Compare(e.ID, id) })
	return o.rows[i:]
}

func (o *overlay) isDead(id int64) bool {
	i, found := slices.BinarySearchFunc(o.dead, id, func(d index.DeadRun, id int64) int { return cmp.Compare(d.Lo, id) })
	return found || i > 0 && id <= o.dead[i-1].Hi
}

// leafSum is the hash of a leaf; not ok if it has no rows.
type leafSum struct {
	hash index.Hash
	ok   bool
}

// leafJob is the hashing of many leaves, shared by two connections: the writer takes leaves from the front, and the
// reader from the back, while the writer is still busy with the rows. Leaves from shared on are the writer's alone.
type leafJob struct {
	leaves []int64
	sums   []leafSum
	mu     sync.Mutex
	front  int // taken by the writer so far
	back   int // from here on taken by the reader, up to shared
	done   chan error
}

// begin starts hashing the dirty leaves beside the writer, if they are many. The changes of the transaction must be known
// by then; flush or stop ends it.
func (t *treeWriter) begin(nextID int64) {
	if t.job != nil || t.beside == nil || len(t.dirty) < t.least || t.streams(nextID) || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	j := &leafJob{leaves: t.sortedDirty(), done: make(chan error, 1)}
	j.sums = make([]leafSum, len(j.leaves))
	shared, _ := slices.BinarySearch(j.leaves, t.grown)
	j.back = shared
	t.changes.settle()
	t.job = j
	go func() {
		j.done <- t.beside(func(c *conn) error {
			var leaf proof.Leaf
			for i, ok := j.take(false); ok; i, ok = j.take(false) {
				var err error
				if j.sums[i], err = sumLeaf(c, &leaf, j.leaves[i], &t.changes); err != nil {
					return err
				}
			}
			return nil
		})
	}()
}

// take gives out one leaf.
func (j *leafJob) take(writer bool) (int, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.front >= j.back:
		return 0, false
	case writer:
		j.front++
		return j.front - 1, true
	}
	j.back--
	return j.back, true
}

// stop ends the work beside the writer, if there is any.
func (t *treeWriter) stop() error {
	if t.job == nil {
		return nil
	}
	j := t.job
	t.job = nil
	j.mu.Lock()
	j.front = j.back
	j.mu.Unlock()
	return <-j.done
}

// sumDirty hashes all dirty leaves, and returns them in order.
func (t *treeWriter) sumDirty(nextID int64) ([]int64, []leafSum, error) {
	t.begin(nextID)
	j, own := t.job, 0 // from own on, leaves are the writer's
	if j == nil {
		j = &leafJob{leaves: t.sortedDirty()}
		j.sums = make([]leafSum, len(j.leaves))
	} else {
		own, _ = slices.BinarySearch(j.leaves, t.grown)
	}
	var leaf proof.Leaf
	var err error
	for i := own; i < len(j.leaves) && err == nil; i++ {
		j.sums[i], err = sumLeaf(t.c, &leaf, j.leaves[i], nil)
	}
	for i, ok := j.take(true); ok && err == nil; i, ok = j.take(true) {
		j.sums[i], err = sumLeaf(t.c, &leaf, j.leaves[i], nil)
	}
	return j.leaves, j.sums, errors.Join(err, t.stop())
}

// sumLeaf hashes the rows of a leaf. With changes, the connection sees the rows before them.
func sumLeaf(c *conn, leaf *proof.Leaf, at int64, changes *overlay) (leafSum, error) {
	leaf.Reset(at)
	lo := at << proof.LeafBits
	hi := lo + proof.LeafSize - 1
	var put []index.Entry
	if changes != nil {
		put = changes.from(lo)
	}
	// add adds the newest of the rows put of one id, and was, if that is the same.
	add := func(was *index.Entry) {
		for len(put) > 0 && put[0].ID <= hi && (was == nil || put[0].ID <= was.ID) {
			e := &put[0]
			put = put[1:]
			if len(put) > 0 && put[0].ID == e.ID {
				continue
			}
			if was != nil && was.ID == e.ID {
				if e.Seq > was.Seq {
					was = e
				}
				break
			}
			if !changes.isDead(e.ID) {
				leaf.Add(e)
			}
		}
		if was != nil && (changes == nil || !changes.isDead(was.ID)) {
			leaf.Add(was)
		}
	}
	var e index.Entry
	for row, err := range c.query(context.Background(),
		"SELECT "+entryColumns+" FROM main.entries WHERE id BETWEEN ? AND ? ORDER BY id", lo, hi) {
		if err == nil {
			err = scanEntry(row, &e)
		}
		if err != nil {
			return leafSum{}, err
		}
		add(&e)
	}
	add(nil)
	h, ok := leaf.Sum()
	return leafSum{h, ok}, nil
}
