package store

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// freshRows holds the rows that a chunk of a commit adds, in a table in memory, until the chunk ends. Then SQLite moves
// them as they are, index by index in the index's own order, and packs pages full: one by one they would leave an eighth
// of both indexes empty.
//
// There are two such tables, each with a connection of its own, so that one is filled while the rows of the other are
// moved. A goroutine fills them, beside the one that adds rows, which hashes and counts meanwhile.
type freshRows struct {
	c      *conn // the location's file; used by flush and by what seal returns only
	bulk   *bulk // statements for it
	stages []*stage
	at     int   // of the stage that is filled
	first  int64 // the lowest id that waits; 0 = none does
	staged bool  // some are in a stage, not only in args
	direct bool  // the chunk's transaction has read from a stage: what comes goes to the file row by row
	args   []driver.Value
	jobs   chan []driver.Value
	free   chan []driver.Value
	done   chan error
}

// stage is a database in memory with a table like the location's.
type stage struct {
	c    *conn
	name string // by which the writer has it attached
	bulk *bulk
}

func newFreshRows(c *conn) *freshRows {
	return &freshRows{c: c, bulk: newBulk(c, "entries"), free: make(chan []driver.Value, freshQueue+2), args: make([]driver.Value, 0, handArgs)}
}

// open makes the stages and attaches them to the writer's connection, which must be free.
func (f *freshRows) open() error {
	if f.stages != nil {
		return nil
	}
	var shape []string
	for row, err := range f.c.query(context.Background(), "SELECT sql FROM main.sqlite_schema WHERE tbl_name = 'entries' ORDER BY rowid") {
		if err != nil {
			return err
		}
		sql, _ := row[0].(string)
		shape = append(shape, sql)
	}
	for i := range 2 {
		s, err := newStage(f.c, fmt.Sprintf("fresh%d", i), strings.Join(shape, ";"))
		if err != nil {
			return fmt.Errorf("table in memory: %w", err)
		}
		f.stages = append(f.stages, s)
	}
	return nil
}

// newStage gives the table in memory the very shape of the file's, without which SQLite would not move rows as they are.
func newStage(writer *conn, name, shape string) (*stage, error) {
	path := "/peerdex-" + rand.Text()
	c, err := openConn(path, accessShared)
	if err != nil {
		return nil, err
	}
	err = c.script(shape)
	if err == nil {
		err = writer.run("ATTACH ? AS "+name, "file:"+path+"?vfs=memdb")
	}
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	return &stage{c: c, name: name, bulk: newBulk(c, "entries")}, nil
}

// close takes the stages away. No transaction may be open on the writer's connection.
func (f *freshRows) close() error {
	errs := []error{f.idle()}
	for _, s := range f.stages {
		errs = append(errs, f.c.run("DETACH "+s.name), s.c.close())
	}
	f.stages = nil
	return errors.Join(errs...)
}

const (
	freshQueue = 4                   // how many times handArgs may wait for the goroutine that inserts them
	handArgs   = 10 * batchRows * 16 // of the rows handed over at a time: goroutines are woken rarely
)

// full reports whether add must not be called before the rows that wait went on, by [freshRows.hand].
func (f *freshRows) full() bool { return len(f.args) == cap(f.args) }

// add takes a row with the highest id so far.
func (f *freshRows) add(e *index.Entry) {
	if f.first == 0 {
		f.first = e.ID
	}
	f.args = entryArgs(f.args, e)
}

// hand passes on the rows that wait, which are handArgs. An error is told by idle.
func (f *freshRows) hand() {
	if f.jobs == nil {
		f.jobs, f.done = make(chan []driver.Value, freshQueue), make(chan error, 1)
		go f.stages[f.at].fill(!f.staged, f.jobs, f.free, f.done)
	}
	f.staged = true
	f.jobs <- f.args
	select {
	case f.args = <-f.free:
	default:
		f.args = make([]driver.Value, 0, handArgs)
	}
}

// fill inserts what is handed over, until the first error.
func (s *stage) fill(first bool, jobs <-chan []driver.Value, free chan<- []driver.Value, done chan<- error) {
	var err error
	if first { // in a transaction that ends when the chunk is sealed
		err = s.c.script("BEGIN; DELETE FROM entries")
	}
	for args := range jobs {
		if err == nil {
			err = insertRows(s.bulk, args)
		}
		free <- args[:0]
	}
	done <- err
}

// idle waits until all that was handed over is in its stage, and returns what went wrong since it was last called.
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

// seal ends a chunk. It returns what moves the chunk's rows to where they belong; further rows are of the next chunk, and
// may be added meanwhile.
func (f *freshRows) seal() (func() error, error) {
	f.direct = false
	args := f.args
	f.first, f.args = 0, make([]driver.Value, 0, handArgs)
	if !f.staged {
		return func() error { return insertRows(f.bulk, args) }, f.idle()
	}
	s := f.stages[f.at]
	f.staged, f.at = false, 1-f.at
	if err := f.idle(); err != nil {
		return nil, err
	}
	if err := errors.Join(insertRows(s.bulk, args), s.c.run("COMMIT")); err != nil {
		return nil, err
	}
	// SELECT * with nothing else is what SQLite moves without decoding.
	fresh := s.name
	return func() error { return f.c.run("INSERT INTO main.entries SELECT * FROM " + fresh + ".entries") }, nil
}

// flush moves all rows to where they belong before their chunk ends.
func (f *freshRows) flush() error {
	if f.first == 0 {
		return nil
	}
	direct := f.direct || f.staged
	move, err := f.seal()
	if err != nil {
		return err
	}
	f.direct = direct
	return move()
}

// insertRows writes rows, as many at a time as one statement takes.
func insertRows(b *bulk, args []driver.Value) error {
	for rows := range slices.Chunk(args, 10*batchRows) {
		if len(rows) == 10*batchRows {
			if err := b.c.run(b.many, rows...); err != nil {
				return err
			}
			continue
		}
		for row := range slices.Chunk(rows, 10) {
			if err := b.c.run(b.one, row...); err != nil {
				return err
			}
		}
	}
	return nil
}

// get reads a row that waits, or returns ErrNotFound.
func (f *freshRows) get(id int64) (index.Entry, error) {
	return f.find(func(row []driver.Value) bool { return row[0] == id },
		"SELECT "+entryColumns+" FROM entries WHERE id = ?", id)
}

// child finds a row that waits by its folder and name, or returns ErrNotFound.
func (f *freshRows) child(parent int64, name string) (index.Entry, error) {
	return f.find(func(row []driver.Value) bool { return row[1] == parent && row[2] == name },
		"SELECT "+entryColumns+" FROM entries WHERE parent = ? AND name = ? ORDER BY id LIMIT 1", parent, name)
}

func (f *freshRows) find(is func(row []driver.Value) bool, sql string, args ...driver.Value) (index.Entry, error) {
	var e index.Entry
	for rows := f.args; len(rows) > 0; rows = rows[10:] {
		if is(rows[:10]) {
			return e, scanEntry(rows[:10], &e)
		}
	}
	if !f.staged {
		return e, ErrNotFound
	}
	if err := f.idle(); err != nil {
		return e, err
	}
	row, err := f.stages[f.at].c.one(sql, args...)
	if err != nil {
		return e, err
	}
	return e, scanEntry(row, &e)
}
