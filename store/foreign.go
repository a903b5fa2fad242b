package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/peerdex/peerdex/index"
)

// An SQLite file that another device made is a program as much as it is data: views, triggers, generated columns,
// expression indexes and virtual tables of its schema run inside of ours. So such a file is looked at in this order, and
// refused at the first step that does not hold:
//
//  1. Its header, in Go, before SQLite sees the file.
//  2. It is attached to a hardened connection, which parses the schema but evaluates nothing of it.
//  3. The text of its schema is compared with ours, byte by byte. Ours has none of the things above. The driver can't
//     turn views and triggers off, so it is this step that does.
//  4. SQLite's own check, and then rows, in Go.

// foreignLimits are SQLite's limits on connections that read foreign files, far above what our own files need.
var foreignLimits = map[int]int{
	sqlite3.SQLITE_LIMIT_LENGTH:              1 << 20,
	sqlite3.SQLITE_LIMIT_SQL_LENGTH:          100_000,
	sqlite3.SQLITE_LIMIT_COLUMN:              50,
	sqlite3.SQLITE_LIMIT_EXPR_DEPTH:          20,
	sqlite3.SQLITE_LIMIT_COMPOUND_SELECT:     3,
	sqlite3.SQLITE_LIMIT_VDBE_OP:             25_000,
	sqlite3.SQLITE_LIMIT_FUNCTION_ARG:        8,
	sqlite3.SQLITE_LIMIT_ATTACHED:            1,
	sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
	sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER:     10,
	sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH:       1,
	sqlite3.SQLITE_LIMIT_WORKER_THREADS:      0,
}

// checkHeader checks the first 100 bytes of a foreign file against what exports write, and the file's size.
func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var h [100]byte
	if _, err := io.ReadFull(f, h[:]); err != nil {
		return fmt.Errorf("file of %d bytes: %w", info.Size(), ErrCorrupt)
	}
	u32 := func(at int) int64 { return int64(binary.BigEndian.Uint32(h[at:])) }
	if string(h[:16]) != "SQLite format 3\x00" {
		return fmt.Errorf("no SQLite file: %w", ErrCorrupt)
	}
	if id, v := u32(68), u32(60); id == locationAppID && v > locationVersion {
		return fmt.Errorf("schema %d, this program knows %d: %w", v, locationVersion, ErrNewerVersion)
	}
	for _, field := range []struct {
		name      string
		got, want int64
	}{
		{"page size", int64(binary.BigEndian.Uint16(h[16:])), pageSize},
		{"write version", int64(h[18]), 1},
		{"read version", int64(h[19]), 1},
		{"reserved bytes", int64(h[20]), 0},
		{"payload fractions", int64(h[21])<<16 | int64(h[22])<<8 | int64(h[23]), 64<<16 | 32<<8 | 32},
		{"size", info.Size(), u32(28) * pageSize},
		{"first free page", u32(32), 0},
		{"free pages", u32(36), 0},
		{"schema format", u32(44), 4},
		{"auto-vacuum root", u32(52), 0},
		{"text encoding", u32(56), 1},
		{"schema version", u32(60), locationVersion},
		{"incremental vacuum", u32(64), 0},
		{"application id", u32(68), locationAppID},
	} {
		if field.got != field.want {
			return fmt.Errorf("%s %d, want %d: %w", field.name, field.got, field.want, ErrCorrupt)
		}
	}
	if slices.ContainsFunc(h[72:92], func(b byte) bool { return b != 0 }) {
		return fmt.Errorf("reserved part of the header: %w", ErrCorrupt)
	}
	return nil
}

// openForeign attaches a foreign file as "src", read-only and without regard to any journal beside it, to a connection
// that can do nothing else: no writing, no functions, no other file. Nothing of the file's schema is evaluated.
func openForeign(path string) (*conn, error) {
	c, err := openConn(memory, accessForeign)
	if err != nil {
		return nil, err
	}
	for id, v := range foreignLimits {
		c.SetLimit(id, v)
	}
	if err := c.run("ATTACH ? AS src", attachURI(path, "mode=ro&immutable=1")); err != nil {
		return nil, errors.Join(foreignError(err), c.close())
	}
	c.RegisterAuthorizer(foreignAuthorizer)
	return c, nil
}

