package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// CompareRequest asks how some nodes of a location's tree differ from those that a receiver has.
type CompareRequest struct {
	Location index.Location
	Epoch    index.Epoch
	Salt     proof.Salt
	Level    int
	Nodes    []proof.Sketch // as the receiver has them
	MaxRows  int            // no node is looked at after so many rows were found
}

// Compare answers a request in one read transaction, about as many of the nodes as its limit allows, at least one. It
// returns [index.ErrEpochChanged] or [ErrNotFound] when it can't serve the request.
func (s *Store) Compare(ctx context.Context, r CompareRequest) (proof.Comparison, error) {
	var out proof.Comparison
	err := s.viewLocation(ctx, r.Location, func(c *conn) error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		if m.head.Epoch != r.Epoch {
			return index.ErrEpochChanged
		}
		out = proof.Comparison{Head: m.head, Record: m.record}
		sk := sketcher{c: c, short: proof.NewShortener(r.Salt), level: r.Level}
		for i := range r.Nodes {
			if err := ctx.Err(); err != nil {
				return err
			}
			own, err := sk.node(r.Nodes[i].Index)
			if err != nil {
				return err
			}
			d := proof.Diff(&own, &r.Nodes[i])
			out.Nodes = append(out.Nodes, d)
			out.Rows = sk.differing(out.Rows, d.Differ)
			if len(out.Rows) >= r.MaxRows {
				break
			}
		}
		return nil
	})
	if err != nil {
		return proof.Comparison{}, err
	}
	return out, nil
}

// sketcher describes the nodes of one level of a location's tree.
type sketcher struct {
	c     *conn
	over  *conn // staging file whose rows count before those of c; may be nil
	short *proof.Shortener
	level int
	rows  []index.Entry // of the last node, if it was a leaf
}

func (k *sketcher) node(at int64) (proof.Sketch, error) {
	sketch := proof.Sketch{Index: at}
	if k.level == 0 {
		if err := k.readRows(at); err != nil {
			return sketch, err
		}
		for i := range k.rows {
			e := &k.rows[i]
			sketch.Add(int(e.ID&(proof.LeafSize-1)), k.short.Row(e))
		}
		return sketch, nil
	}
	lo := at << proof.FanBits
	for row, err := range k.c.query(context.Background(),
		"SELECT idx, hash FROM main.tree WHERE level = ? AND idx BETWEEN ? AND ? ORDER BY idx", int64(k.level-1), lo, lo+proof.Fan-1) {
		if err != nil {
			return sketch, err
		}
		idx, _ := row[0].(int64)
		b, _ := row[1].([]byte)
		if len(b) != index.HashSize {
			return sketch, fmt.Errorf("node %d/%d: %w", k.level-1, idx, ErrCorrupt)
		}
		sketch.Add(int(idx&(proof.Fan-1)), k.short.Node(index.Hash(b)))
	}
	return sketch, nil
}

// readRows reads the rows of a leaf.
func (k *sketcher) readRows(at int64) error {
	var err error
	if k.rows, err = leafRows(k.c, k.rows[:0], at); err != nil || k.over == nil {
		return err
	}
	over, err := leafRows(k.over, nil, at)
	if err != nil {
		return err
	}
	both := make([]index.Entry, 0, len(k.rows)+len(over))
	for len(k.rows)+len(over) > 0 {
		switch {
		case len(over) == 0 || len(k.rows) > 0 && k.rows[0].ID < over[0].ID:
			both, k.rows = append(both, k.rows[0]), k.rows[1:]
			continue
		case len(k.rows) > 0 && k.rows[0].ID == over[0].ID:
			k.rows = k.rows[1:]
		}
		both, over = append(both, over[0]), over[1:]
	}
	k.rows = both
	return nil
}

func leafRows(c *conn, rows []index.Entry, at int64) ([]index.Entry, error) {
	lo := at << proof.LeafBits
	for row, err := range c.query(context.Background(),
		"SELECT "+entryColumns+" FROM main.entries WHERE id BETWEEN ? AND ? ORDER BY id", lo, lo+proof.LeafSize-1) {
		if err != nil {
			return rows, err
		}
		var e index.Entry
		if err := scanEntry(row, &e); err != nil {
			return rows, err
		}
		rows = append(rows, e)
	}
	return rows, nil
}

// differing appends those rows of the last leaf whose places are in the mask.
func (k *sketcher) differing(dst []index.Entry, mask uint64) []index.Entry {
	if k.level > 0 {
		return dst
	}
	for i := range k.rows {
		if mask&(1<<uint(k.rows[i].ID&(proof.LeafSize-1))) != 0 {
			dst = append(dst, k.rows[i])
		}
	}
	return dst
}

