package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// minSQLite is the first version without the race that lost or corrupted commits in WAL mode.
const minSQLite = 3_051_003

// Errors of the store.
var (
	// ErrNotFound is returned for locations, entries and paths that are not there.
	ErrNotFound = errors.New("not found")
	// ErrDiskFull is returned when the disk is full. The transaction was rolled back, nothing else is lost.
	ErrDiskFull = errors.New("the disk is full")
	// ErrNewerVersion is returned when a database was written by a newer peerdex.
	ErrNewerVersion = errors.New("written by a newer version of peerdex")
	// ErrCorrupt is returned when a file does not hold what it must.
	ErrCorrupt = errors.New("the database is damaged")
	// ErrLocked is returned when another process has the data folder; see LockedError.
	ErrLocked = errors.New("another peerdex uses this data folder")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the store is closed")
)

// access says how a database file is opened.
type access int

const (
	accessFull    access = iota // owner's data: WAL, synchronous=FULL
	accessReplica               // replicas and staging: WAL, synchronous=NORMAL
	accessRead                  // read-only
	accessScratch               // a file that is nothing until it is complete: no journal, nothing synced
	accessForeign               // in memory; a file that is not trusted will be attached
	accessShared                // in memory, by a name that other connections of this process can attach
)

// conn is one SQLite connection with its prepared statements. Not safe for concurrent use.
type conn struct {
	*sqlite3.SQLiteConn
	stmts map[string]*sqlite3.SQLiteStmt
	vals  []driver.NamedValue
}

// memory is the path of a database that has no file.
const memory = ":memory:"

func dsn(path string, a access) string {
	q := url.Values{
		"_busy_timeout": {"10000"},
		"_mutex":        {"no"}, // a connection is one goroutine's at a time anyway; to interrupt it needs no lock
		"_cache_size":   {"-16384"},
		"_query_only":   {"0"},
	}
	switch a {
	case accessFull:
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
	case accessReplica:
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "NORMAL")
	case accessScratch:
		q.Set("_journal_mode", "OFF")
		q.Set("_synchronous", "OFF")
		q.Set("_cache_size", "-8192") // what is written once and sorted is done sooner while it fits the processor's caches
	case accessForeign:
		q.Set("_cache_size", "-4096")
	case accessShared:
		q.Set("vfs", "memdb")
		q.Set("_journal_mode", "OFF")
		q.Set("_synchronous", "OFF")
	case accessRead:
		q.Set("mode", "ro")
		q.Set("_query_only", "1")
		q.Set("_cache_size", "-8192")
	}
	if path == memory {
		return path + "?" + q.Encode()
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// openConn opens the database at path; the file is created unless a is accessRead.
func openConn(path string, a access) (*conn, error) {
	if _, v, _ := sqlite3.Version(); v < minSQLite {
		return nil, fmt.Errorf("SQLite %d is too old, want %d or newer", v, minSQLite)
	}
	drv := &sqlite3.SQLiteDriver{}
	c, err := drv.Open(dsn(path, a))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, dbError(err))
	}
	cn := &conn{SQLiteConn: c.(*sqlite3.SQLiteConn), stmts: map[string]*sqlite3.SQLiteStmt{}}
	// Trusted_schema off: no function with side effects from a schema that another device may have written.
	if err := cn.script("PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA journal_size_limit=67108864;"); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), cn.close())
	}
	return cn, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.SQLiteConn.Close())...)
}

// script runs statements that take no arguments.
func (c *conn) script(sql string) error {
	_, err := c.Exec(sql, nil)
	return dbError(err)
}

func (c *conn) prepare(sql string) (*sqlite3.SQLiteStmt, error) {
	if s, ok := c.stmts[sql]; ok {
		return s, nil
	}
	if c.stmts == nil {
		return nil, ErrClosed
	}
	s, err := c.Prepare(sql)
	if err != nil {
		return nil, dbError(err)
	}
	st := s.(*sqlite3.SQLiteStmt)
	c.stmts[sql] = st
	return st, nil
}

func (c *conn) bind(args []driver.Value) []driver.NamedValue {
	if cap(c.vals) < len(args) {
		c.vals = make([]driver.NamedValue, len(args))
	}
	nv := c.vals[:len(args)]
	for i, a := range args {
		nv[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return nv
}

// run executes a prepared statement whose outcome is not needed. It goes through the driver's query path, which
// binds and steps in one crossing into C: three times as fast as its exec path for rows of ten columns.
func (c *conn) run(sql string, args ...driver.Value) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), c.bind(args))
	if err != nil {
		return dbError(err)
	}
	return dbError(rows.Close())
}

