package store

import (
	"context"
	"fmt"

	"github.com/peerdex/peerdex/index"
)

// Policies reads what was decided about replicas, as it was set. What was decided for a device as a whole stands under a
// location of that owner whose ID is zero.
func (s *Store) Policies(ctx context.Context) (map[index.Location]string, error) {
	out := map[index.Location]string{}
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id, policy FROM policy") {
			if err != nil {
				return err
			}
			out[rowLocation(row)], _ = row[2].(string)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return out, nil
}

// SetPolicy remembers what was decided for a location, or with a zero ID for its device; "" forgets it.
func (s *Store) SetPolicy(ctx context.Context, l index.Location, policy string) error {
	return s.node.tx(ctx, func(c *conn) error {
		if policy == "" {
			return c.run("DELETE FROM policy WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
		}
		return c.run("INSERT OR REPLACE INTO policy (owner, id, policy) VALUES (?, ?, ?)", l.Owner[:], l.ID[:], policy)
	})
}
