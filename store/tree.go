package store

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// treeWriter keeps the hash tree of a location's file true while its rows change, inside of the same transaction. It
// is told of rows as they change, and brings the tree up to date in one go ([treeWriter.flush]). Rows that come in id
// order at the end are hashed as they pass; other leaves are read again.
type treeWriter struct {
	c     *conn
	dirty map[int64]struct{} // leaves to be read again
	fresh map[int64]leafSum  // leaves whose new hash is known, but not written
	leaf  proof.Leaf         // rows of the leaf at the end
	tail  int64              // its index; -1 = none, or not known whole

	beside  reader  // nil = the writer works alone
	least   int     // from how many dirty leaves on beside helps
	changes overlay // of the open transaction, for beside
	grown   int64   // the first leaf with rows that the open transaction appended
	job     *leafJob
}

// newTreeWriter returns a treeWriter for the connection that writes. With beside it must be told of every row by
// [treeWriter.put], not by touchLeaf.
func newTreeWriter(c *conn, beside reader, least int) *treeWriter {
	return &treeWriter{least: least, c: c, dirty: map[int64]struct{}{}, fresh: map[int64]leafSum{}, tail: -1, beside: beside, grown: math.MaxInt64}
}

// put says that a row changed, or is new among others.
func (t *treeWriter) put(e *index.Entry) {
	t.touchLeaf(proof.LeafOf(e.ID))
	if t.beside != nil {
		t.changes.rows = append(t.changes.rows, *e)
	}
}

func (t *treeWriter) touchLeaf(at int64) {
	if at == t.tail {
		t.tail = -1
	}
	delete(t.fresh, at)
	t.dirty[at] = struct{}{}
}

// touchRange says that the rows of all ids lo..hi went. Only leaves that there are count, whatever the range claims.
func (t *treeWriter) touchRange(lo, hi int64) error {
	if t.beside != nil {
		t.changes.dead = append(t.changes.dead, index.DeadRun{Lo: lo, Hi: hi})
	}
	var leaves []int64
	for row, err := range t.c.query(context.Background(),
		"SELECT idx FROM main.tree WHERE level = 0 AND idx BETWEEN ? AND ?", proof.LeafOf(lo), proof.LeafOf(hi)) {
		if err != nil {
			return err
		}
		at, _ := row[0].(int64)
		leaves = append(leaves, at)
	}
	for _, at := range leaves {
		t.touchLeaf(at)
	}
	// A leaf of this very transaction may not be in the table yet.
	for at := range maps.Clone(t.fresh) {
		if at >= proof.LeafOf(lo) && at <= proof.LeafOf(hi) {
			t.touchLeaf(at)
		}
	}
	if t.tail >= proof.LeafOf(lo) && t.tail <= proof.LeafOf(hi) {
		t.touchLeaf(t.tail)
	}
	return nil
}

// appended says that a row was added with the highest id so far. It does not use the connection.
func (t *treeWriter) appended(e *index.Entry) {
	at := proof.LeafOf(e.ID)
	t.grown = min(t.grown, at)
	if at == t.tail {
		t.leaf.Add(e)
		return
	}
	t.closeTail()
	if e.ID&(proof.LeafSize-1) != 0 {
		t.touchLeaf(at) // begins with rows that we have not seen
		return
	}
	t.tail = at
	t.leaf.Reset(at)
	t.leaf.Add(e)
}

// closeTail hashes the leaf at the end as it is now; more rows may still come.
func (t *treeWriter) closeTail() {
	if t.tail >= 0 {
		h, ok := t.leaf.Sum()
		t.fresh[t.tail] = leafSum{h, ok}
	}
}

// seal returns what the transaction that ends has changed, for one flush. t itself goes on with the next one, on another
// goroutine if need be, as long as it does not use the connection.
func (t *treeWriter) seal() *treeWriter {
	t.closeTail()
	sealed := *t
	sealed.tail, sealed.leaf = -1, proof.Leaf{}
	t.reset()
	return &sealed
}

// write writes or deletes one node.
func (t *treeWriter) write(level int, idx int64, h index.Hash, ok bool) error {
	if !ok {
		return t.c.run("DELETE FROM main.tree WHERE level = ? AND idx = ?", int64(level), idx)
	}
	return t.c.run("INSERT INTO main.tree (level, idx, hash) VALUES (?, ?, ?) ON CONFLICT (level, idx) DO UPDATE SET hash = excluded.hash",
		int64(level), idx, h[:])
}

