package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// Kinds of staging files.
const (
	stageFull  = "full"  // becomes a generation
	stageDelta = "delta" // is applied to the generation in use
	stageTree  = "tree"  // the same, found by the hash tree; see Store.Reconcile
)

// A delta of at most this many rows and runs is kept in memory until it is applied; a larger one goes to staging.
const deltaInMemory = 10_000

// After so many rows of a full transfer, rows and token are committed to staging.
const stageRows = 5_000

// ErrMismatch is returned when what was received is not what the owner signed, or when the owner signed rows that break
// the rules of package index, which no replica takes. Nothing of it became visible.
var ErrMismatch = errors.New("what was received is not what the owner signed")

// ErrBusy is returned when a location is being filled already.
var ErrBusy = errors.New("a transfer of this location is under way")

// Intake is the one way by which something from a peer enters the store: it takes the pages of a transfer, and puts
// the whole in place when the transfer is done. Make one with [Store.Intake]; always Close it. Not safe for
// concurrent use.
type Intake struct {
	s     *Store
	loc   index.Location
	own   bool // taken back: see [Store.TakeBack]
	token index.Token
	stage *conn  // staging file; nil while a delta is in memory
	kind  string // of the staging file
	rows  []index.Entry
	dead  []index.DeadRun
	done  bool

	resumed bool
	passing *passing // what is known of the rows of a full pass; nil once more than they is staged

	held   index.Head   // where the replica stands; transfers by the tree only, as what follows
	gone   []proof.Span // ids of which all rows are to be deleted
	leaves []int64      // to be hashed anew
}

// Intake begins or resumes a transfer of a replica at the given epoch. Mode [index.ModeDelta] changes the replica held,
// which must be of that epoch; [index.ModeFull] builds a new generation beside it. [Intake.Token] says what is wanted
// next. One Intake of a location can be open: a second one gets [ErrBusy].
func (s *Store) Intake(ctx context.Context, l index.Location, e index.Epoch, mode index.Mode) (*Intake, error) {
	if l.Owner == s.self {
		return nil, fmt.Errorf("location %v is our own: %w", l, index.ErrInvalid)
	}
	return s.newIntake(ctx, &Intake{s: s, loc: l}, e, mode)
}

func (s *Store) newIntake(ctx context.Context, in *Intake, e index.Epoch, mode index.Mode) (*Intake, error) {
	if err := s.claim(in.loc); err != nil {
		return nil, err
	}
	if err := in.begin(ctx, e, mode); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// claim makes the caller the only one who fills a location, until unclaim.
func (s *Store) claim(l index.Location) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.filled[l] || s.closed {
		return fmt.Errorf("location %v: %w", l, ErrBusy)
	}
	s.filled[l] = true
	return nil
}

func (s *Store) unclaim(l index.Location) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.filled, l)
}

func (in *Intake) begin(ctx context.Context, e index.Epoch, mode index.Mode) error {
	if mode == index.ModeDelta {
		held, err := in.s.Held(ctx, in.loc)
		if err != nil {
			return fmt.Errorf("delta: %w", err)
		}
		if held.Head.Epoch != e {
			return index.ErrEpochChanged
		}
		in.kind = stageDelta
		resumed, err := in.resume(func(t *index.Token) bool { return t.Base == held.Head.Head })
		if err != nil || resumed {
			return err
		}
		in.token = index.NewDelta(held.Head.Head)
		return nil
	}
	in.kind = stageFull
	resumed, err := in.resume(func(t *index.Token) bool { return t.Epoch == e })
	if err != nil || resumed {
		return err
	}
	in.token = index.NewFull(in.loc, e)
	if err := in.openStage(in.token); err != nil {
		return err
	}
	in.passing = &passing{tree: treeBuilder(in.stage)}
	return nil
}

// resume takes up the staging file of an earlier try if it is sound and fits; otherwise it deletes it.
func (in *Intake) resume(fits func(*index.Token) bool) (bool, error) {
	path := in.s.stagingPath(in.loc, in.kind)
	if !exists(path) {
		return false, nil
	}
	c, err := openConn(path, accessReplica)
	if err == nil {
		var m meta
		if err = c.expect(locationAppID, locationVersion); err == nil {
			m, err = readMeta(c)
		}
		if err == nil {
			err = in.token.UnmarshalBinary(m.token)
		}
		if err == nil && in.token.Location == in.loc && fits(&in.token) {
			in.stage, in.resumed = c, true
			return true, nil
		}
		_ = c.close()
	}
	return false, removeDB(path)
}

