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
	"sync"

	"github.com/peerdex/peerdex/index"
)

// nodeDB is node.db: one connection, used by one caller at a time. It is small, and its answers are point queries.
type nodeDB struct {
	mu    sync.Mutex
	c     *conn
	steps *steps
}

func openNodeDB(path string, readOnly bool, p *steps) (*nodeDB, error) {
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	a := accessFull
	if readOnly {
		a = accessRead
	}
	c, err := openConn(path, a)
	if err != nil {
		return nil, err
	}
	if v, err := c.int("PRAGMA user_version"); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), c.close())
	} else if v == 0 && !readOnly {
		fresh = true // a crash before the schema was there
	}
	if fresh {
		err = c.tx(func() error {
			if err := p.at("node.db: create schema"); err != nil {
				return err
			}
			if err := c.create(nodeAppID, nodeVersion, schema("node.sql")); err != nil {
				return err
			}
			return p.at("node.db: commit schema")
		})
	} else {
		err = c.expect(nodeAppID, nodeVersion)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), c.close())
	}
	return &nodeDB{c: c, steps: p}, nil
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
	return f(n.c)
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
	var gen int64
	err := n.with(ctx, func(c *conn) error {
		var err error
		gen, err = c.int("SELECT generation FROM location WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
		return err
	})
	return gen, err
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

// point makes a generation the one in use.
func (n *nodeDB) point(ctx context.Context, l index.Location, gen int64) error {
	return n.tx(ctx, func(c *conn) error { return setGeneration(c, l, gen) })
}

func setGeneration(c *conn, l index.Location, gen int64) error {
	return c.run("INSERT INTO location (owner, id, generation) VALUES (?, ?, ?)"+
		" ON CONFLICT (owner, id) DO UPDATE SET generation = excluded.generation", l.Owner[:], l.ID[:], gen)
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