// Reconcile begins or resumes a transfer that makes a replica equal to what a provider holds at an epoch, whatever the
// replica holds now: it finds the rows that differ by the hash tree. [Intake.Walk] says what to compare,
// [Intake.Sketch] describes the replica's side, [Intake.Found] takes what the walk found. When the walk is over, the
// transfer ends as a delta does: [Intake.Token] says from where, [Intake.Put] takes its pages. The replica gets the
// horizon of the walk's base then, since it has no older dead runs of this epoch. If the transfer breaks off, the walk
// begins anew, but rows that were staged are not fetched again. It returns [ErrNotFound] without a replica.
func (s *Store) Reconcile(ctx context.Context, l index.Location, e index.Epoch) (*Intake, error) {
	if l.Owner == s.self {
		return nil, fmt.Errorf("location %v is our own: %w", l, index.ErrInvalid)
	}
	if err := s.claim(l); err != nil {
		return nil, err
	}
	in := &Intake{s: s, loc: l, kind: stageTree}
	if err := in.beginTree(ctx, e); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *Intake) beginTree(ctx context.Context, e index.Epoch) error {
	held, err := in.s.Held(ctx, in.loc)
	if err != nil {
		return fmt.Errorf("reconcile: %w", err)
	}
	in.held = held.Head.Head
	resumed, err := in.resume(func(t *index.Token) bool { return t.Epoch == e && t.Mode == index.ModeDelta })
	if err != nil || !resumed {
		in.token = index.Token{Location: in.loc, Epoch: e}
		return err
	}
	// The delta is asked for again from the lowest head; what was staged of it counts as any other row.
	in.token.Position, in.token.Dead = in.token.Base.Seq, in.token.Base.Dead
	return in.stage.tx(func() error {
		if err := in.stage.run("DELETE FROM dead"); err != nil {
			return err
		}
		return in.saveToken(in.token)
	})
}

// Walk begins the walk of a transfer that [Store.Reconcile] began; offer is the provider's head as far as it is known.
// Call it once: to go on after an error, begin the transfer anew.
func (in *Intake) Walk(offer *index.Head) *proof.Walk {
	var earlier *index.Token
	if in.stage != nil {
		earlier = &in.token
	}
	return proof.NewWalk(&in.held, offer, earlier)
}

