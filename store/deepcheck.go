package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"iter"
	"math"
	"slices"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// checkLeaves is how many leaves, or as many entries of an index as they have rows, one part of a deep check covers: some
// milliseconds of work.
const checkLeaves = 256

// rows hashes the rows of the next leaves, compares them with the leaves of the stored tree, and looks for them in the
// indexes.
func (k *checker) rows(ctx context.Context, c *conn) (bool, error) {
	leaves, err := k.readNodes(ctx, c, "SELECT level, idx, hash FROM tree WHERE level = 0 AND idx >= ? ORDER BY idx LIMIT ?",
		k.leaf, int64(k.leaves)+1)
	if err != nil {
		return false, err
	}
	more, lo, hi := len(leaves) > k.leaves, k.leaf<<proof.LeafBits, int64(math.MaxInt64)
	if k.leaf == 0 {
		lo = math.MinInt64
	}
	if more {
		k.leaf = leaves[k.leaves].idx
		leaves, hi = leaves[:k.leaves], k.leaf<<proof.LeafBits-1
	}
	wrong := -1 // the first leaf that is not as it should be
	at := 0
	b := proof.NewBuilder(func(level int, idx int64, h index.Hash) error {
		if level > 0 {
			return nil
		}
		if wrong < 0 && (at == len(leaves) || leaves[at].idx != idx || leaves[at].hash != h) {
			wrong = at
			k.fail("the rows from id %d to %d are not those in the tree", idx<<proof.LeafBits, (idx+1)<<proof.LeafBits-1)
		}
		at++
		return nil
	})
	var e index.Entry
	for row, err := range c.stream(ctx, "SELECT "+entryColumns+" FROM entries WHERE id BETWEEN ? AND ? ORDER BY id", lo, hi) {
		if err == nil {
			err = scanEntry(row, &e)
		}
		if err != nil {
			return false, err
		}
		if err := k.row(&e, b); err != nil {
			k.fail("id %d: %v", e.ID, err)
			return false, errTooMany // the rows after it would be compared with the wrong leaves
		}
	}
	if _, err := b.Root(); err != nil {
		return false, err
	}
	if wrong < 0 && at != len(leaves) {
		k.fail("the rows of %d leaves of the tree are missing", len(leaves)-at)
	}
	if !more && k.single {
		if err := k.form.finish(); err != nil {
			k.fail("%v", err)
		}
	}
	return more, k.indexed(ctx, c, lo, hi)
}

// row checks one row by itself, and adds it to its leaf.
func (k *checker) row(e *index.Entry, b *proof.Builder) error {
	if e.Seq > k.m.head.Seq {
		k.fail("id %d: seq %d, the head's is %d", e.ID, e.Seq, k.m.head.Seq)
	}
	err := b.Add(e)
	if err == nil && k.single {
		return k.form.add(e)
	}
	if err == nil {
		err = e.Validate()
	}
	return err
}

// readNodes reads nodes of the stored tree in order.
func (k *checker) readNodes(ctx context.Context, c *conn, sql string, args ...driver.Value) ([]node, error) {
	var out []node
	for row, err := range c.stream(ctx, sql, args...) {
		if err != nil {
			return nil, err
		}
		var n node
		level, _ := row[0].(int64)
		n.level = int(level)
		n.idx, _ = row[1].(int64)
		b, _ := row[2].([]byte)
		if copy(n.hash[:], b); len(b) != index.HashSize {
			k.fail("node %v/%v of the tree has a hash of %d bytes", row[0], row[1], len(b))
		}
		out = append(out, n)
	}
	return out, nil
}

// tree compares the inner nodes of the stored tree with its leaves, and its root with the signed one.
func (k *checker) tree(ctx context.Context, c *conn) (bool, error) {
	stored, err := k.readNodes(ctx, c, "SELECT level, idx, hash FROM tree ORDER BY level, idx")
	if err != nil {
		return false, err
	}
	inner, _ := slices.BinarySearchFunc(stored, 1, func(n node, level int) int { return cmp.Compare(n.level, level) })
	leaves, stored := stored[:inner:inner], stored[inner:]
	counted := innerNodes(leaves)
	if n := len(counted); n == 0 || counted[n-1].hash != k.m.head.Root {
		k.fail("the rows are not those that were signed")
	}
	counted = counted[len(leaves):]
	for i := range counted {
		if i >= len(stored) || stored[i] != counted[i] {
			k.fail("node %d/%d of the tree is not the hash of what is below it", counted[i].level, counted[i].idx)
			return false, nil
		}
	}
	if len(stored) != len(counted) {
		k.fail("%d nodes too many in the tree", len(stored)-len(counted))
	}
	return false, nil
}

