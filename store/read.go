package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// Entry reads one entry by id.
func (s *Store) Entry(ctx context.Context, l index.Location, id int64) (index.Entry, error) {
	var e index.Entry
	err := s.viewLocation(ctx, l, func(c *conn) error {
		var err error
		e, err = entryByID(c, id)
		return err
	})
	return e, err
}

func entryByID(c *conn, id int64) (index.Entry, error) {
	var e index.Entry
	row, err := c.one("SELECT "+entryColumns+" FROM entries WHERE id = ?", id)
	if err != nil {
		return e, fmt.Errorf("entry %d: %w", id, err)
	}
	return e, scanEntry(row, &e)
}

// Lookup finds an entry by its path relative to the root, "/" between names, "" for the root itself.
func (s *Store) Lookup(ctx context.Context, l index.Location, path string) (index.Entry, error) {
	var e index.Entry
	err := s.viewLocation(ctx, l, func(c *conn) error {
		var err error
		e, err = lookup(c, path)
		return err
	})
	return e, err
}

func lookup(c *conn, path string) (index.Entry, error) {
	e, err := entryByID(c, index.RootID)
	for more, rest := path != "", path; err == nil && more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		row, oneErr := c.one("SELECT "+entryColumns+" FROM entries WHERE parent = ? AND name = ? ORDER BY id LIMIT 1", e.ID, name)
		if oneErr != nil {
			return e, fmt.Errorf("path %q: %w", path, oneErr)
		}
		err = scanEntry(row, &e)
	}
	return e, err
}

// Listing is one page of a folder.
type Listing struct {
	Head    index.SignedHead
	Record  index.Record
	Folder  index.Entry
	Entries []index.Entry // by raw name
	More    bool          // there are entries after the last
}

// List reads one page of the folder at a path (see [Store.Lookup]): at most limit entries with names above after. The
// listing of something that isn't a folder has no entries.
func (s *Store) List(ctx context.Context, l index.Location, path, after string, limit int) (Listing, error) {
	var out Listing
	err := s.viewLocation(ctx, l, func(c *conn) error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		out = Listing{Head: m.head}
		if err := out.Record.UnmarshalBinary(m.record); err != nil {
			return err
		}
		if out.Folder, err = lookup(c, path); err != nil {
			return err
		}
		const q = "SELECT " + entryColumns + " FROM entries WHERE parent = ? AND name > ? ORDER BY name, id LIMIT ?"
		for row, err := range c.query(context.Background(), q, out.Folder.ID, after, int64(limit)+1) {
			if err != nil {
				return err
			}
			var e index.Entry
			if err := scanEntry(row, &e); err != nil {
				return err
			}
			out.Entries = append(out.Entries, e)
		}
		if out.More = len(out.Entries) > limit; out.More {
			out.Entries = out.Entries[:limit]
		}
		return nil
	})
	return out, err
}

// Children yields all live entries of a folder by raw name, in one read transaction. While it is not finished it
// holds one of the location's few read connections.
func (s *Store) Children(ctx context.Context, l index.Location, parent int64) iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		stopped := errors.New("stopped")
		err := s.viewLocation(ctx, l, func(c *conn) error {
			const q = "SELECT " + entryColumns + " FROM entries WHERE parent = ? ORDER BY name, id"
			for row, err := range c.query(context.Background(), q, parent) {
				if err == nil {
					err = ctx.Err()
				}
				if err != nil {
					return err
				}
				var e index.Entry
				if err := scanEntry(row, &e); err != nil {
					return err
				}
				if !yield(e, nil) {
					return stopped
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			yield(index.Entry{}, err)
		}
	}
}

// SubtreeSize counts the entries with the given ids and everything below them. Ids that are not live count nothing;
// nested ones count once for each.
func (s *Store) SubtreeSize(ctx context.Context, l index.Location, ids []int64) (int64, error) {
	var n int64
	err := s.viewLocation(ctx, l, func(c *conn) error {
		const q = "WITH RECURSIVE t (id) AS (SELECT id FROM entries WHERE id = ? UNION ALL" +
			" SELECT e.id FROM t JOIN entries e ON e.parent = t.id) SELECT count(*) FROM t"
		for _, id := range ids {
			k, err := c.int(q, id)
			if err != nil {
				return err
			}
			if n += k; ctx.Err() != nil {
				return ctx.Err()
			}
		}
		return nil
	})
	return n, err
}

// pathOf builds an entry's path relative to the root from its parents.
func pathOf(c *conn, e *index.Entry) (string, error) {
	if e.ID == index.RootID {
		return "", nil
	}
	names := []string{e.Name}
	for parent := e.Parent; parent != index.RootID; {
		if len(names) > index.MaxDepth {
			return "", fmt.Errorf("entry %d: deeper than %d folders: %w", e.ID, index.MaxDepth, ErrCorrupt)
		}
		row, err := c.one("SELECT parent, name FROM entries WHERE id = ?", parent)
		if err != nil {
			return "", fmt.Errorf("parent %d of entry %d: %w", parent, e.ID, err)
		}
		name, _ := row[1].(string)
		names = append(names, name)
		parent, _ = row[0].(int64)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String(), nil
}
