package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
)

// LibrarySecretSize is the size of a library secret in bytes.
const LibrarySecretSize = 32

// Library is what this device knows of its library.
type Library struct {
	Records []membership.Record
	Secret  [LibrarySecretSize]byte
}

// Library reads the records of membership and the library secret. Without any, Records is empty.
func (s *Store) Library(ctx context.Context) (Library, error) {
	var lib Library
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT record FROM membership ORDER BY hash") {
			if err != nil {
				return err
			}
			var r membership.Record
			b, _ := row[0].([]byte)
			if err := r.UnmarshalBinary(b); err != nil {
				return fmt.Errorf("membership: %w (%w)", ErrCorrupt, err)
			}
			lib.Records = append(lib.Records, r)
		}
		row, err := c.one("SELECT value FROM setting WHERE key = 'library_secret'")
		if err != nil {
			if len(lib.Records) == 0 {
				return nil
			}
			return fmt.Errorf("library secret: %w", err)
		}
		b, _ := row[0].([]byte)
		copy(lib.Secret[:], b)
		return nil
	})
	return lib, err
}

// AddRecords adds records of membership to the library. Those known already make no difference.
func (s *Store) AddRecords(ctx context.Context, records []membership.Record) error {
	return s.node.tx(ctx, func(c *conn) error { return insertRecords(c, records) })
}

// ReplaceLibrary leaves the library this device was in and enters another, in one transaction, and signs the heads
// of its own locations anew for it. What was heard of other devices' locations, and their replicas, are dropped.
func (s *Store) ReplaceLibrary(ctx context.Context, lib Library) error {
	state, err := membership.Evaluate(lib.Records)
	if err != nil {
		return fmt.Errorf("replace library: %w", err)
	}
	err = s.node.tx(ctx, func(c *conn) error {
		if err := c.script("DELETE FROM membership; DELETE FROM frozen"); err != nil {
			return err
		}
		if err := c.run("DELETE FROM heard WHERE owner <> ?1 OR device <> ?1", s.self[:]); err != nil {
			return err
		}
		if err := insertRecords(c, lib.Records); err != nil {
			return err
		}
		return setSetting(c, "library_secret", lib.Secret[:])
	})
	if err != nil {
		return fmt.Errorf("replace library: %w", err)
	}
	if err := s.dropDamaged(ctx); err != nil {
		return fmt.Errorf("replace library: %w", err)
	}
	return s.EnterLibrary(ctx, state.Library)
}

// dropDamaged deletes replicas of which nothing can be read: nobody in another library will bring them back.
func (s *Store) dropDamaged(ctx context.Context) error {
	locs, err := s.Locations(ctx)
	for _, l := range locs {
		if _, herr := s.Held(ctx, l); l.Owner != s.self && errors.Is(herr, ErrCorrupt) {
			err = errors.Join(err, s.Drop(ctx, l))
		}
	}
	return err
}

// EnterLibrary makes the locations' files agree with the library: own heads are signed for it, replicas of another
// library, and answers about them, are dropped. It is idempotent: call it at start, in case a crash came between the halves of ReplaceLibrary.
func (s *Store) EnterLibrary(ctx context.Context, lib index.LibraryID) error {
	if err := s.forgetForeign(ctx, lib); err != nil {
		return err
	}
	locs, err := s.Locations(ctx)
	if err != nil {
		return err
	}
	for _, l := range locs {
		held, err := s.Held(ctx, l)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
			continue // one damaged file must not keep the others from being used; Check finds it
		case err != nil:
			return err
		case held.Head.Library == lib:
		case l.Owner != s.self:
			err = s.Drop(ctx, l)
		default:
			err = s.resign(ctx, l, lib)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func insertRecords(c *conn, records []membership.Record) error {
	for i := range records {
		h := records[i].Hash()
		b, err := records[i].MarshalBinary()
		if err != nil {
			return err
		}
		if err := c.run("INSERT INTO membership (hash, record) VALUES (?, ?) ON CONFLICT DO NOTHING", h[:], b); err != nil {
			return err
		}
	}
	n, err := c.int("SELECT count(*) FROM membership")
	if err != nil {
		return err
	}
	if n > membership.MaxRecords {
		return fmt.Errorf("%d records of membership, limit %d: %w", n, membership.MaxRecords, membership.ErrInvalid)
	}
	return nil
}