// How many rows of a range of ids an index does not lead to. SQLite reads the columns of i from the index alone.
const (
	notBySeq = "SELECT count(*) FROM entries e NOT INDEXED WHERE e.id BETWEEN ? AND ? AND NOT EXISTS" +
		" (SELECT 1 FROM entries i INDEXED BY entries_seq WHERE i.seq = e.seq AND i.id = e.id)"
	notByName = "SELECT count(*) FROM entries e NOT INDEXED WHERE e.id BETWEEN ? AND ? AND NOT EXISTS" +
		" (SELECT 1 FROM entries i INDEXED BY entries_parent_name WHERE i.parent = e.parent AND i.name = e.name AND i.id = e.id)"
)

// indexed looks for the rows lo..hi in both indexes. SQLite's own check made sure that each has as many entries as there
// are rows. So if it leads to every row it holds nothing else, and is in order, or not all would be found by halving.
func (k *checker) indexed(ctx context.Context, c *conn, lo, hi int64) error {
	for _, q := range []struct{ index, sql string }{{"seq", notBySeq}, {"name", notByName}} {
		for row, err := range c.query(ctx, q.sql, lo, hi) {
			if err != nil {
				return err
			}
			if n, _ := row[0].(int64); n != 0 {
				k.fail("%d rows from id %d to %d are not in the index by %s", n, max(lo, 1), min(hi, k.m.head.NextID-1), q.index)
			}
		}
	}
	return nil
}

// unique makes sure that no seq and no name in a folder is given twice. What is signed can't become so on the disk.
func (k *checker) unique(ctx context.Context, c *conn) (bool, error) {
	if !k.single {
		return false, nil
	}
	for _, q := range []struct{ what, sql string }{
		{"seq %v is given twice", "SELECT seq FROM entries GROUP BY seq HAVING count(*) > 1 LIMIT 1"},
		{"a name stands twice in folder %v", "SELECT parent FROM entries GROUP BY parent, name HAVING count(*) > 1 LIMIT 1"},
	} {
		for row, err := range c.query(ctx, q.sql) {
			if err != nil {
				return false, err
			}
			k.fail(q.what, row[0])
		}
	}
	return false, nil
}

// stream is query for many rows with little work each; ctx ends it between them.
func (c *conn) stream(ctx context.Context, sql string, args ...driver.Value) iter.Seq2[[]driver.Value, error] {
	return func(yield func([]driver.Value, error) bool) {
		n := 0
		for row, err := range c.query(context.Background(), sql, args...) {
			if n++; err == nil && n&1023 == 0 {
				err = ctx.Err()
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// dead folds the chain of dead runs from the horizon on, and makes sure that nothing they name is there.
func (k *checker) dead(ctx context.Context, c *conn) (bool, error) {
	chain := k.m.base
	for row, err := range c.stream(ctx, "SELECT seq, lo, hi FROM dead ORDER BY seq") {
		if err != nil {
			return false, err
		}
		d := scanDead(row)
		if err := d.Validate(); err != nil {
			k.fail("dead run: %v", err)
			return false, nil
		}
		if d.Seq <= k.m.horizon || d.Seq > k.m.head.Seq {
			k.fail("dead run at seq %d, outside of horizon %d and head %d", d.Seq, k.m.horizon, k.m.head.Seq)
		}
		chain = proof.FoldDead(chain, d)
	}
	if chain != k.m.head.Dead {
		k.fail("the chain of dead runs is not the one signed")
	}
	for _, q := range []struct{ what, sql string }{
		{"id %v is dead and live", "SELECT e.id FROM dead d JOIN entries e ON e.id BETWEEN d.lo AND d.hi LIMIT 1"},
		{"seq %v is given to a row and to a dead run", "SELECT d.seq FROM dead d JOIN entries e ON e.seq = d.seq LIMIT 1"},
	} {
		for row, err := range c.query(ctx, q.sql) {
			if err != nil {
				return false, err
			}
			k.fail(q.what, row[0])
		}
	}
	return false, nil
}
