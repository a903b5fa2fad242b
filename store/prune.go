package store

import (
	"context"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// Bounds of the dead runs that a location's file keeps: see [Store.Prune].
const (
	minDeadRuns = 1_000
	maxDeadRuns = 100_000
)

// keepDead is how many dead runs stay, the newest, of a location with so many of them and so many live entries.
func (x *limits) keepDead(runs, live int64) int64 {
	may := max(min(live, x.maxDead), x.minDead)
	if runs <= may {
		return runs
	}
	return may / 2 // so that it is some time until the next
}

// Prune forgets the older dead runs of a location, own or replica, if there are more of them than live entries, or more
// than 100,000; 1,000 may stay in any case. It returns how many it forgot. The horizon rises: a device that stands below
// it can't take a delta from here any more ([index.ErrBelowHorizon]), and compares rows instead. Nothing else changes: the
// head still covers all deletions there ever were. Every device that holds the location prunes by itself, whenever it
// likes. A Commit of the location under way is waited for.
func (s *Store) Prune(ctx context.Context, l index.Location) (int64, error) {
	if s.readOnly {
		return 0, fmt.Errorf("prune: the store was opened for reading: %w", index.ErrInvalid)
	}
	h, release, err := s.use(ctx, l)
	if err != nil {
		return 0, fmt.Errorf("prune location %v: %w", l, err)
	}
	defer release()
	var forgot int64
	err = h.read(ctx, func(c *conn) error { // most often there is nothing to do
		forgot, err = s.prunable(c)
		return err
	})
	if err == nil && forgot > 0 {
		err = h.write(func(c *conn) error {
			return c.tx(func() error {
				forgot, err = s.prune(ctx, c)
				return err
			})
		})
	}
	if err != nil {
		return 0, fmt.Errorf("prune location %v: %w", l, err)
	}
	s.steps.passed("prune: done")
	return forgot, nil
}

// prunable is how many dead runs may go.
func (s *Store) prunable(c *conn) (int64, error) {
	m, err := readMeta(c)
	if err != nil {
		return 0, err
	}
	runs, err := c.int("SELECT count(*) FROM dead")
	return runs - s.limits.keepDead(runs, m.head.Count), err
}

// prune moves the horizon, and the chain up to it, in the transaction that deletes what lies below.
func (s *Store) prune(ctx context.Context, c *conn) (int64, error) {
	n, err := s.prunable(c)
	if n == 0 || err != nil {
		return 0, err
	}
	m, err := readMeta(c)
	if err != nil {
		return 0, err
	}
	for row, err := range c.query(ctx, "SELECT seq, lo, hi FROM dead ORDER BY seq LIMIT ?", n) {
		if err != nil {
			return 0, fmt.Errorf("read dead runs: %w", err)
		}
		d := scanDead(row)
		m.base, m.horizon = proof.FoldDead(m.base, d), d.Seq
	}
	if err := s.steps.at("prune: delete"); err != nil {
		return 0, err
	}
	if err := c.run("DELETE FROM dead WHERE seq <= ?", m.horizon); err != nil {
		return 0, err
	}
	if err := writeMeta(c, &m); err != nil {
		return 0, err
	}
	return n, s.steps.at("prune: commit")
}