// Sketch describes nodes of the replica's tree.
func (in *Intake) Sketch(ctx context.Context, salt proof.Salt, level int, nodes []int64) ([]proof.Sketch, error) {
	out := make([]proof.Sketch, 0, len(nodes))
	err := in.s.viewLocation(ctx, in.loc, func(c *conn) error {
		k := sketcher{c: c, over: in.stage, short: proof.NewShortener(salt), level: level}
		for _, at := range nodes {
			sketch, err := k.node(at)
			if err != nil {
				return err
			}
			out = append(out, sketch)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("sketch: %w", err)
	}
	return out, nil
}

// Found takes what [proof.Walk.Take] found; next is the walk's token after it.
func (in *Intake) Found(f *proof.Found, next index.Token) error {
	in.rows = append(in.rows, f.Rows...)
	in.leaves = append(in.leaves, f.Leaves...)
	for _, g := range f.Gone {
		if n := len(in.gone); n > 0 && in.gone[n-1].Hi+1 == g.Lo {
			in.gone[n-1].Hi = g.Hi
			continue
		}
		in.gone = append(in.gone, g)
	}
	in.token = next
	return in.spill(false)
}

// spill moves rows to staging when they are too many for memory. Small amounts are kept back, unless last is set.
func (in *Intake) spill(last bool) error {
	n := len(in.rows) + len(in.dead)
	switch {
	case in.stage == nil && n <= in.s.limits.deltaRows:
		return nil
	case in.stage == nil:
		if err := in.openStage(in.token); err != nil {
			return err
		}
	case n < in.s.limits.stageRows && !last:
		return nil
	}
	return in.flush(in.token.Mode)
}

// applyTree puts what was found, and the delta after it, in place in one transaction.
func (in *Intake) applyTree(c *conn, p *index.Page) (err error) {
	if stage := in.stage; stage != nil {
		in.stage = nil
		if err := stage.close(); err != nil {
			return err
		}
		if err := c.run("ATTACH ? AS staged", in.s.stagingPath(in.loc, stageTree)); err != nil {
			return fmt.Errorf("attach staging: %w", err)
		}
		defer func() { err = errors.Join(err, c.run("DETACH staged")) }()
		return c.tx(func() error { return in.replaceRows(c, p, true) })
	}
	return c.tx(func() error { return in.replaceRows(c, p, false) })
}

func (in *Intake) replaceRows(c *conn, p *index.Page, staged bool) error {
	m, err := readMeta(c)
	if err != nil {
		return err
	}
	if err := in.expectHeld(&m, &p.Head.Head); err != nil {
		return err
	}
	form, tree := newDeltaShape(c), newTreeWriter(c, nil, 0)
	if err := in.coming(form, staged); err != nil {
		return err
	}
	if err := in.s.steps.at("apply tree: delete what is gone"); err != nil {
		return err
	}
	if err := in.deleteGone(c, tree); err != nil {
		return err
	}
	if err := in.s.steps.at("apply tree: write rows"); err != nil {
		return err
	}
	dead, err := in.putFound(c, tree, staged)
	if err != nil {
		return err
	}
	if err := errors.Join(form.finish(dead), form.gone(in.gone)); err != nil {
		return invalidRows(err)
	}
	if err := in.s.steps.at("apply tree: write tree"); err != nil {
		return err
	}
	// Counted, since the replica may not have been what its head says. It has no dead runs from before the base.
	count, err := c.int("SELECT count(*) FROM main.entries")
	if err != nil {
		return err
	}
	m.horizon, m.base = in.token.Base.Seq, in.token.Base.Dead
	if err := finishDelta(c, tree, p, count, &m); err != nil {
		return err
	}
	return in.s.steps.at("apply tree: commit")
}

// coming compares the rows that come with those that are there.
func (in *Intake) coming(form *deltaShape, staged bool) error {
	if staged {
		return form.comingStaged()
	}
	for i := range in.rows {
		if err := form.coming(&in.rows[i]); err != nil {
			return invalidRows(err)
		}
	}
	return nil
}

// deleteGone deletes the rows that are gone, and all dead runs: they don't lead to the new head.
func (in *Intake) deleteGone(c *conn, tree *treeWriter) error {
	for _, at := range in.leaves {
		tree.touchLeaf(at)
	}
	for _, g := range in.gone {
		if err := tree.touchRange(g.Lo, g.Hi); err != nil {
			return err
		}
		if err := c.run("DELETE FROM main.entries WHERE id BETWEEN ? AND ?", g.Lo, g.Hi); err != nil {
			return err
		}
	}
	return c.run("DELETE FROM main.dead")
}

// putFound puts rows in place, whatever their seqs: those of another epoch say nothing. Then it deletes what died
// meanwhile.
func (in *Intake) putFound(c *conn, tree *treeWriter, staged bool) ([]index.DeadRun, error) {
	if staged {
		err := c.script("INSERT INTO main.entries SELECT * FROM staged.entries WHERE true" +
			" ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, name = excluded.name, kind = excluded.kind," +
			" size = excluded.size, mtime = excluded.mtime, mode = excluded.mode, hash = excluded.hash," +
			" attrs = excluded.attrs, seq = excluded.seq; INSERT INTO main.dead SELECT * FROM staged.dead")
		if err == nil {
			err = touchStaged(c, tree)
		}
		if err != nil {
			return nil, err
		}
		return deleteStagedDead(c, tree)
	}
	if _, err := putRows(c, in.rows, updateEntrySQL); err != nil {
		return nil, err
	}
	for i := range in.rows {
		tree.touchLeaf(proof.LeafOf(in.rows[i].ID))
	}
	for _, d := range in.dead {
		if err := tree.touchRange(d.Lo, d.Hi); err != nil {
			return nil, err
		}
		if err := c.run("DELETE FROM main.entries WHERE id BETWEEN ? AND ?", d.Lo, d.Hi); err != nil {
			return nil, err
		}
		if err := insertDead(c, d); err != nil {
			return nil, err
		}
	}
	return in.dead, nil
}

// expectHeld makes sure that the replica stands where the walk began, and does not go back.
func (in *Intake) expectHeld(m *meta, target *index.Head) error {
	now := m.head.Head
	if now.AsOf = in.held.AsOf; now != in.held {
		return fmt.Errorf("the replica moved under the walk: %w", ErrBusy)
	}
	switch index.Compare(target, &m.head.Head) {
	case index.Older:
		return fmt.Errorf("seq %d of epoch %v: %w", m.head.Seq, m.head.Epoch, ErrOlder)
	case index.Equivocation:
		return fmt.Errorf("the owner signed another state at seq %d of epoch %v: %w", m.head.Seq, m.head.Epoch, ErrMismatch)
	}
	return nil
}

// gone checks that nothing is left below ids that are not there any more.
func (d *deltaShape) gone(spans []proof.Span) error {
	const q = "SELECT e.parent FROM main.entries e WHERE e.parent BETWEEN ? AND ?" +
		" AND NOT EXISTS (SELECT 1 FROM main.entries p WHERE p.id = e.parent) LIMIT 1"
	for _, g := range spans {
		n, err := d.c.int(q, max(g.Lo, index.RootID), g.Hi) // no row but the root has parent 0
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		return noFolder(n)
	}
	return nil
}