// openStage makes an empty staging file; token is that of a transfer that has nothing yet. Its indexes come when it is
// complete.
func (in *Intake) openStage(token index.Token) error {
	path := in.s.stagingPath(in.loc, in.kind)
	if err := in.s.steps.at("staging: open"); err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	if err := removeDB(path); err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	c, err := openConn(path, accessReplica)
	if err != nil {
		return fmt.Errorf("staging: %w", err)
	}
	in.stage = c
	return c.tx(func() error {
		if err := c.create(locationAppID, locationVersion, schema("location.sql")); err != nil {
			return err
		}
		if err := in.saveToken(token); err != nil {
			return err
		}
		return in.s.steps.at("staging: commit schema")
	})
}

func (in *Intake) saveToken(t index.Token) error {
	b, err := t.MarshalBinary()
	if err != nil {
		return err
	}
	return writeMeta(in.stage, &meta{record: []byte{}, token: b})
}

// Resumed reports whether the transfer goes on with what an earlier one received, maybe from another device.
func (in *Intake) Resumed() bool { return in.resumed }

// Token is the position from which the next page is wanted.
func (in *Intake) Token() index.Token { return in.token }

// Put takes a page that [index.Token.Advance] accepted; next is the token after it. With done, everything received
// is put in place, and the replica stands at p.Head. The error is [ErrMismatch] if it isn't what the owner signed;
// what was staged is deleted then, and the replica stays as it was.
func (in *Intake) Put(ctx context.Context, p *index.Page, next index.Token, done bool) error {
	in.rows = append(in.rows, p.Rows...)
	in.dead = append(in.dead, p.Dead...)
	mode := in.token.Mode // of all rows that wait
	in.token = next
	var err error
	switch {
	case in.kind == stageFull && (done || next.Mode != mode || len(in.rows)+len(in.dead) >= in.s.limits.stageRows):
		err = in.flush(mode)
	case in.kind == stageDelta && in.stage == nil && len(in.rows)+len(in.dead) > in.s.limits.deltaRows:
		if err = in.openStage(index.NewDelta(in.token.Base)); err == nil {
			err = in.flush(mode)
		}
	case in.kind == stageDelta && in.stage != nil:
		err = in.flush(mode)
	case in.kind == stageTree:
		err = in.spill(done)
	}
	if err != nil || !done {
		return err
	}
	if err := in.finish(ctx, p); err != nil {
		if errors.Is(err, ErrMismatch) {
			err = errors.Join(err, in.discard())
		}
		return fmt.Errorf("apply: %w", err)
	}
	in.done = true
	if err := in.discard(); err != nil {
		return err
	}
	return in.s.dropStaging(in.loc) // of the other kind too: it leads to where the replica no longer is
}

// flush commits what is in memory, which came in one mode, to staging, together with the token.
func (in *Intake) flush(mode index.Mode) error {
	err := in.stage.tx(func() error {
		if err := in.s.steps.at("staging: write rows"); err != nil {
			return err
		}
		if err := in.stageRows(mode); err != nil {
			return err
		}
		if err := in.saveToken(in.token); err != nil {
			return err
		}
		return in.s.steps.at("staging: commit")
	})
	in.s.steps.passed("staging: committed")
	if err != nil {
		in.passing = nil
		return fmt.Errorf("staging: %w", err)
	}
	in.rows, in.dead = in.rows[:0], in.dead[:0]
	return nil
}

// passing is the hash tree and the shape of rows that pass on their way to staging: who staged all of them in one go need
// not read them again. Nodes of the tree are staged, too.
type passing struct {
	tree *proof.Builder
	form shape
}