// foreignAuthorizer allows reading, and SQLite's own checks.
func foreignAuthorizer(op int, arg, _, _ string) int {
	switch op {
	case sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_TRANSACTION:
		return sqlite3.SQLITE_OK
	case sqlite3.SQLITE_PRAGMA:
		if arg == "quick_check" || arg == "integrity_check" {
			return sqlite3.SQLITE_OK
		}
	}
	return sqlite3.SQLITE_DENY
}

// foreignError makes every complaint of SQLite about a foreign file the file's fault, but for what is ours: the disk, an
// interruption, memory.
func foreignError(err error) error {
	err = dbError(err)
	var se sqlite3.Error
	if !errors.As(err, &se) || errors.Is(err, ErrCorrupt) {
		return err
	}
	switch se.Code {
	case sqlite3.ErrError, sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrConstraint, sqlite3.ErrFormat, sqlite3.ErrAuth:
		return fmt.Errorf("%w (%w)", ErrCorrupt, err)
	}
	return err
}

// object is one row of sqlite_schema.
type object [4]string

func readSchema(ctx context.Context, c *conn, sql string) ([]object, error) {
	var out []object
	for row, err := range c.query(ctx, sql) {
		if err != nil {
			return nil, foreignError(err)
		}
		var o object
		for i := range o {
			switch v := row[i].(type) {
			case string:
				o[i] = v
			case nil:
				o[i] = "NULL"
			default:
				return nil, fmt.Errorf("schema: %T: %w", v, ErrCorrupt)
			}
		}
		if out = append(out, o); len(out) > 20 {
			return nil, fmt.Errorf("schema: too many objects: %w", ErrCorrupt)
		}
	}
	return out, nil
}

// checkSchema compares the text of every object of an attached foreign file with ours. Nothing may be more or less.
func checkSchema(ctx context.Context, c *conn, v Variant) error {
	ours, err := ourSchema(ctx, v)
	if err != nil {
		return err
	}
	theirs, err := readSchema(ctx, c, "SELECT type, name, tbl_name, sql FROM src.sqlite_schema")
	if err != nil {
		return err
	}
	for _, list := range [][]object{ours, theirs} {
		slices.SortFunc(list, func(a, b object) int { return slices.Compare(a[:], b[:]) })
	}
	if !slices.Equal(ours, theirs) {
		return fmt.Errorf("the schema is not ours: %w", ErrCorrupt)
	}
	return nil
}

func ourSchema(ctx context.Context, v Variant) (out []object, err error) {
	c, err := openConn(memory, accessScratch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	scripts := []string{schema("location.sql")}
	if v == Native {
		scripts = append(scripts, schema("location_index.sql"))
	}
	if err := c.create(locationAppID, locationVersion, scripts...); err != nil {
		return nil, err
	}
	return readSchema(ctx, c, "SELECT type, name, tbl_name, sql FROM sqlite_schema")
}

// checkForeign runs one of SQLite's own checks on an attached foreign file.
func checkForeign(ctx context.Context, c *conn, pragma string) error {
	for row, err := range c.query(ctx, "PRAGMA src."+pragma+"(1)") {
		if err != nil {
			return errors.Join(ctx.Err(), foreignError(err))
		}
		if row[0] != "ok" {
			return fmt.Errorf("%w: %v", ErrCorrupt, row[0])
		}
	}
	return nil
}

// node is one node of the hash tree.
type node struct {
	level int
	idx   int64
	hash  index.Hash
}

// checkNodes compares the stored tree of an attached foreign file with the one counted from its rows.
func checkNodes(ctx context.Context, c *conn, counted []node) error {
	at := 0
	for row, err := range c.query(context.Background(), "SELECT level, idx, hash FROM src.tree ORDER BY level, idx") {
		if at&1023 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return foreignError(err)
		}
		hash, _ := row[2].([]byte)
		if at == len(counted) || row[0] != any(int64(counted[at].level)) || row[1] != any(counted[at].idx) || string(hash) != string(counted[at].hash[:]) {
			return fmt.Errorf("tree: node %v/%v is not the hash of what is below it: %w", row[0], row[1], ErrCorrupt)
		}
		at++
	}
	if at != len(counted) {
		return fmt.Errorf("tree: %d nodes, %d counted: %w", at, len(counted), ErrCorrupt)
	}
	return nil
}
