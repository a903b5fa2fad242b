package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// QuarantineError is returned for a location whose file was found damaged and was set aside by [Store.Quarantine].
// Nothing of it is read, served or changed until another file takes its place.
type QuarantineError struct {
	Location index.Location
	Why      string // in one line
}

// Error says what is wrong.
func (e *QuarantineError) Error() string { return "quarantined: " + e.Why }

// Unwrap returns [ErrCorrupt].
func (e *QuarantineError) Unwrap() error { return ErrCorrupt }

// File is what is known of the file in use of a location, without looking into it.
type File struct {
	Location   index.Location
	Generation int64
	Since      time.Time // when it came into use
	Checked    time.Time // last time that all of it was read and found good; zero = never
	Quarantine string    // why nothing of it is used any more; "" = it is
}

// Files lists the files in use, own ones and replicas, in order of owner and ID.
func (s *Store) Files(ctx context.Context) ([]File, error) {
	var out []File
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id, generation, since, checked, quarantine FROM location ORDER BY owner, id") {
			if err != nil {
				return err
			}
			f := File{Location: rowLocation(row)}
			f.Generation, _ = row[2].(int64)
			since, _ := row[3].(int64)
			f.Since = time.Unix(0, since)
			if checked, _ := row[4].(int64); checked != 0 {
				f.Checked = time.Unix(0, checked)
			}
			f.Quarantine, _ = row[5].(string)
			out = append(out, f)
		}
		return nil
	})
	return out, err
}

// SetChecked remembers that a generation of a location was read through and found good. It does nothing if another one is
// in use by now.
func (s *Store) SetChecked(ctx context.Context, l index.Location, generation int64, at time.Time) error {
	return s.node.with(ctx, func(c *conn) error {
		return c.run("UPDATE location SET checked = ? WHERE owner = ? AND id = ? AND generation = ?", at.UnixNano(), l.Owner[:], l.ID[:], generation)
	})
}

// Quarantine sets the file of a location aside: it stays where it is, but from now on whoever asks for the location gets a
// [*QuarantineError] that says why, also after a restart. It ends when another generation takes the place of the file,
// which is deleted then: by [Store.Intake], [Store.Import], [Store.Renew] or [Store.Drop]. It waits for readers, and
// reports whether it did something: not if another generation than the one given is in use, or the file is
// quarantined already.
func (s *Store) Quarantine(ctx context.Context, l index.Location, generation int64, why string) (bool, error) {
	if why == "" {
		return false, fmt.Errorf("quarantine location %v without a reason: %w", l, index.ErrInvalid)
	}
	var n int64
	err := s.node.tx(ctx, func(c *conn) error {
		var err error
		n, err = c.exec("UPDATE location SET quarantine = ?, checked = 0 WHERE owner = ? AND id = ? AND generation = ? AND quarantine = ''",
			why, l.Owner[:], l.ID[:], generation)
		return err
	})
	if err != nil || n == 0 {
		return false, err
	}
	path := s.locationPath(l, generation)
	s.mu.Lock()
	h := s.locs[l]
	if h == nil || h.path == path { // a later generation stays
		s.locs[l] = s.newLocation(l, path, why)
	}
	s.mu.Unlock()
	if h != nil && h.path == path {
		err = h.retire("")
	}
	return true, errors.Join(err, s.snaps.forget(l))
}

// OnDamage makes f hear of every error that says that a location's file is damaged, in whatever it came up, for as long as
// the file is in use. An error may have another cause after all: look with [Store.CheckLocation]. f is called from
// anywhere and must not wait for anything. Call OnDamage before the store is used by several goroutines.
func (s *Store) OnDamage(f func(index.Location, error)) { s.onDamage = f }

func (s *Store) damaged(l index.Location, err error) {
	if _, known := errors.AsType[*QuarantineError](err); !known && s.onDamage != nil {
		s.onDamage(l, err)
	}
}

// viewQuarantined is viewLocation of a file that may be quarantined: for what carries its own proof.
func (s *Store) viewQuarantined(ctx context.Context, l index.Location, f func(*conn) error) error {
	err := s.viewLocation(ctx, l, f)
	if _, aside := errors.AsType[*QuarantineError](err); !aside {
		return err
	}
	gen, err := s.node.generation(ctx, l)
	if err != nil {
		return err
	}
	aside := &location{path: s.locationPath(l, gen), damaged: func(error) {}}
	c, err := aside.connect(accessRead)
	if err != nil {
		return err
	}
	return errors.Join(c.view(func() error { return f(c) }), c.close())
}