func (in *Intake) stageRows(mode index.Mode) error {
	if in.kind == stageFull && mode == index.ModeFull {
		b := newBulk(in.stage, "entries") // ids only rise in this phase
		for i := range in.rows {
			if err := b.add(&in.rows[i]); err != nil {
				return err
			}
			if in.passing == nil {
				continue
			}
			if in.passing.form.add(&in.rows[i]) != nil {
				in.passing = nil // pages of several heads need not fit before the delta comes
				continue
			}
			if err := in.passing.tree.Add(&in.rows[i]); err != nil {
				return invalidRows(err)
			}
		}
		return b.flush()
	}
	if len(in.rows)+len(in.dead) > 0 {
		in.passing = nil
	}
	if _, err := upsert(in.stage, in.rows); err != nil {
		return err
	}
	for _, d := range in.dead {
		if in.kind == stageFull {
			if err := in.stage.run("DELETE FROM entries WHERE id BETWEEN ? AND ?", d.Lo, d.Hi); err != nil {
				return err
			}
		}
		if err := insertDead(in.stage, d); err != nil {
			return err
		}
	}
	return nil
}

func insertDead(c *conn, d index.DeadRun) error {
	return c.run("INSERT INTO dead (seq, lo, hi) VALUES (?, ?, ?)", d.Seq, d.Lo, d.Hi)
}

// upsert puts rows whose seq is higher than what is there, and returns how many ids are new.
func upsert(c *conn, rows []index.Entry) (int64, error) { return putRows(c, rows, updateNewerSQL) }

// putRows updates the rows that are there, inserts the others, and returns how many ids are new.
func putRows(c *conn, rows []index.Entry, update string) (int64, error) {
	var added int64
	args := make([]driver.Value, 0, 10)
	for i := range rows {
		args = entryArgs(args[:0], &rows[i])
		n, err := c.exec(update, args...)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			if n, err = c.exec(insertEntrySQL+" ON CONFLICT (id) DO NOTHING", args...); err != nil {
				return 0, err
			}
			added += n
		}
	}
	return added, nil
}

// finish puts the transfer in place. The last page names the state that must come out.
func (in *Intake) finish(ctx context.Context, p *index.Page) error {
	if in.token.Dead != p.Head.Dead {
		return fmt.Errorf("chain of dead runs: %w", ErrMismatch)
	}
	if index.HashRecord(p.Record) != p.Head.Record {
		return fmt.Errorf("record: %w", ErrMismatch)
	}
	if in.kind == stageFull {
		return in.adopt(ctx, p)
	}
	return in.applyDelta(ctx, p)
}

// adopt makes the staging file the next generation.
func (in *Intake) adopt(ctx context.Context, p *index.Page) error {
	sign, err := in.signer(ctx)
	if err != nil {
		return err
	}
	c := in.stage
	err = c.tx(func() error {
		if err := checkCounts(c, &p.Head.Head); err != nil {
			return err
		}
		if err := in.prove(p); err != nil {
			return invalidRows(err)
		}
		if err := in.s.steps.at("adopt: write indexes"); err != nil {
			return err
		}
		if err := c.script(schema("location_index.sql")); err != nil {
			return err
		}
		if err := sign(c, &meta{head: p.Head, record: p.Record, horizon: in.token.Base.Seq, base: in.token.Base.Dead}); err != nil {
			return err
		}
		return in.s.steps.at("adopt: commit")
	})
	if err != nil {
		return err
	}
	if err := in.s.steps.at("adopt: checkpoint"); err != nil {
		return err
	}
	if err := c.script("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return err
	}
	if err := in.s.steps.at("adopt: close"); err != nil {
		return err
	}
	in.stage = nil
	if err := c.close(); err != nil {
		return err
	}
	return in.s.install(ctx, in.loc, in.s.stagingPath(in.loc, stageFull))
}

// prove compares the rows that are staged with what the owner signed, and has their tree in staging.
func (in *Intake) prove(p *index.Page) error {
	if in.passing != nil {
		if err := checkRoot(p)(in.passing.tree.Root()); err != nil {
			return err
		}
		return in.passing.form.finish()
	}
	var form shape
	if err := checkRoot(p)(rebuildTree(in.stage, form.add)); err != nil {
		return err
	}
	return form.finish()
}

