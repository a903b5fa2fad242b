package store

import (
	"context"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Same is what a person answered to whether a location of another device is the same folder as an own one.
type Same struct {
	Location index.Location   // of the other device
	Own      index.LocationID // of this one
	Yes      bool             // it is the same
	Evidence string           // what spoke for it, as node/api spells it; "" = not looked for
	Mine     string           // Filesystem of the own location's record then
	Theirs   string           // and of the other's
	At       time.Time        // of the answer
	Differs  time.Time        // since when the two are too different to be one; zero = they aren't
}

// Sames reads all answers, in order of owner and IDs.
func (s *Store) Sames(ctx context.Context) ([]Same, error) {
	var out []Same
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id, own, same, evidence, mine, theirs, at, differs FROM same ORDER BY owner, id, own") {
			if err != nil {
				return err
			}
			x := Same{Location: rowLocation(row)}
			own, _ := row[2].([]byte)
			copy(x.Own[:], own)
			yes, _ := row[3].(int64)
			x.Yes = yes != 0
			x.Evidence, _ = row[4].(string)
			mine, _ := row[5].([]byte)
			theirs, _ := row[6].([]byte)
			x.Mine, x.Theirs = string(mine), string(theirs)
			at, _ := row[7].(int64)
			x.At = time.Unix(0, at)
			if differs, _ := row[8].(int64); differs != 0 {
				x.Differs = time.Unix(0, differs)
			}
			out = append(out, x)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("same folders: %w", err)
	}
	return out, nil
}

// SetSame writes an answer over the one before on the same two locations. A location of another device is the same as one
// own location at most: an earlier yes about another one is forgotten with a new yes. Differs is not
// written: see [Store.SetDiffers].
func (s *Store) SetSame(ctx context.Context, x Same) error {
	yes := int64(0)
	if x.Yes {
		yes = 1
	}
	return s.node.tx(ctx, func(c *conn) error {
		if x.Yes {
			err := c.run("DELETE FROM same WHERE owner = ? AND id = ? AND same = 1", x.Location.Owner[:], x.Location.ID[:])
			if err != nil {
				return err
			}
		}
		return c.run("INSERT OR REPLACE INTO same (owner, id, own, same, evidence, mine, theirs, at, differs) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
			x.Location.Owner[:], x.Location.ID[:], x.Own[:], yes, x.Evidence, []byte(x.Mine), []byte(x.Theirs), x.At.UnixNano())
	})
}

// SetDiffers writes the time of an answer since when its two locations are too different. If another answer was given
// meanwhile, it does nothing.
func (s *Store) SetDiffers(ctx context.Context, x Same) error {
	differs := int64(0)
	if !x.Differs.IsZero() {
		differs = x.Differs.UnixNano()
	}
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("UPDATE same SET differs = ? WHERE owner = ? AND id = ? AND own = ? AND at = ?",
			differs, x.Location.Owner[:], x.Location.ID[:], x.Own[:], x.At.UnixNano())
	})
}

// ForgetSame forgets an answer. If another one was given meanwhile, it does nothing.
func (s *Store) ForgetSame(ctx context.Context, x Same) error {
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("DELETE FROM same WHERE owner = ? AND id = ? AND own = ? AND at = ?",
			x.Location.Owner[:], x.Location.ID[:], x.Own[:], x.At.UnixNano())
	})
}
