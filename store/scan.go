package store

import (
	"context"
	"database/sql/driver"

	"github.com/peerdex/peerdex/index"
)

// searchSQL returns the statement for one part. Its values are the ids at the ends, then what the order adds, then those
// of the condition.
func searchSQL(where string, order Order) string {
	sql := "SELECT " + entryColumns + " FROM entries WHERE id BETWEEN ? AND ?"
	if column := order.column(); column != "" {
		sql += " AND " + column + " BETWEEN ? AND ?"
	}
	return sql + " AND " + where
}

// find calls f for what the query finds in a part, by id.
func (w *sweep) find(ctx context.Context, c *sweeper, sp span, f func(Found) error) error {
	return w.scan(ctx, c, sp, nil, func(e *index.Entry) error {
		folder, err := c.folder(e.Parent)
		if err != nil {
			return err
		}
		if path := joinPath(folder, e.Name); w.matchPath(path) {
			return f(Found{Entry: *e, Path: path, In: w.at})
		}
		return nil
	})
}

// scan calls f for the rows of a part that the query finds as far as it says nothing of paths. More are the values that
// the order adds to the statement.
func (w *sweep) scan(ctx context.Context, c *sweeper, sp span, more []any, f func(*index.Entry) error) error {
	if sp.ids == nil {
		return w.each(ctx, c, w.sql, w.values(append([]any{sp.lo, sp.hi}, more...)...), f)
	}
	for _, id := range sp.ids {
		const q = "SELECT " + entryColumns + " FROM entries WHERE id = ?"
		if err := w.each(context.Background(), c, q, []driver.Value{id}, f); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (w *sweep) each(ctx context.Context, c *sweeper, sql string, args []driver.Value, f func(*index.Entry) error) error {
	for row, err := range c.query(ctx, sql, args...) {
		if err != nil {
			return err
		}
		var e index.Entry
		if err := scanEntry(row, &e); err != nil {
			return err
		}
		if !w.query.Match(&e) {
			continue
		}
		if err := f(&e); err != nil {
			return err
		}
	}
	return nil
}

// values returns the values of a statement: its own first ones, then those of the query.
func (w *sweep) values(first ...any) []driver.Value {
	out := make([]driver.Value, 0, len(first)+len(w.args))
	for _, list := range [...][]any{first, w.args} {
		for _, v := range list {
			out = append(out, v)
		}
	}
	return out
}
