package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/peerdex/peerdex/index"
)

// Renew gives an own location whose file is gone or damaged an empty one, under a new epoch: its counter, next id and seqs
// are above all that is known of the location, from heads heard and published, and from the old file if that can be read.
// It takes what it knows of the record from there too. The location has to be scanned, or fed, from the beginning then.
// What the location held before can't be had any more, from nobody: see [Store.TakeBack] first. The error wraps
// [ErrCorrupt] when nothing says what the location was, and [ErrRetired] when it was removed. Nothing may be committing to
// the location meanwhile.
func (s *Store) Renew(ctx context.Context, l index.Location) error {
	if l.Owner != s.self || s.readOnly {
		return fmt.Errorf("renew location %v: not ours to write: %w", l, index.ErrInvalid)
	}
	if err := s.renew(ctx, l); err != nil {
		return fmt.Errorf("renew location %v: %w", l, err)
	}
	return nil
}

func (s *Store) renew(ctx context.Context, l index.Location) error {
	if err := s.checkActive(ctx, l); err != nil {
		return err
	}
	old, err := s.node.generation(ctx, l)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	last, rec, err := s.lastKnown(ctx, l)
	if err != nil {
		return err
	}
	gen, err := s.node.nextGeneration(ctx)
	if err != nil {
		return err
	}
	path := s.locationPath(l, gen)
	m, err := s.createFile(path, l, last, rec)
	if err != nil {
		return errors.Join(err, removeDB(path))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return errors.Join(err, removeDB(path))
	}
	if err := s.pointOwn(ctx, gen, &m); err != nil {
		return err
	}
	return errors.Join(s.swap(l, path, old), s.dropStaging(l)) // what was taken back of it by then
}

// lastKnown returns a head that holds the highest counter, seq and next id known of an own location, and its newest
// record.
func (s *Store) lastKnown(ctx context.Context, l index.Location) (last index.Head, rec index.Record, err error) {
	all, err := s.AllHeard(ctx)
	if err != nil {
		return last, rec, err
	}
	if last, err = s.lastPublished(ctx, l); err != nil {
		return last, rec, err
	}
	var m meta
	// Whatever is wrong with the file, what can be read of it is under our signature or not used.
	_ = s.viewQuarantined(ctx, l, func(c *conn) error {
		var err error
		m, err = readMeta(c)
		return err
	})
	var newest *index.Head
	for _, h := range append([]Heard{{Head: m.head, Record: m.record}}, all[l]...) {
		head := h.Head.Head
		if head.Location != l || h.Head.Verify() != nil {
			continue
		}
		last.Epoch.Counter = max(last.Epoch.Counter, head.Epoch.Counter)
		last.Seq, last.NextID = max(last.Seq, head.Seq), max(last.NextID, head.NextID)
		later := newest == nil || head.Epoch.Counter > newest.Epoch.Counter ||
			head.Epoch.Counter == newest.Epoch.Counter && head.Seq > newest.Seq
		var r index.Record
		if later && index.HashRecord(h.Record) == head.Record && r.UnmarshalBinary(h.Record) == nil {
			newest, rec, last.Library = &head, r, head.Library
		}
	}
	if newest == nil {
		return last, rec, fmt.Errorf("nothing is known of what it was: %w", ErrCorrupt)
	}
	return last, rec, nil
}

// lastPublished returns the highest counter, seq and next id of an own location that left this device, 0 if none did.
func (s *Store) lastPublished(ctx context.Context, l index.Location) (index.Head, error) {
	h := index.Head{Location: l}
	err := s.node.with(ctx, func(c *conn) error {
		row, err := c.one("SELECT coalesce(max(epoch), 0), coalesce(max(seq), 0), coalesce(max(next), 0) FROM published WHERE id = ?", l.ID[:])
		if err != nil {
			return err
		}
		counter, _ := row[0].(int64)
		h.Epoch.Counter = uint64(counter)
		h.Seq, _ = row[1].(int64)
		h.NextID, _ = row[2].(int64)
		return nil
	})
	if err != nil {
		return h, fmt.Errorf("last published head: %w", err)
	}
	return h, nil
}
