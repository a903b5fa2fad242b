package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/peerdex/peerdex/index"
)

// Renew gives an own location whose file is damaged an empty one, under a new epoch: its counter, next id and seqs are
// above all that is known of the location, from the old file if that can be read and from the heads heard of it. It
// takes what it knows of the record from there too. The location has to be scanned, or fed, from the beginning then.
// The error wraps [ErrCorrupt] when neither the file nor anybody else says what the location was. Nothing may be
// committing to the location meanwhile.
func (s *Store) Renew(ctx context.Context, l index.Location, heard []Heard) error {
	if l.Owner != s.self || s.readOnly {
		return fmt.Errorf("renew location %v: not ours to write: %w", l, index.ErrInvalid)
	}
	old, err := s.node.generation(ctx, l)
	if err != nil {
		return fmt.Errorf("renew location %v: %w", l, err)
	}
	last, rec, err := s.lastKnown(ctx, l, heard)
	if err != nil {
		return fmt.Errorf("renew location %v: %w", l, err)
	}
	gen, err := s.node.nextGeneration(ctx)
	if err != nil {
		return err
	}
	path := s.locationPath(l, gen)
	if err := s.createFile(path, l, last, rec); err != nil {
		return errors.Join(fmt.Errorf("renew location: %w", err), removeDB(path))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return errors.Join(fmt.Errorf("renew location: %w", err), removeDB(path))
	}
	if err := s.node.point(ctx, l, gen); err != nil {
		return fmt.Errorf("renew location: %w", err)
	}
	return s.swap(l, path, old)
}

// lastKnown returns a head that holds the highest counter, seq and next id known of an own location, and its newest
// record.
func (s *Store) lastKnown(ctx context.Context, l index.Location, heard []Heard) (index.Head, index.Record, error) {
	var m meta
	// Whatever is wrong with the file, what can be read of it is under our signature or not used.
	_ = s.viewQuarantined(ctx, l, func(c *conn) error {
		var err error
		m, err = readMeta(c)
		return err
	})
	var last index.Head
	var rec index.Record
	var newest *index.Head
	for _, h := range append([]Heard{{Head: m.head, Record: m.record}}, heard...) {
		head := h.Head.Head
		if head.Location != l || h.Head.Verify() != nil {
			continue
		}
		last.Epoch.Counter = max(last.Epoch.Counter, head.Epoch.Counter)
		last.Seq, last.NextID = max(last.Seq, head.Seq), max(last.NextID, head.NextID)
		later := newest == nil || head.Epoch.Counter > newest.Epoch.Counter ||
			head.Epoch == newest.Epoch && head.Seq > newest.Seq
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
