package store

import (
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/peerdex/peerdex/index"
)

const entryColumns = "id, parent, name, kind, size, mtime, mode, hash, attrs, seq"

const (
	insertEntrySQL = "INSERT INTO entries (" + entryColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	updateEntrySQL = "UPDATE entries SET parent = ?2, name = ?3, kind = ?4, size = ?5, mtime = ?6, mode = ?7," +
		" hash = ?8, attrs = ?9, seq = ?10 WHERE id = ?1"
	updateNewerSQL = updateEntrySQL + " AND seq < ?10"
)

// entryArgs appends a row's columns in the order of entryColumns.
func entryArgs(args []driver.Value, e *index.Entry) []driver.Value {
	return append(args, e.ID, e.Parent, e.Name, int64(e.Kind), e.Size, e.MTime, int64(e.Mode^usualMode(e.Kind)), blob(e.Hash), blob(e.Attrs), e.Seq)
}

// usualMode is what most entries of a kind have as permission bits. The column holds the difference, since 0 takes no
// space.
func usualMode(k index.Kind) uint32 {
	switch k {
	case index.KindDir:
		return 0o755
	case index.KindSymlink:
		return 0o777
	}
	return 0o644
}

func blob(b []byte) driver.Value {
	if b == nil {
		return nil
	}
	return b
}

func insertEntry(c *conn, e *index.Entry) error {
	return c.run(insertEntrySQL, entryArgs(make([]driver.Value, 0, 10), e)...)
}

// scanEntry reads a row selected by entryColumns.
func scanEntry(row []driver.Value, e *index.Entry) error {
	var ok [8]bool
	var kind, mode int64
	e.ID, ok[0] = row[0].(int64)
	e.Parent, ok[1] = row[1].(int64)
	e.Name, ok[2] = row[2].(string)
	kind, ok[3] = row[3].(int64)
	e.Size, ok[4] = row[4].(int64)
	e.MTime, ok[5] = row[5].(int64)
	mode, ok[6] = row[6].(int64)
	e.Seq, ok[7] = row[9].(int64)
	if ok != [8]bool{true, true, true, true, true, true, true, true} {
		return fmt.Errorf("row %v: wrong types: %w", row[0], ErrCorrupt)
	}
	if kind != int64(index.Kind(kind)) || mode != int64(uint32(mode)) { // what is cut off would not be proved
		return fmt.Errorf("row %v: kind %d, mode %d: %w", row[0], kind, mode, ErrCorrupt)
	}
	e.Kind = index.Kind(kind)
	e.Mode = uint32(mode) ^ usualMode(e.Kind)
	e.Hash, e.Attrs = cloneBlob(row[7]), cloneBlob(row[8])
	return nil
}

func cloneBlob(v driver.Value) []byte {
	b, ok := v.([]byte)
	if !ok {
		return nil
	}
	return append([]byte{}, b...)
}

// batchRows is how many rows one INSERT carries in bulk: the cost of a statement is shared between them.
const batchRows = 32

const rowArgs = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

// bulk inserts rows many at a time. Flush before anything else reads or changes them.
type bulk struct {
	c         *conn
	one, many string // statements
	args      []driver.Value
	n         int
}

func newBulk(c *conn, table string) *bulk {
	return &bulk{
		c:    c,
		one:  "INSERT INTO " + table + " (" + entryColumns + ") VALUES " + rowArgs,
		many: "INSERT INTO " + table + " (" + entryColumns + ") VALUES " + strings.Repeat(rowArgs+", ", batchRows-1) + rowArgs,
		args: make([]driver.Value, 0, 10*batchRows),
	}
}

// add takes a row, and writes all that wait once they are enough for one statement.
func (b *bulk) add(e *index.Entry) error {
	b.args = entryArgs(b.args, e)
	b.n++
	if b.n < batchRows {
		return nil
	}
	err := b.c.run(b.many, b.args...)
	b.args, b.n = b.args[:0], 0
	return err
}

// flush writes the rows that wait, one by one.
func (b *bulk) flush() error {
	args := b.args
	b.args, b.n = b.args[:0], 0
	for ; len(args) > 0; args = args[10:] {
		if err := b.c.run(b.one, args[:10]...); err != nil {
			return err
		}
	}
	return nil
}
