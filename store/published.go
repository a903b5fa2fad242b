package store

import (
	"context"
	"errors"

	"github.com/peerdex/peerdex/index"
)

// maxPublished bounds the published heads remembered of one location.
const maxPublished = 10_000

// stateDigest names a state, whenever and for which library it was signed.
func stateDigest(h index.Head) index.Hash {
	h.AsOf, h.Library = 0, index.LibraryID{}
	return h.Digest()
}

// Publish remembers that a head of an own location is about to leave this device. It returns when that is durable, so
// that a head that comes back can be told from one that this device never signed, as far as its data knows.
func (s *Store) Publish(ctx context.Context, h *index.Head) error {
	s.mu.Lock()
	last := s.published[h.Location]
	s.mu.Unlock()
	d := stateDigest(*h)
	if last == d {
		return nil
	}
	err := s.node.tx(ctx, func(c *conn) error {
		id := h.Location.ID
		if err := insertPublished(c, h); err != nil {
			return err
		}
		return c.run("DELETE FROM published WHERE id = ?1 AND seq <= (SELECT seq FROM published WHERE id = ?1"+
			" ORDER BY seq DESC LIMIT 1 OFFSET ?2)", id[:], int64(maxPublished))
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.published[h.Location] = d
	s.mu.Unlock()
	return nil
}

func insertPublished(c *conn, h *index.Head) error {
	d := stateDigest(*h)
	return c.run("INSERT INTO published (id, epoch, seq, next, digest) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id, seq) DO UPDATE SET"+
		" epoch = excluded.epoch, next = excluded.next, digest = excluded.digest",
		h.Location.ID[:], int64(h.Epoch.Counter), h.Seq, h.NextID, d[:])
}

// Unknown reports whether a head of an own location, heard from elsewhere, was never published as far as this
// device's data knows: then the data was rolled back, or a copy of it signs too. Heads too old to be remembered are
// taken for known.
func (s *Store) Unknown(ctx context.Context, heard *index.Head) (bool, error) {
	held, err := s.Held(ctx, heard.Location)
	if err != nil {
		return false, err
	}
	if c := heard.Epoch.Counter; c != held.Head.Epoch.Counter || heard.Epoch != held.Head.Epoch {
		return c >= held.Head.Epoch.Counter, nil
	}
	unknown := false
	err = s.node.with(ctx, func(c *conn) error {
		id := heard.Location.ID
		oldest, err := c.int("SELECT coalesce(min(seq), 0) FROM published WHERE id = ? AND epoch = ?", id[:], int64(heard.Epoch.Counter))
		if err != nil {
			return err
		}
		row, err := c.one("SELECT digest FROM published WHERE id = ? AND seq = ? AND epoch = ?", id[:], heard.Seq, int64(heard.Epoch.Counter))
		switch {
		case errors.Is(err, ErrNotFound):
			unknown = heard.Seq >= oldest
			return nil
		case err != nil:
			return err
		}
		d := stateDigest(*heard)
		b, _ := row[0].([]byte)
		unknown = string(b) != string(d[:])
		return nil
	})
	return unknown, err
}
