package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// ErrRetired is returned for an own location that this device removed: it doesn't come back.
var ErrRetired = errors.New("the location was removed")

// TakeBack begins or resumes the transfer by which this device takes one of its own locations back from a device that
// holds a replica of it at epoch e, since its own file is gone or damaged. It is a full transfer, with every check that a
// replica has to pass. When the last page is put, what was received becomes our own file again, signed as the first state
// of a new epoch: its counter, seq and next id are above all that is known of the location, from the pages, from heads
// heard ([Store.SetHeard]) and published ([Store.Publish]), and from the old file as far as it can be read. Until then the
// old file, if there is one, stays what it is. The new one has no dead runs: receivers compare rows. The folder has to be
// scanned then. [ErrRetired] if a head of ours was heard that says so. Nothing may be committing to the location meanwhile.
func (s *Store) TakeBack(ctx context.Context, l index.Location, e index.Epoch) (*Intake, error) {
	if l.Owner != s.self || s.readOnly {
		return nil, fmt.Errorf("take location %v back: not ours to write: %w", l, index.ErrInvalid)
	}
	if err := s.checkActive(ctx, l); err != nil {
		return nil, fmt.Errorf("take location %v back: %w", l, err)
	}
	return s.newIntake(ctx, &Intake{s: s, loc: l, own: true}, e, index.ModeFull)
}

// checkActive returns ErrRetired if this device ever said that it removed an own location.
func (s *Store) checkActive(ctx context.Context, l index.Location) error {
	all, err := s.AllHeard(ctx)
	if err != nil {
		return err
	}
	for _, h := range all[l] {
		var rec index.Record
		if h.Head.Verify() == nil && index.HashRecord(h.Record) == h.Head.Record && rec.UnmarshalBinary(h.Record) == nil && rec.Retired == index.Retired {
			return ErrRetired
		}
	}
	return nil
}

// signer returns what writes the head under which a proved file is adopted: that of its owner, or, for a location that is
// taken back, the first of a new epoch, which it remembers.
func (in *Intake) signer(ctx context.Context) (func(*conn, *meta) error, error) {
	if !in.own {
		return writeMeta, nil
	}
	if err := in.s.checkActive(ctx, in.loc); err != nil { // may have been heard meanwhile
		return nil, err
	}
	last, _, err := in.s.lastKnown(ctx, in.loc)
	if err != nil && !errors.Is(err, ErrCorrupt) { // nothing else is known of it: the page's head is
		return nil, err
	}
	return func(c *conn, m *meta) error {
		if err := in.s.beginEpoch(c, m, last); err != nil {
			return err
		}
		// Before the file is in place: a number that is then never used does no harm.
		return in.s.remember(ctx, m)
	}, nil
}

// remember keeps head and record of an own location in node.db too, for the day on which its file is lost.
func (s *Store) remember(ctx context.Context, m *meta) error {
	err := s.node.tx(ctx, func(c *conn) error { return insertOwn(c, m) })
	if err != nil {
		return fmt.Errorf("remember location: %w", err)
	}
	return nil
}

// insertOwn is remember inside a transaction of node.db.
func insertOwn(c *conn, m *meta) error {
	l := m.head.Location
	return insertHeard(c, &Heard{Device: l.Owner, Head: m.head, Record: m.record, Horizon: m.horizon, At: time.Now()})
}

// pointOwn makes a generation of an own location the one in use, and remembers what it is.
func (s *Store) pointOwn(ctx context.Context, gen int64, m *meta) error {
	return s.node.tx(ctx, func(c *conn) error {
		if err := setGeneration(c, m.head.Location, gen); err != nil {
			return err
		}
		return insertOwn(c, m)
	})
}