// invalidRows makes a broken rule of package index a mismatch.
func invalidRows(err error) error {
	if errors.Is(err, index.ErrInvalid) {
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	return err
}

// checkRoot compares the root of a tree with what the owner signed.
func checkRoot(p *index.Page) func(index.Hash, error) error {
	return func(root index.Hash, err error) error {
		if err == nil && root != p.Head.Root {
			err = fmt.Errorf("root: %w", ErrMismatch)
		}
		return err
	}
}

// checkCounts compares what can be counted with what the head says.
func checkCounts(c *conn, h *index.Head) error {
	row, err := c.one("SELECT count(*), coalesce(max(id), 0), coalesce(min(id), 0) FROM entries")
	if err != nil {
		return err
	}
	if row[0] != driver.Value(h.Count) {
		return fmt.Errorf("%v entries, the head says %d: %w", row[0], h.Count, ErrMismatch)
	}
	if highest, _ := row[1].(int64); highest >= h.NextID || row[2] != driver.Value(int64(index.RootID)) {
		return fmt.Errorf("ids %v to %v, next id %d: %w", row[2], row[1], h.NextID, ErrMismatch)
	}
	return nil
}

// applyDelta changes the generation in use in one transaction.
func (in *Intake) applyDelta(ctx context.Context, p *index.Page) error {
	h, release, err := in.s.use(ctx, in.loc)
	if err != nil {
		return err
	}
	defer release()
	return h.write(func(c *conn) error {
		defer in.s.steps.passed("apply: done")
		if in.kind == stageTree {
			return in.applyTree(c, p)
		}
		if in.stage != nil {
			return in.applyStaged(c, p)
		}
		return c.tx(func() error {
			if err := in.applyRows(c, h.reader(ctx), p); err != nil {
				return err
			}
			return in.s.steps.at("apply: commit")
		})
	})
}

func (in *Intake) applyRows(c *conn, beside reader, p *index.Page) (err error) {
	m, err := in.expectBase(c)
	if err != nil {
		return err
	}
	if err := in.s.steps.at("apply: write rows"); err != nil {
		return err
	}
	tree := newTreeWriter(c, beside, in.s.limits.besideLeaves)
	for i := range in.rows {
		tree.put(&in.rows[i])
	}
	for _, d := range in.dead {
		if err := tree.touchRange(d.Lo, d.Hi); err != nil {
			return err
		}
	}
	tree.begin(p.Head.NextID)
	defer func() { err = errors.Join(err, tree.stop()) }()
	count := m.head.Count
	form := newDeltaShape(c)
	for i := range in.rows {
		if err := form.coming(&in.rows[i]); err != nil {
			return invalidRows(err)
		}
	}
	added, err := upsert(c, in.rows)
	if err != nil {
		return err
	}
	count += added
	if err := in.s.steps.at("apply: write dead runs"); err != nil {
		return err
	}
	for _, d := range in.dead {
		n, err := c.exec("DELETE FROM entries WHERE id BETWEEN ? AND ?", d.Lo, d.Hi)
		if err != nil {
			return err
		}
		if err := insertDead(c, d); err != nil {
			return err
		}
		count -= n
	}
	if err := form.finish(in.dead); err != nil {
		return invalidRows(err)
	}
	if err := in.s.steps.at("apply: write tree"); err != nil {
		return err
	}
	return finishDelta(c, tree, p, count, &m)
}

// applyStaged applies a delta that was collected in a staging file.
func (in *Intake) applyStaged(c *conn, p *index.Page) error {
	if err := in.s.steps.at("apply staged: close"); err != nil {
		return err
	}
	stage := in.stage
	in.stage = nil
	if err := stage.close(); err != nil {
		return err
	}
	if err := c.run("ATTACH ? AS staged", in.s.stagingPath(in.loc, stageDelta)); err != nil {
		return fmt.Errorf("attach staging: %w", err)
	}
	err := c.tx(func() error {
		m, err := in.expectBase(c)
		if err != nil {
			return err
		}
		form := newDeltaShape(c)
		if err := form.comingStaged(); err != nil {
			return err
		}
		if err := in.s.steps.at("apply staged: write rows"); err != nil {
			return err
		}
		err = c.script("INSERT INTO main.entries SELECT * FROM staged.entries WHERE true" +
			" ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, name = excluded.name, kind = excluded.kind," +
			" size = excluded.size, mtime = excluded.mtime, mode = excluded.mode, hash = excluded.hash," +
			" attrs = excluded.attrs, seq = excluded.seq WHERE excluded.seq > entries.seq;" +
			" INSERT INTO main.dead SELECT * FROM staged.dead")
		if err != nil {
			return err
		}
		if err := in.s.steps.at("apply staged: delete dead"); err != nil {
			return err
		}
		tree := newTreeWriter(c, nil, 0)
		if err := touchStaged(c, tree); err != nil {
			return err
		}
		dead, err := deleteStagedDead(c, tree)
		if err != nil {
			return err
		}
		if err := form.finish(dead); err != nil {
			return invalidRows(err)
		}
		count, err := c.int("SELECT count(*) FROM main.entries")
		if err != nil {
			return err
		}
		if err := in.s.steps.at("apply staged: write tree"); err != nil {
			return err
		}
		if err := finishDelta(c, tree, p, count, &m); err != nil {
			return err
		}
		return in.s.steps.at("apply staged: commit")
	})
	in.s.steps.passed("apply staged: committed")
	return errors.Join(err, c.run("DETACH staged"))
}

func touchStaged(c *conn, tree *treeWriter) error {
	for row, err := range c.query(context.Background(), "SELECT id FROM staged.entries") {
		if err != nil {
			return err
		}
		id, _ := row[0].(int64)
		tree.touchLeaf(proof.LeafOf(id))
	}
	return nil
}

func deleteStagedDead(c *conn, tree *treeWriter) ([]index.DeadRun, error) {
	var dead []index.DeadRun
	for row, err := range c.query(context.Background(), "SELECT seq, lo, hi FROM staged.dead ORDER BY seq") {
		if err != nil {
			return nil, err
		}
		d := scanDead(row)
		dead = append(dead, d)
		if err := tree.touchRange(d.Lo, d.Hi); err != nil {
			return nil, err
		}
		if err := c.run("DELETE FROM main.entries WHERE id BETWEEN ? AND ?", d.Lo, d.Hi); err != nil {
			return nil, err
		}
	}
	return dead, nil
}

// scanDead reads a row of seq, lo, hi. What has the wrong type becomes 0, which no valid run holds.
func scanDead(row []driver.Value) index.DeadRun {
	var d index.DeadRun
	d.Seq, _ = row[0].(int64)
	d.Lo, _ = row[1].(int64)
	d.Hi, _ = row[2].(int64)
	return d
}

// expectBase makes sure that the replica still stands where the delta began.
func (in *Intake) expectBase(c *conn) (meta, error) {
	m, err := readMeta(c)
	if err != nil {
		return m, err
	}
	if m.head.Head != in.token.Base {
		return m, fmt.Errorf("the replica moved under the delta: %w", ErrBusy)
	}
	return m, nil
}

func finishDelta(c *conn, tree *treeWriter, p *index.Page, count int64, m *meta) error {
	if count != p.Head.Count {
		return fmt.Errorf("%d entries, the head says %d: %w", count, p.Head.Count, ErrMismatch)
	}
	highest, err := c.int("SELECT coalesce(max(id), 0) FROM main.entries")
	if err != nil {
		return err
	}
	if highest >= p.Head.NextID {
		return fmt.Errorf("id %d, next id %d: %w", highest, p.Head.NextID, ErrMismatch)
	}
	if len(tree.dirty) > 0 {
		err = checkRoot(p)(tree.flush(p.Head.NextID))
	} else {
		err = checkRoot(p)(treeRoot(c))
	}
	if err != nil {
		return err
	}
	return writeMeta(c, &meta{head: p.Head, record: p.Record, horizon: m.horizon, base: m.base})
}

// Close ends the Intake. What was received so far is kept for the next one, except for a small delta in memory.
func (in *Intake) Close() error {
	var err error
	if in.stage != nil {
		if !in.done && len(in.rows)+len(in.dead) > 0 {
			err = in.flush(in.token.Mode)
		}
		err = errors.Join(err, in.stage.close())
		in.stage = nil
	}
	in.s.unclaim(in.loc)
	return err
}

// discard deletes what was staged.
func (in *Intake) discard() error {
	if err := in.s.steps.at("staging: delete"); err != nil {
		return err
	}
	in.rows, in.dead, in.gone, in.leaves = nil, nil, nil, nil
	if in.stage != nil {
		err := in.stage.close()
		in.stage = nil
		if err != nil {
			return err
		}
	}
	return removeDB(in.s.stagingPath(in.loc, in.kind))
}

// Discard deletes what was received so far, so that the next Intake starts anew. Close still has to be called.
func (in *Intake) Discard() error { return in.discard() }
