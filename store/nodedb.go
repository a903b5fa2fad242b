package store

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
)

// nodeDB is node.db: one connection, used by one caller at a time. It is small, and its answers are point queries.
type nodeDB struct {
	path  string
	mu    sync.Mutex
	c     *conn
	steps *steps
}

// NodeDBError says that node.db is damaged. It doesn't wrap [ErrCorrupt]: the locations' files are not at fault.
type NodeDBError struct {
	Path string
	Err  error // what was found
}

// Error names the file and what is wrong with it.
func (e *NodeDBError) Error() string {
	if what := e.Err.Error(); strings.Contains(what, e.Path) {
		return what
	}
	return e.Path + ": " + e.Err.Error()
}

// openNodeDB opens node.db, or makes it. For writing all of it is checked first: it is small, and everything hangs on it.
func openNodeDB(path string, readOnly bool, p *steps) (*nodeDB, error) {
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	n := &nodeDB{path: path, steps: p}
	a := accessFull
	if readOnly {
		a = accessRead
	}
	if n.c, err = openConn(path, a); err != nil {
		return nil, n.fault(err)
	}
	if !fresh {
		fresh, err = n.verify(!readOnly)
	}
	switch {
	case err == nil && fresh && readOnly:
		err = ErrNotFound
	case err == nil && fresh:
		err = n.create()
	}
	if err != nil {
		return nil, errors.Join(n.fault(fmt.Errorf("%s: %w", path, err)), n.close())
	}
	return n, nil
}

// verify checks a file that is there, and reports whether a crash came before the schema.
func (n *nodeDB) verify(whole bool) (fresh bool, err error) {
	if whole {
		if err := fileCheck(context.Background(), n.c, "PRAGMA quick_check(1)"); err != nil {
			return false, err
		}
	}
	tables, err := n.c.int("SELECT count(*) FROM sqlite_schema")
	if err != nil || tables == 0 {
		return err == nil, err
	}
	return false, n.c.expect(nodeAppID, nodeVersion)
}

func (n *nodeDB) create() error {
	return n.c.tx(func() error {
		if err := n.steps.at("node.db: create schema"); err != nil {
			return err
		}
		if err := n.c.create(nodeAppID, nodeVersion, schema("node.sql")); err != nil {
			return err
		}
		return n.steps.at("node.db: commit schema")
	})
}

// fault makes damage that of node.db.
func (n *nodeDB) fault(err error) error {
	if _, known := errors.AsType[*NodeDBError](err); known || !errors.Is(err, ErrCorrupt) {
		return err
	}
	return &NodeDBError{Path: n.path, Err: err}
}

func (n *nodeDB) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.c == nil {
		return nil
	}
	err := n.c.close()
	n.c = nil
	return err
}

// with runs f alone on the connection.
func (n *nodeDB) with(ctx context.Context, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.c == nil {
		return ErrClosed
	}
	return n.fault(f(n.c))
}

// tx runs f alone, in a write transaction.
func (n *nodeDB) tx(ctx context.Context, f func(*conn) error) error {
	defer n.steps.passed("node.db: done")
	return n.with(ctx, func(c *conn) error {
		if err := n.steps.at("node.db: begin"); err != nil {
			return err
		}
		return c.tx(func() error {
			if err := f(c); err != nil {
				return err
			}
			return n.steps.at("node.db: commit")
		})
	})
}

func (n *nodeDB) generation(ctx context.Context, l index.Location) (int64, error) {
	gen, _, err := n.pointer(ctx, l)
	return gen, err
}

// pointer reads the generation of a location, and why it is quarantined, "" if it isn't.
func (n *nodeDB) pointer(ctx context.Context, l index.Location) (gen int64, why string, err error) {
	err = n.with(ctx, func(c *conn) error {
		row, err := c.one("SELECT generation, quarantine FROM location WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
		if err == nil {
			gen, _ = row[0].(int64)
			why, _ = row[1].(string)
		}
		return err
	})
	return gen, why, err
}

func (n *nodeDB) generations(ctx context.Context) (map[index.Location]int64, error) {
	out := map[index.Location]int64{}
	err := n.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id, generation FROM location") {
			if err != nil {
				return err
			}
			out[rowLocation(row)], _ = row[2].(int64)
		}
		return nil
	})
	return out, err
}

// nextGeneration takes a number that no file ever had. It is committed before it is used, so a crash skips it.
func (n *nodeDB) nextGeneration(ctx context.Context) (int64, error) {
	var gen int64
	err := n.tx(ctx, func(c *conn) error {
		last, err := c.int("SELECT value FROM setting WHERE key = 'generation'")
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		gen = last + 1
		return setSetting(c, "generation", gen)
	})
	if err != nil {
		return 0, fmt.Errorf("take a generation: %w", err)
	}
	return gen, nil
}

// point makes a generation the one in use. What was known of the one before is forgotten, a quarantine too.
func (n *nodeDB) point(ctx context.Context, l index.Location, gen int64) error {
	return n.tx(ctx, func(c *conn) error { return setGeneration(c, l, gen) })
}

func setGeneration(c *conn, l index.Location, gen int64) error {
	return c.run("INSERT OR REPLACE INTO location (owner, id, generation, since, checked, quarantine) VALUES (?, ?, ?, ?, 0, '')",
		l.Owner[:], l.ID[:], gen, time.Now().UnixNano())
}

// unpoint forgets a location's file.
func (n *nodeDB) unpoint(ctx context.Context, l index.Location) error {
	return n.tx(ctx, func(c *conn) error {
		return c.run("DELETE FROM location WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
	})
}

func setSetting(c *conn, key string, value driver.Value) error {
	return c.run("INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}

// Setting reads a single value kept by a key, as int64, string or []byte, or ErrNotFound.
func (s *Store) Setting(ctx context.Context, key string) (any, error) {
	var v any
	err := s.node.with(ctx, func(c *conn) error {
		row, err := c.one("SELECT value FROM setting WHERE key = ?", key)
		if err != nil {
			return err
		}
		v = row[0]
		if b, ok := v.([]byte); ok {
			v = bytes.Clone(b)
		}
		return nil
	})
	return v, err
}

// SetSetting keeps an int64, string or []byte by a key.
func (s *Store) SetSetting(ctx context.Context, key string, value any) error {
	return s.node.tx(ctx, func(c *conn) error { return setSetting(c, key, value) })
}

func rowLocation(row []driver.Value) index.Location {
	var l index.Location
	owner, _ := row[0].([]byte)
	id, _ := row[1].([]byte)
	copy(l.Owner[:], owner)
	copy(l.ID[:], id)
	return l
}

func compareLocations(a, b index.Location) int {
	if c := bytes.Compare(a.Owner[:], b.Owner[:]); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

func sortedLocations[V any](m map[index.Location]V) []index.Location {
	out := make([]index.Location, 0, len(m))
	for l := range m {
		out = append(out, l)
	}
	slices.SortFunc(out, compareLocations)
	return out
}
