package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync/atomic"

	sqlite3 "github.com/mattn/go-sqlite3"
	"golang.org/x/sync/errgroup"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// ErrOlder is returned when a snapshot is older than the replica that is held.
var ErrOlder = errors.New("the replica held is newer")

// Import reads a snapshot that another device exported, proves it right, and makes it the replica of a location, under
// a head and record that the caller takes from anywhere: signature and hash are checked here; that the owner is a member
// is for the caller to know. Nothing of the file is trusted. The error is [ErrCorrupt] or [ErrNewerVersion] if the file is
// not one that exports make, [ErrMismatch] if it holds something else than what the owner signed, [ErrOlder] if the
// replica held is not older, [ErrBusy] if the location is being filled already. Then nothing became visible, and nothing
// is left in staging/.
func (s *Store) Import(ctx context.Context, l index.Location, r io.Reader, head index.SignedHead, record []byte, v Variant) error {
	_, path := s.newSnapshotPath()
	return s.importing(ctx, l, path, head, record, v, func() error {
		if err := createPrivate(path); err != nil {
			return err
		}
		return copyIn(ctx, path, r, maxSnapshot(&head.Head))
	})
}

// ImportFile is [Store.Import] of a file that the caller put on the same filesystem and gives away: it is moved, not
// copied, and gone afterwards unless the import could not begin.
func (s *Store) ImportFile(ctx context.Context, l index.Location, file string, head index.SignedHead, record []byte, v Variant) error {
	_, path := s.newSnapshotPath()
	return s.importing(ctx, l, path, head, record, v, func() error {
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a file: %w", file, index.ErrInvalid)
		}
		if err := os.Rename(file, path); err != nil {
			return err
		}
		if limit := maxSnapshot(&head.Head); info.Size() > limit {
			return fmt.Errorf("file of %d bytes, limit %d: %w", info.Size(), limit, ErrCorrupt)
		}
		return os.Chmod(path, 0o600)
	})
}

func (s *Store) importing(ctx context.Context, l index.Location, path string, head index.SignedHead, record []byte, v Variant, bring func() error) error {
	err := s.claim(l)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	defer s.unclaim(l)
	im := &importer{s: s, loc: l, head: head, record: record, path: path}
	if err := im.expect(ctx); err != nil {
		return fmt.Errorf("import %v: %w", v, err)
	}
	err = bring()
	if err == nil {
		err = im.run(ctx, v)
	}
	if err == nil {
		err = s.dropStaging(l) // of a transfer that was not finished: it leads to where the replica no longer is
	}
	if err = errors.Join(err, removeDB(path)); err != nil {
		return fmt.Errorf("import %v: %w", v, err)
	}
	return nil
}

// run proves the foreign file and makes it, or what is made of it, the replica. If ctx ends, the file is as it was.
func (im *importer) run(ctx context.Context, v Variant) error {
	switch v {
	case Compact:
		return im.compact(ctx)
	case Native:
		return im.native(ctx)
	}
	return fmt.Errorf("%v: %w", v, index.ErrInvalid)
}

// maxSnapshot bounds the size of a snapshot in bytes by what its head says it holds.
func maxSnapshot(h *index.Head) int64 {
	const perEntry, perSeq = 4096, 64 // rows of the largest size, with indexes and tree; dead runs
	return 1<<20 + perEntry*h.Count + perSeq*min(h.Seq, 1<<40)
}

// copyIn copies a snapshot to staging.
func copyIn(ctx context.Context, path string, r io.Reader, limit int64) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for left := limit + 1; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(f, r, min(left, 4<<20))
		left -= n
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("copy to staging: %w", fsError(err))
		}
	}
	return fmt.Errorf("more than %d bytes: %w", limit, ErrCorrupt)
}

// importer is the state of one Import.
type importer struct {
	s      *Store
	loc    index.Location
	head   index.SignedHead
	record []byte
	path   string // the foreign file, in staging/

	nodes   []node       // of the tree, as counted from the rows
	dead    bool         // the foreign file's dead runs from the horizon on are those that the owner signed
	horizon int64        // if dead
	base    index.Hash   // chain of dead runs up to the horizon
	proved  atomic.Int64 // entries
}

