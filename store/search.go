package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"iter"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

// Found is an entry of a location, with its path relative to the root.
type Found struct {
	Entry index.Entry
	Path  string // "/" between names
}

// Search yields the entries of one location that a query matches, in order of id, in one read transaction. The root
// itself is never found. While it is not finished it holds one of the location's few read connections.
func (s *Store) Search(ctx context.Context, l index.Location, q query.Query) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		stopped := errors.New("stopped")
		err := s.viewLocation(ctx, l, func(c *conn) error {
			where, values := q.SQL()
			args := make([]driver.Value, len(values))
			for i, v := range values {
				args[i] = v
			}
			// The driver's cancellation costs a little a row, but a search without hits is one long step.
			for row, err := range c.query(ctx, "SELECT "+entryColumns+" FROM entries WHERE id > 1 AND "+where, args...) {
				if err != nil {
					return err
				}
				var f Found
				if err := scanEntry(row, &f.Entry); err != nil {
					return err
				}
				if !q.Match(&f.Entry) {
					continue
				}
				if f.Path, err = pathOf(c, &f.Entry); err != nil {
					return err
				}
				if !yield(f, nil) {
					return stopped
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, stopped) {
			yield(Found{}, err)
		}
	}
}
