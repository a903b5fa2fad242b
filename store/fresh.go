package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// freshRows holds the rows that a chunk of a commit adds, in a table in memory, until they are asked for or the chunk
// ends. Then SQLite moves them as they are, index by index in the index's own order, and packs pages full: one by one
// they would leave an eighth of both indexes empty.
//
// Rows go to the table on a goroutine beside the one that adds them, which hashes and counts meanwhile. So whoever uses
// the writer's connection calls idle first.
type freshRows struct {
	c      *conn
	first  int64 // the lowest id that waits; 0 = none does
	staged bool  // some are in the table, not only in args
	args   []driver.Value
	bulk   *bulk // its statements
	jobs   chan []driver.Value
	free   chan []driver.Value
	done   chan error
}

// newFreshRows attaches the table to the writer's connection, once. No transaction may be open.
func newFreshRows(c *conn) (*freshRows, error) {
	if !c.fresh {
		if err := attachFresh(c); err != nil {
			return nil, fmt.Errorf("attach memory: %w", err)
		}
		c.fresh = true
	}
	return &freshRows{c: c, bulk: newBulk(c, "fresh.entries"), free: make(chan []driver.Value, freshQueue+2)}, nil
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

// freshQueue is how many full statements may wait for the goroutine that runs them.
const freshQueue = 4

// add takes a row with the highest id so far. An error of an earlier one is told by idle.
func (f *freshRows) add(e *index.Entry) {
	if f.first == 0 {
		f.first = e.ID
	}
	f.args = entryArgs(f.args, e)
	if len(f.args) < cap(f.bulk.args) {
		return
	}
	if f.jobs == nil {
		f.jobs, f.done = make(chan []driver.Value, freshQueue), make(chan error, 1)
		go f.work(f.jobs, f.done)
	}
	f.jobs <- f.args
	f.staged = true
	select {
	case f.args = <-f.free:
	default:
		f.args = make([]driver.Value, 0, cap(f.bulk.args))
	}
}

// work inserts what is handed over, until the first error.
func (f *freshRows) work(jobs <-chan []driver.Value, done chan<- error) {
	var err error
	for args := range jobs {
		if err == nil {
			err = f.c.run(f.bulk.many, args...)
		}
		f.free <- args[:0]
	}
	done <- err
}

// idle waits until the connection is free, and returns what went wrong since it was last called.
func (f *freshRows) idle() error {
	if f.jobs == nil {
		return nil
	}
	close(f.jobs)
	f.jobs = nil
	return <-f.done
}

// holds reports whether the row of an id may wait here.
func (f *freshRows) holds(id int64) bool { return f.first != 0 && id >= f.first }

// flush moves all rows to where they belong.
func (f *freshRows) flush() error {
	if err := f.idle(); err != nil {
		return err
	}
	if f.first = 0; !f.staged {
		return f.insert(insertEntrySQL)
	}
	f.staged = false
	if err := f.insert(f.bulk.one); err != nil {
		return err
	}
	// SELECT * with nothing else is what SQLite moves without decoding.
	if err := f.c.run("INSERT INTO main.entries SELECT * FROM fresh.entries"); err != nil {
		return err
	}
	return f.c.run("DELETE FROM fresh.entries")
}

// insert writes the rows that are not handed over yet, one by one.
func (f *freshRows) insert(sql string) error {
	args := f.args
	f.args = f.args[:0]
	for ; len(args) > 0; args = args[10:] {
		if err := f.c.run(sql, args[:10]...); err != nil {
			return err
		}
	}
	return nil
}

// child finds a row that waits by its folder and name, or ErrNotFound.
func (f *freshRows) child(parent int64, name string) (index.Entry, error) {
	var e index.Entry
	if f.first == 0 {
		return e, ErrNotFound
	}
	if err := errors.Join(f.idle(), f.insert(f.bulk.one)); err != nil {
		return e, err
	}
	f.staged = true
	row, err := f.c.one("SELECT "+entryColumns+" FROM fresh.entries WHERE parent = ? AND name = ? ORDER BY id LIMIT 1", parent, name)
	if err != nil {
		return e, err
	}
	return e, scanEntry(row, &e)
}