// exec executes a prepared statement and returns the number of rows changed.
func (c *conn) exec(sql string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return 0, dbError(err)
	}
	return r.RowsAffected()
}

// work executes a statement that may take long; ctx interrupts it.
func (c *conn) work(ctx context.Context, sql string, args ...driver.Value) error {
	for _, err := range c.query(ctx, sql, args...) {
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	return nil
}

// query yields the rows of a prepared statement. The slice is reused. ctx interrupts a long step; it costs a little a
// row, so point queries pass the background context.
func (c *conn) query(ctx context.Context, sql string, args ...driver.Value) iter.Seq2[[]driver.Value, error] {
	return func(yield func([]driver.Value, error) bool) {
		s, err := c.prepare(sql)
		if err != nil {
			yield(nil, err)
			return
		}
		rows, err := s.QueryContext(ctx, c.bind(args))
		if err != nil {
			yield(nil, dbError(err))
			return
		}
		dest := make([]driver.Value, len(rows.Columns()))
		for {
			err := rows.Next(dest)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				_ = rows.Close()
				yield(nil, dbError(err))
				return
			}
			if !yield(dest, nil) {
				break
			}
		}
		if err := rows.Close(); err != nil {
			yield(nil, dbError(err))
		}
	}
}

// one returns the first row of a prepared statement, or ErrNotFound.
func (c *conn) one(sql string, args ...driver.Value) ([]driver.Value, error) {
	for row, err := range c.query(context.Background(), sql, args...) {
		if err != nil {
			return nil, err
		}
		return row, nil
	}
	return nil, ErrNotFound
}

// int returns the first column of the first row.
func (c *conn) int(sql string, args ...driver.Value) (int64, error) {
	row, err := c.one(sql, args...)
	if err != nil {
		return 0, err
	}
	n, _ := row[0].(int64)
	return n, nil
}

// tx runs f in a write transaction: committed if f returns nil, otherwise rolled back.
func (c *conn) tx(f func() error) error {
	if err := c.run("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := f(); err != nil {
		return errors.Join(err, c.rollback())
	}
	if err := c.run("COMMIT"); err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), c.rollback())
	}
	return nil
}

// view runs f in a read transaction.
func (c *conn) view(f func() error) error {
	if err := c.run("BEGIN"); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	return errors.Join(f(), c.rollback())
}

// rollback ends a transaction, if SQLite has not ended it by itself.
func (c *conn) rollback() error {
	if c.AutoCommit() {
		return nil
	}
	if err := c.run("ROLLBACK"); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// create makes a fresh schema, marked as ours.
func (c *conn) create(appID, version int, scripts ...string) error {
	for _, s := range scripts {
		if err := c.script(s); err != nil {
			return fmt.Errorf("create schema: %w", err)
		}
	}
	return c.script("PRAGMA application_id=" + strconv.Itoa(appID) + "; PRAGMA user_version=" + strconv.Itoa(version))
}

// expect checks that the database is of our kind and of a version that we know.
func (c *conn) expect(appID, version int) error {
	id, err := c.int("PRAGMA application_id")
	if err != nil {
		return err
	}
	v, err := c.int("PRAGMA user_version")
	if err != nil {
		return err
	}
	switch {
	case id != int64(appID):
		return fmt.Errorf("application id %#x, want %#x: %w", id, appID, ErrCorrupt)
	case v > int64(version):
		return fmt.Errorf("schema %d, this program knows %d: %w", v, version, ErrNewerVersion)
	case v < int64(version):
		return fmt.Errorf("schema %d, want %d: %w", v, version, ErrCorrupt)
	}
	return nil
}

// dbError gives SQLite's errors that callers must tell apart a name.
func dbError(err error) error {
	var se sqlite3.Error
	if err == nil || !errors.As(err, &se) {
		return err
	}
	switch se.Code {
	case sqlite3.ErrFull:
		return fmt.Errorf("%w (%w)", ErrDiskFull, err)
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return fmt.Errorf("%w (%w)", ErrCorrupt, err)
	case sqlite3.ErrIoErr:
		if strings.Contains(se.Error(), "no space") {
			return fmt.Errorf("%w (%w)", ErrDiskFull, err)
		}
	}
	return err
}