// expect checks what can be known without the file.
func (im *importer) expect(ctx context.Context) error {
	if im.loc.Owner == im.s.self {
		return fmt.Errorf("location %v is our own: %w", im.loc, index.ErrInvalid)
	}
	if err := im.head.Verify(); err != nil {
		return err
	}
	if im.head.Location != im.loc {
		return fmt.Errorf("the head is of location %v: %w", im.head.Location, ErrMismatch)
	}
	if index.HashRecord(im.record) != im.head.Record {
		return fmt.Errorf("record: %w", ErrMismatch)
	}
	var rec index.Record
	if err := rec.UnmarshalBinary(im.record); err != nil {
		return invalidRows(err)
	}
	held, err := im.s.Held(ctx, im.loc)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) { // a damaged replica is one to be replaced
		return nil
	}
	if err != nil {
		return err
	}
	switch index.Compare(&im.head.Head, &held.Head.Head) {
	case index.Older:
		return fmt.Errorf("seq %d of epoch %v: %w", held.Head.Seq, held.Head.Epoch, ErrOlder)
	case index.Equivocation:
		return fmt.Errorf("the owner signed another state at seq %d of epoch %v: %w", held.Head.Seq, held.Head.Epoch, ErrMismatch)
	}
	return nil
}

// open checks everything of the foreign file that can be checked without evaluating it, and returns two connections.
func (im *importer) open(ctx context.Context, v Variant) (src, beside *conn, closeBoth func() error, err error) {
	if err := checkHeader(im.path); err != nil {
		return nil, nil, nil, err
	}
	if src, err = openForeign(im.path); err != nil {
		return nil, nil, nil, err
	}
	if err = checkSchema(ctx, src, v); err == nil {
		beside, err = openForeign(im.path)
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, src.close())
	}
	return src, beside, func() error { return errors.Join(src.close(), beside.close()) }, nil
}

// compact copies the rows to a file of ours and builds indexes there, beside SQLite's check and the proof of the rows.
func (im *importer) compact(ctx context.Context) (err error) {
	src, beside, closeBoth, err := im.open(ctx, Compact)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBoth()) }()
	for _, table := range []string{"tree", "dead"} {
		for _, err := range src.query(ctx, "SELECT 1 FROM src."+table+" LIMIT 1") {
			return cmp.Or(foreignError(err), fmt.Errorf("%s is not empty: %w", table, ErrCorrupt))
		}
	}
	_, path := im.s.newSnapshotPath()
	if err := createPrivate(path); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeDB(path)) }() // moved away if all went well
	if err := im.fill(ctx, src, beside, path); err != nil {
		return err
	}
	return im.s.install(ctx, im.loc, path)
}

// fill makes a file of ours out of a foreign one. It is synced when it is installed, and nothing before.
func (im *importer) fill(ctx context.Context, src, beside *conn, path string) (err error) {
	c, err := openConn(path, accessScratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	err = im.prove(ctx,
		prover{src, func(ctx context.Context) error { return checkForeign(ctx, src, "quick_check") }},
		prover{beside, func(ctx context.Context) error { return im.copyRows(ctx, c) }})
	if err != nil {
		return err
	}
	err = c.tx(func() error {
		if err := insertNodes(c, im.nodes); err != nil {
			return err
		}
		return im.describe(c)
	})
	if err != nil {
		return err
	}
	return c.script("PRAGMA journal_mode=WAL")
}

// copyRows fills a new file with the rows of the foreign one. By now its schema is known to be ours.
func (im *importer) copyRows(ctx context.Context, c *conn) error {
	if err := c.create(locationAppID, locationVersion, schema("location.sql")); err != nil {
		return err
	}
	c.SetLimit(sqlite3.SQLITE_LIMIT_LENGTH, foreignLimits[sqlite3.SQLITE_LIMIT_LENGTH])
	if err := c.run("ATTACH ? AS src", attachURI(im.path, "mode=ro&immutable=1")); err != nil {
		return foreignError(err)
	}
	// Columns by name: each row is decoded and written anew, so nothing that hides between the columns comes along.
	err := c.work(ctx, "INSERT INTO main.entries ("+entryColumns+") SELECT "+entryColumns+" FROM src.entries ORDER BY id")
	if err != nil {
		return foreignError(err)
	}
	if err := c.run("DETACH src"); err != nil {
		return err
	}
	_, err = c.ExecContext(ctx, schema("location_index.sql"), nil)
	return errors.Join(ctx.Err(), dbError(err))
}

// native proves the foreign file right by itself, with a second connection beside the first, and adopts it.
func (im *importer) native(ctx context.Context) error {
	if err := im.proveNative(ctx); err != nil {
		return err
	}
	return im.adopt(ctx)
}

func (im *importer) proveNative(ctx context.Context) (err error) {
	src, beside, closeBoth, err := im.open(ctx, Native)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBoth()) }()
	err = im.prove(ctx, prover{conn: src},
		prover{beside, func(ctx context.Context) error { return checkForeign(ctx, beside, "integrity_check") }})
	if err != nil {
		return err
	}
	if err := checkNodes(ctx, src, im.nodes); err != nil {
		return err
	}
	im.dead, err = im.proveDead(ctx, src)
	return err
}