// flush makes the tree agree with the rows and returns its root. nextID bounds the ids.
func (t *treeWriter) flush(nextID int64) (index.Hash, error) {
	defer t.reset()
	if t.streams(nextID) {
		return rebuildTree(t.c, nil)
	}
	t.closeTail()
	leaves, sums, err := t.sumDirty(nextID)
	if err != nil {
		return index.Hash{}, fmt.Errorf("tree: %w", err)
	}
	for i, at := range leaves {
		t.fresh[at] = sums[i]
	}
	changed := slices.Sorted(maps.Keys(t.fresh))
	for _, at := range changed {
		if err := t.write(0, at, t.fresh[at].hash, t.fresh[at].ok); err != nil {
			return index.Hash{}, fmt.Errorf("tree: %w", err)
		}
	}
	for level := 1; level <= proof.Levels; level++ {
		for i, at := range changed {
			changed[i] = at >> proof.FanBits
		}
		changed = slices.Compact(changed)
		for _, at := range changed {
			if err := t.readNode(level, at); err != nil {
				return index.Hash{}, fmt.Errorf("tree: %w", err)
			}
		}
	}
	return treeRoot(t.c)
}

// reset forgets a transaction that ended.
func (t *treeWriter) reset() {
	t.dirty, t.fresh = map[int64]struct{}{}, map[int64]leafSum{}
	t.changes, t.grown = overlay{}, math.MaxInt64
}

// streams reports whether so many leaves are dirty that reading all rows once is cheaper.
func (t *treeWriter) streams(nextID int64) bool {
	return len(t.dirty) > proof.LeafSize && int64(len(t.dirty)) > (proof.LeafOf(nextID)+1)/2
}

func (t *treeWriter) sortedDirty() []int64 { return slices.Sorted(maps.Keys(t.dirty)) }

// readNode hashes an inner node's children anew.
func (t *treeWriter) readNode(level int, at int64) error {
	var n proof.Node
	lo := at << proof.FanBits
	for row, err := range t.c.query(context.Background(),
		"SELECT idx, hash FROM main.tree WHERE level = ? AND idx BETWEEN ? AND ? ORDER BY idx", int64(level-1), lo, lo+proof.Fan-1) {
		if err != nil {
			return err
		}
		idx, _ := row[0].(int64)
		b, _ := row[1].([]byte)
		if len(b) != index.HashSize {
			return fmt.Errorf("node %d/%d: %w", level-1, idx, ErrCorrupt)
		}
		n.Add(int(idx&(proof.Fan-1)), index.Hash(b))
	}
	h, ok := n.Sum(level, at)
	return t.write(level, at, h, ok)
}

// treeRoot reads the root; zero if there are no rows.
func treeRoot(c *conn) (index.Hash, error) {
	var h index.Hash
	row, err := c.one("SELECT hash FROM main.tree WHERE level = ? AND idx = 0", int64(proof.Levels))
	if err != nil {
		return h, fmt.Errorf("tree: root: %w", err)
	}
	b, _ := row[0].([]byte)
	copy(h[:], b)
	return h, nil
}

// rebuildTree streams all rows into a new tree, and past each if it is not nil.
func rebuildTree(c *conn, each func(*index.Entry) error) (index.Hash, error) {
	if err := c.run("DELETE FROM main.tree"); err != nil {
		return index.Hash{}, fmt.Errorf("tree: %w", err)
	}
	return streamTree(context.Background(), c, treeBuilder(c), each)
}

// treeBuilder writes the nodes of a tree of rows that are added in order of id.
func treeBuilder(c *conn) *proof.Builder {
	return proof.NewBuilder(func(level int, idx int64, h index.Hash) error {
		return c.run("INSERT INTO main.tree (level, idx, hash) VALUES (?, ?, ?)", int64(level), idx, h[:])
	})
}

// streamTree feeds all rows to a builder, and to each if it is not nil.
func streamTree(ctx context.Context, c *conn, b *proof.Builder, each func(*index.Entry) error) (index.Hash, error) {
	var e index.Entry
	for row, err := range c.query(ctx, "SELECT "+entryColumns+" FROM main.entries ORDER BY id") {
		if err == nil {
			err = scanEntry(row, &e)
		}
		if err == nil && each != nil {
			err = each(&e)
		}
		if err == nil {
			err = b.Add(&e)
		}
		if err != nil {
			return index.Hash{}, fmt.Errorf("tree: %w", err)
		}
	}
	return b.Root()
}
