package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// freshRows holds the rows that a chunk of a commit adds, in a table in memory, until they are asked for or the chunk
// ends. Then SQLite moves them as they are, index by index in the index's own order, and packs pages full: one by one
// they would leave an eighth of both indexes empty.
type freshRows struct {
	c      *conn
	first  int64 // the lowest id that waits; 0 = none does
	staged bool  // some are in the table, not only in bulk
	bulk   *bulk
}

// newFreshRows attaches the table to the writer's connection, once. No transaction may be open.
func newFreshRows(c *conn) (*freshRows, error) {
	if !c.fresh {
		if err := attachFresh(c); err != nil {
			return nil, fmt.Errorf("attach memory: %w", err)
		}
		c.fresh = true
	}
	return &freshRows{c: c, bulk: newBulk(c, "fresh.entries")}, nil
}

// attachFresh gives the table in memory the very shape of the file's, without which SQLite would not move rows as they are.
func attachFresh(c *conn) error {
	var shape []string
	for row, err := range c.query(context.Background(), "SELECT sql FROM main.sqlite_schema WHERE tbl_name = 'entries' ORDER BY rowid") {
		if err != nil {
			return err
		}
		sql, _ := row[0].(string)
		shape = append(shape, strings.Replace(sql, " entries", " fresh.entries", 1)) // names of the table and its indexes
	}
	if err := c.script("ATTACH ':memory:' AS fresh"); err != nil {
		return err
	}
	for _, sql := range shape {
		if err := c.script(sql); err != nil {
			return errors.Join(err, c.script("DETACH fresh"))
		}
	}
	return nil
}

// add takes a row with the highest id so far.
func (f *freshRows) add(e *index.Entry) error {
	if f.first == 0 {
		f.first = e.ID
	}
	if err := f.bulk.add(e); err != nil {
		return err
	}
	f.staged = f.staged || f.bulk.n == 0
	return nil
}

// holds reports whether the row of an id may wait here.
func (f *freshRows) holds(id int64) bool { return f.first != 0 && id >= f.first }

// flush moves all rows to where they belong.
func (f *freshRows) flush() error {
	if f.first = 0; !f.staged {
		return f.bulk.flushBy(insertEntrySQL)
	}
	f.staged = false
	if err := f.bulk.flush(); err != nil {
		return err
	}
	// SELECT * with nothing else is what SQLite moves without decoding.
	if err := f.c.run("INSERT INTO main.entries SELECT * FROM fresh.entries"); err != nil {
		return err
	}
	return f.c.run("DELETE FROM fresh.entries")
}

// child finds a row that waits by its folder and name, or ErrNotFound.
func (f *freshRows) child(parent int64, name string) (index.Entry, error) {
	var e index.Entry
	if f.first == 0 {
		return e, ErrNotFound
	}
	if err := f.bulk.flush(); err != nil {
		return e, err
	}
	f.staged = true
	row, err := f.c.one("SELECT "+entryColumns+" FROM fresh.entries WHERE parent = ? AND name = ? ORDER BY id LIMIT 1", parent, name)
	if err != nil {
		return e, err
	}
	return e, scanEntry(row, &e)
}
