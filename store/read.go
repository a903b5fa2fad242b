package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
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

// Get reads one entry, by its id, or if that is 0 by its path as [Store.Lookup] takes it. children is how many entries
// are in it.
func (s *Store) Get(ctx context.Context, l index.Location, id int64, path string) (f Found, children int64, err error) {
	err = s.viewLocation(ctx, l, func(c *conn) error {
		var err error
		if f.In, f.Entry, err = find(c, l, id, path); err != nil {
			return err
		}
		if children, err = c.int("SELECT count(*) FROM entries WHERE parent = ?", f.Entry.ID); err != nil {
			return err
		}
		in := &sweeper{conn: c, base: f.In.Record.Base(), paths: map[int64]string{}}
		if f.Path = in.base; f.Entry.ID == index.RootID {
			return nil
		}
		folder, err := in.folder(f.Entry.Parent)
		f.Path = joinPath(folder, f.Entry.Name)
		return err
	})
	if errors.Is(err, ErrNotFound) && f.In != nil {
		return Found{In: f.In}, 0, err
	}
	if err != nil {
		return Found{}, 0, err
	}
	return f, children, nil
}

// find reads one entry, by its id, or if that is 0 by its path, and the state of the location, also if there is no such
// entry.
func find(c *conn, l index.Location, id int64, path string) (*State, index.Entry, error) {
	m, err := readMeta(c)
	if err != nil {
		return nil, index.Entry{}, err
	}
	in := &State{Location: l, Head: m.head}
	if err := in.Record.UnmarshalBinary(m.record); err != nil {
		return nil, index.Entry{}, err
	}
	var e index.Entry
	if id != 0 {
		e, err = entryByID(c, id)
	} else {
		e, err = lookup(c, path)
	}
	return in, e, err
}

// Totals is what lies below a folder, at any depth.
type Totals struct {
	Entries int64 // not counting the folder itself
	Folders int64 // of these
	Bytes   int64 // sum of the sizes of the files, as far as an int64 can say it
}

const totalColumns = " count(*), count(*) FILTER (WHERE kind = 2), coalesce(sum(size >> 32) FILTER (WHERE kind = 1), 0)," +
	" coalesce(sum(size & 4294967295) FILTER (WHERE kind = 1), 0) FROM "

// Totals adds up what lies below a folder, which is given as in [Store.Get]. If the location has no such entry, the
// error is [ErrNotFound], and f.In says which state has none. It may take long for large folders; ctx ends it.
func (s *Store) Totals(ctx context.Context, l index.Location, id int64, path string) (f Found, t Totals, err error) {
	err = s.viewLocation(ctx, l, func(c *conn) error {
		var err error
		if f.In, f.Entry, err = find(c, l, id, path); err != nil {
			return err
		}
		sql, args := "SELECT"+totalColumns+"entries", []driver.Value(nil)
		if f.Entry.ID != index.RootID {
			sql = "WITH RECURSIVE t (id, kind, size) AS (SELECT id, kind, size FROM entries WHERE id = ? UNION ALL" +
				" SELECT e.id, e.kind, e.size FROM t JOIN entries e ON e.parent = t.id) SELECT" + totalColumns + "t"
			args = []driver.Value{f.Entry.ID}
		}
		for row, err := range c.query(ctx, sql, args...) {
			if err != nil {
				return errors.Join(ctx.Err(), err)
			}
			t.Entries, _ = row[0].(int64)
			t.Folders, _ = row[1].(int64)
			high, _ := row[2].(int64)
			low, _ := row[3].(int64)
			t.Bytes = math.MaxInt64
			if high += low >> 32; high <= math.MaxInt32 {
				t.Bytes = high<<32 | low&math.MaxUint32
			}
		}
		t.Entries--
		if f.Entry.Kind == index.KindDir {
			t.Folders--
		}
		return nil
	})
	if err != nil {
		return Found{In: f.In}, Totals{}, err
	}
	return f, t, nil
}

// Listing is one page of a folder.
type Listing struct {
	Head    index.SignedHead
	Record  index.Record
	Folder  index.Entry
	Entries []index.Entry // by raw name; equal names, which no owner of ours makes, by id
	Next    string        // what the next page begins after; "" at the end
}

// List reads one page of the folder at a path (see [Store.Lookup]): at most limit entries, those after a place, which is
// a name or what [Listing].Next said. The listing of something that isn't a folder has no entries.
func (s *Store) List(ctx context.Context, l index.Location, path, after string, limit int) (Listing, error) {
	return s.ListFolder(ctx, l, 0, path, after, limit)
}

// ListFolder is [Store.List] of a folder that is given as in [Store.Get]. If the location has no such entry, the error is
// [ErrNotFound], and the listing has the head that has none.
func (s *Store) ListFolder(ctx context.Context, l index.Location, folder int64, path, after string, limit int) (Listing, error) {
	name, id, err := parsePlace(after)
	if err != nil {
		return Listing{}, err
	}
	var out Listing
	err = s.viewLocation(ctx, l, func(c *conn) error {
		in, e, err := find(c, l, folder, path)
		if in != nil {
			out = Listing{Head: in.Head, Record: in.Record, Folder: e}
		}
		if err != nil {
			return err
		}
		const q = "SELECT " + entryColumns + " FROM entries WHERE parent = ? AND (name, id) > (?, ?) ORDER BY name, id LIMIT ?"
		for row, err := range c.query(context.Background(), q, out.Folder.ID, name, id, int64(limit)+1) {
			if err != nil {
				return err
			}
			if len(out.Entries) == limit {
				name, _ := row[2].(string)
				out.Next = place(&out.Entries[limit-1], name)
				break
			}
			var e index.Entry
			if err := scanEntry(row, &e); err != nil {
				return err
			}
			out.Entries = append(out.Entries, e)
		}
		return nil
	})
	return out, err
}

// place is where a page ends: the last name, and the last id after a slash if the next entry has the same name.
func place(last *index.Entry, next string) string {
	if last.Name != next {
		return last.Name
	}
	return last.Name + "/" + strconv.FormatInt(last.ID, 10)
}

func parsePlace(s string) (name string, id int64, err error) {
	name, number, found := strings.Cut(s, "/")
	if !found {
		return name, math.MaxInt64, nil
	}
	if id, err = strconv.ParseInt(number, 10, 64); err != nil {
		return "", 0, fmt.Errorf("list after %q: %w", s, index.ErrInvalid)
	}
	return name, id, nil
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