// proveParts is into how many ranges of ids the rows are split, for two workers that share them.
const proveParts = 16

// part is what was found in one range of ids.
type part struct {
	form        shape
	leaves      []node
	count       int64
	first, last int64 // ids
}

// prover is one of two workers that share the rows, by a connection of its own.
type prover struct {
	conn  *conn
	first func(context.Context) error // done before it turns to the rows; may be nil
}

// prove reads all rows, checks each and all together, and compares them with the head. It keeps the nodes of the tree,
// in order of level and index.
func (im *importer) prove(ctx context.Context, provers ...prover) error {
	var parts [proveParts]part
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range provers {
		g.Go(func() error {
			if p.first != nil {
				if err := p.first(gctx); err != nil {
					return err
				}
			}
			for i := next.Add(1) - 1; i < proveParts; i = next.Add(1) - 1 {
				if err := im.readPart(gctx, p.conn, int(i), &parts[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var form shape
	count, last := int64(0), int64(0)
	for i := range parts {
		p := &parts[i]
		form.join(&p.form)
		im.nodes = append(im.nodes, p.leaves...)
		if count == 0 && p.count > 0 && p.first != index.RootID {
			return fmt.Errorf("the first id is %d: %w", p.first, ErrMismatch)
		}
		count, last = count+p.count, max(last, p.last)
	}
	if count != im.head.Count || last >= im.head.NextID {
		return fmt.Errorf("%d entries up to id %d, the head says %d below %d: %w", count, last, im.head.Count, im.head.NextID, ErrMismatch)
	}
	if err := form.finish(); err != nil {
		return invalidRows(err)
	}
	im.nodes = innerNodes(im.nodes)
	if root := im.nodes[len(im.nodes)-1].hash; root != im.head.Root {
		return fmt.Errorf("root: %w", ErrMismatch)
	}
	return nil
}

// readPart reads the rows of one range of ids; the first and last range have no end.
func (im *importer) readPart(ctx context.Context, c *conn, i int, p *part) error {
	step := (im.head.NextID/proveParts + proof.LeafSize) &^ (proof.LeafSize - 1)
	lo, hi := int64(i)*step, int64(i+1)*step-1
	p.form.from = lo
	if i == 0 {
		lo, p.form.from = math.MinInt64, 0
	}
	if i == proveParts-1 {
		hi = math.MaxInt64
	}
	b := proof.NewBuilder(func(level int, idx int64, h index.Hash) error {
		if level == 0 {
			p.leaves = append(p.leaves, node{level, idx, h})
		}
		return nil
	})
	var e index.Entry
	for row, err := range c.query(context.Background(), "SELECT "+entryColumns+" FROM src.entries WHERE id BETWEEN ? AND ? ORDER BY id", lo, hi) {
		if err != nil {
			return foreignError(err)
		}
		if p.count&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := scanEntry(row, &e); err != nil {
			return err
		}
		if e.Seq < 1 || e.Seq > im.head.Seq {
			return fmt.Errorf("id %d: seq %d, the head's is %d: %w", e.ID, e.Seq, im.head.Seq, ErrMismatch)
		}
		err := p.form.add(&e)
		if err == nil {
			err = b.Add(&e)
		}
		if err != nil {
			return invalidRows(err)
		}
		if p.last = e.ID; p.count == 0 {
			p.first = e.ID
		}
		if p.count++; p.count > im.head.Count {
			return fmt.Errorf("more than %d entries: %w", im.head.Count, ErrMismatch)
		}
	}
	im.proved.Add(p.count)
	_, err := b.Root() // ends the last leaf
	return err
}

// innerNodes appends the nodes above leaves, level by level up to the root.
func innerNodes(nodes []node) []node {
	below := nodes
	for level := 1; level <= proof.Levels; level++ {
		start := len(nodes)
		var n proof.Node
		for i := range below {
			n.Add(int(below[i].idx&(proof.Fan-1)), below[i].hash)
			at := below[i].idx >> proof.FanBits
			if i+1 == len(below) || below[i+1].idx>>proof.FanBits != at {
				h, _ := n.Sum(level, at)
				nodes = append(nodes, node{level, at, h})
				n.Reset()
			}
		}
		below = nodes[start:]
	}
	return nodes
}

// proveDead reports whether the dead runs of an attached foreign file are the last of those that the owner signed, up to
// the head. The chain before them is the file's claim. It is right if the runs lead from there to the signed chain: another
// beginning, or other runs, would be a collision of the hash. From what seq on there are no runs missing is a claim that
// can't be proved, so the horizon is put right below the first run that is there.
func (im *importer) proveDead(ctx context.Context, src *conn) (bool, error) {
	var err error
	if im.base, err = claimedBase(src); err != nil {
		return false, err
	}
	chain := im.base
	last, n := int64(0), 0
	for row, err := range src.query(context.Background(), "SELECT seq, lo, hi FROM src.dead ORDER BY seq") {
		if err != nil {
			return false, foreignError(err)
		}
		if n++; n&1023 == 0 && ctx.Err() != nil {
			return false, ctx.Err()
		}
		d := scanDead(row)
		if d.Validate() != nil || d.Seq <= last || d.Seq > im.head.Seq || d.Hi >= im.head.NextID {
			return false, nil
		}
		if last = d.Seq; n == 1 && !im.base.IsZero() {
			im.horizon = d.Seq - 1
		}
		chain = proof.FoldDead(chain, d)
	}
	if chain != im.head.Dead || n == 0 && !im.base.IsZero() {
		return false, nil
	}
	for _, err := range src.query(ctx, "SELECT d.seq FROM src.dead d JOIN src.entries e ON e.id BETWEEN d.lo AND d.hi LIMIT 1") {
		return false, foreignError(err)
	}
	return true, nil
}

// claimedBase reads the chain of dead runs up to the horizon, as an attached foreign file has it; zero if it has none.
func claimedBase(src *conn) (index.Hash, error) {
	row, err := src.one("SELECT base FROM src.meta")
	if errors.Is(err, ErrNotFound) {
		return index.Hash{}, nil
	}
	if err != nil {
		return index.Hash{}, foreignError(err)
	}
	b, _ := row[0].([]byte)
	if len(b) != 8+index.HashSize {
		return index.Hash{}, nil
	}
	return index.Hash(b[8:]), nil
}

// adopt makes the proved foreign file itself the replica.
func (im *importer) adopt(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // from here on the file changes, and little is left to do
	c, err := openConn(im.path, accessReplica)
	if err != nil {
		return err
	}
	err = c.tx(func() error {
		if err := c.expect(locationAppID, locationVersion); err != nil {
			return err
		}
		return im.describe(c)
	})
	if err == nil {
		err = c.script("PRAGMA wal_checkpoint(TRUNCATE)")
	}
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	return im.s.install(ctx, im.loc, im.path)
}

// describe writes what a file says of itself anew, from the verified head.
func (im *importer) describe(c *conn) error {
	if err := checkCounts(c, &im.head.Head); err != nil {
		return err
	}
	horizon, base := im.horizon, im.base
	if !im.dead {
		horizon, base = im.head.Seq, im.head.Dead
		if err := c.run("DELETE FROM dead"); err != nil {
			return err
		}
	}
	if err := c.run("DELETE FROM meta"); err != nil {
		return err
	}
	return writeMeta(c, &meta{head: im.head, record: im.record, horizon: horizon, base: base})
}

func insertNodes(c *conn, nodes []node) error {
	for i := range nodes {
		n := &nodes[i]
		if err := c.run("INSERT INTO main.tree (level, idx, hash) VALUES (?, ?, ?)", int64(n.level), n.idx, n.hash[:]); err != nil {
			return err
		}
	}
	return nil
}
