package store

import (
	"context"
	"fmt"

	"github.com/peerdex/peerdex/index"
)

// PageRequest asks for one page of a location.
type PageRequest struct {
	Location index.Location
	Epoch    index.Epoch
	Mode     index.Mode
	Position int64 // highest id (full) or seq (delta) that the receiver has
	Limit    int   // rows, or rows and dead runs
	Count    bool  // fill LeftRows and LeftDead
}

// Page reads one page in one read transaction, together with the head it is read at. It returns
// [index.ErrEpochChanged], [index.ErrProviderBehind], [index.ErrBelowHorizon] or [ErrNotFound] when it can't serve the
// request.
func (s *Store) Page(ctx context.Context, r PageRequest) (index.Page, error) {
	var p index.Page
	err := s.viewLocation(ctx, r.Location, func(c *conn) error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		if m.head.Epoch != r.Epoch {
			return index.ErrEpochChanged
		}
		p = index.Page{Head: m.head, Record: m.record, Horizon: m.horizon, LeftRows: -1, LeftDead: -1}
		switch r.Mode {
		case index.ModeFull:
			return fullPage(ctx, c, &r, &p)
		case index.ModeDelta:
			return deltaPage(ctx, c, &r, &p)
		}
		return fmt.Errorf("mode %d: %w", r.Mode, index.ErrInvalid)
	})
	if err != nil {
		return index.Page{}, err
	}
	return p, nil
}

func fullPage(ctx context.Context, c *conn, r *PageRequest, p *index.Page) error {
	if r.Count {
		p.LeftRows, p.LeftDead = p.Head.Count, 0
		if r.Position > 0 {
			var err error
			if p.LeftRows, err = c.int("SELECT count(*) FROM entries WHERE id > ?", r.Position); err != nil {
				return err
			}
		}
	}
	err := appendRows(ctx, c, &p.Rows, "SELECT "+entryColumns+" FROM entries WHERE id > ? ORDER BY id LIMIT ?", r)
	if err != nil {
		return err
	}
	p.UpTo = r.Position
	if n := len(p.Rows); n > 0 {
		p.UpTo = p.Rows[n-1].ID
	}
	p.Exhausted = len(p.Rows) < r.Limit
	return nil
}

func deltaPage(ctx context.Context, c *conn, r *PageRequest, p *index.Page) error {
	switch {
	case r.Position < p.Horizon:
		return index.ErrBelowHorizon
	case r.Position > p.Head.Seq:
		return index.ErrProviderBehind
	}
	if r.Count {
		if err := countDelta(c, r.Position, p); err != nil {
			return err
		}
	}
	err := appendRows(ctx, c, &p.Rows, "SELECT "+entryColumns+" FROM entries WHERE seq > ? ORDER BY seq LIMIT ?", r)
	if err != nil {
		return err
	}
	for row, err := range c.query(context.Background(), "SELECT seq, lo, hi FROM dead WHERE seq > ? ORDER BY seq LIMIT ?", r.Position, int64(r.Limit)) {
		if err != nil {
			return fmt.Errorf("read dead runs: %w", err)
		}
		var d index.DeadRun
		d.Seq, _ = row[0].(int64)
		d.Lo, _ = row[1].(int64)
		d.Hi, _ = row[2].(int64)
		p.Dead = append(p.Dead, d)
	}
	cutDelta(p, r.Limit)
	return nil
}

// cutDelta keeps the first limit rows and runs by seq, of two lists of at most limit each.
func cutDelta(p *index.Page, limit int) {
	rows, dead := 0, 0
	for rows+dead < limit && (rows < len(p.Rows) || dead < len(p.Dead)) {
		if dead == len(p.Dead) || rows < len(p.Rows) && p.Rows[rows].Seq < p.Dead[dead].Seq {
			p.UpTo = p.Rows[rows].Seq
			rows++
		} else {
			p.UpTo = p.Dead[dead].Seq
			dead++
		}
	}
	if rows+dead < limit {
		p.UpTo, p.Exhausted = p.Head.Seq, true
	}
	p.Rows, p.Dead = p.Rows[:rows], p.Dead[:dead]
}

func countDelta(c *conn, pos int64, p *index.Page) error {
	var err error
	if p.LeftRows, err = c.int("SELECT count(*) FROM entries WHERE seq > ?", pos); err != nil {
		return err
	}
	p.LeftDead, err = c.int("SELECT coalesce(sum(hi - lo + 1), 0) FROM dead WHERE seq > ?", pos)
	return err
}

func appendRows(ctx context.Context, c *conn, dst *[]index.Entry, sql string, r *PageRequest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	*dst = make([]index.Entry, 0, min(r.Limit, 4096))
	for row, err := range c.query(context.Background(), sql, r.Position, int64(r.Limit)) {
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		var e index.Entry
		if err := scanEntry(row, &e); err != nil {
			return err
		}
		*dst = append(*dst, e)
	}
	return nil
}
