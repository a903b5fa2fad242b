package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/index/proof"
)

// Check checks the whole store: SQLite's own check of every file, and that every location's rows, dead runs, counters
// and record agree with its signed head. It returns all violations joined, each wrapping [ErrCorrupt], or nil. It
// reads every row; run it when there is time.
func (s *Store) Check(ctx context.Context) error {
	var errs []error
	err := s.node.with(ctx, func(c *conn) error { return fileCheck(c, "PRAGMA integrity_check(1)") })
	if err != nil {
		errs = append(errs, fmt.Errorf("node.db: %w", err))
	}
	if lib, err := s.Library(ctx); err != nil {
		errs = append(errs, err)
	} else if len(lib.Records) > 0 {
		if _, err := membership.Evaluate(lib.Records); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
	}
	locs, err := s.Locations(ctx)
	errs = append(errs, err)
	for _, l := range locs {
		if err := s.CheckLocation(ctx, l, CheckOptions{Deep: true}); err != nil {
			errs = append(errs, fmt.Errorf("location %v: %w", l, err))
		}
	}
	return errors.Join(errs...)
}

// CheckOptions say how thorough a check of a location is.
type CheckOptions struct {
	// Deep reads and hashes every row, and compares both indexes with the rows: it finds every change of the file that
	// can be seen from outside. Without it, SQLite's quick check, the counts and the signatures are checked, which
	// takes a small part of the time and can miss a changed row.
	Deep bool
}

// CheckLocation checks one location's file; see [Store.Check]. What is wrong is returned joined, wrapping
// [ErrCorrupt].
func (s *Store) CheckLocation(ctx context.Context, l index.Location, opt CheckOptions) error {
	return s.viewLocation(ctx, l, func(c *conn) error {
		sqlCheck := "PRAGMA quick_check(1)"
		if opt.Deep {
			sqlCheck = "PRAGMA integrity_check(1)"
		}
		if err := fileCheck(c, sqlCheck); err != nil {
			return err
		}
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		var errs []error
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...)))
		}
		if err := m.head.Verify(); err != nil {
			fail("head: %v", err)
		}
		if m.head.Location != l {
			fail("the head is of location %v", m.head.Location)
		}
		if index.HashRecord(m.record) != m.head.Record {
			fail("the record is not the one signed")
		}
		if m.token != nil {
			fail("the file is not complete")
		}
		if err := checkCounts(c, &m.head.Head); err != nil {
			fail("%v", err)
		}
		if !opt.Deep {
			return errors.Join(errs...)
		}
		for _, q := range checkQueries {
			n, err := c.int(q.sql, []driver.Value{m.head.Seq, m.horizon}[:q.args]...)
			if err != nil {
				return err
			}
			if n != 0 {
				fail("%d %s", n, q.what)
			}
		}
		errs = append(errs, checkRows(ctx, c), checkDead(ctx, c, &m), checkTree(ctx, c, m.head.Root))
		return errors.Join(errs...)
	})
}

// checkQueries count violations. The first args of head's seq and horizon are bound.
var checkQueries = []struct {
	what, sql string
	args      int
}{
	{"rows above the head's seq", "SELECT count(*) FROM entries WHERE seq > ?", 1},
	{"dead runs outside of horizon and head", "SELECT count(*) FROM dead WHERE seq > ?1 OR seq <= ?2", 2},
	{"rows whose parent is not a folder", "SELECT count(*) FROM entries e LEFT JOIN entries p ON p.id = e.parent" +
		" WHERE e.id <> 1 AND (p.id IS NULL OR p.kind <> 2)", 0},
	{"rows that are declared dead", "SELECT count(*) FROM dead d JOIN entries e ON e.id BETWEEN d.lo AND d.hi", 0},
	{"seqs given twice to rows", "SELECT count(*) - count(DISTINCT seq) FROM entries", 0},
	{"seqs given to a row and to a dead run", "SELECT count(*) FROM dead d JOIN entries e ON e.seq = d.seq", 0},
	{"names that stand twice in a folder", "SELECT count(*) FROM (SELECT 1 FROM entries GROUP BY parent, name HAVING count(*) > 1)", 0},
}

// fileCheck runs one of SQLite's own checks of a whole file.
func fileCheck(c *conn, pragma string) error {
	row, err := c.one(pragma)
	if err != nil {
		return err
	}
	if row[0] != "ok" {
		return fmt.Errorf("%w: %v", ErrCorrupt, row[0])
	}
	return nil
}

// checkRows validates every row by itself.
func checkRows(ctx context.Context, c *conn) error {
	var e index.Entry
	for row, err := range c.query(ctx, "SELECT "+entryColumns+" FROM entries ORDER BY id") {
		if err != nil {
			return err
		}
		if err := scanEntry(row, &e); err != nil {
			return err
		}
		if err := e.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return nil
}

// checkDead folds the chain of dead runs from the horizon on.
func checkDead(ctx context.Context, c *conn, m *meta) error {
	chain := m.base
	for row, err := range c.query(ctx, "SELECT seq, lo, hi FROM dead ORDER BY seq") {
		if err != nil {
			return err
		}
		var d index.DeadRun
		d.Seq, _ = row[0].(int64)
		d.Lo, _ = row[1].(int64)
		d.Hi, _ = row[2].(int64)
		if err := d.Validate(); err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		chain = proof.FoldDead(chain, d)
	}
	if chain != m.head.Dead {
		return fmt.Errorf("%w: the chain of dead runs is not the one signed", ErrCorrupt)
	}
	return nil
}
