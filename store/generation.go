package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/peerdex/peerdex/index"
)

// install makes a complete, closed database file in staging/ the generation in use of a location. The order makes a
// crash at any step leave the old generation or the new one: take a number, fsync the file, rename, fsync both folders,
// switch the pointer, drain the readers of the old generation, delete it.
func (s *Store) install(ctx context.Context, l index.Location, staged string) error {
	gen, err := s.node.nextGeneration(ctx)
	if err != nil {
		return err
	}
	path := s.locationPath(l, gen)
	if err := s.move(staged, path); err != nil {
		return errors.Join(err, removeDB(path)) // no pointer can name it yet
	}
	old, err := s.node.generation(ctx, l)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return errors.Join(err, removeDB(path))
	}
	// When this fails, a crash may still bring the pointer back from the journal. So the file stays until the next start.
	if err := s.node.point(ctx, l, gen); err != nil {
		return fmt.Errorf("switch generation: %w", err)
	}
	s.steps.passed("install: switched")
	defer s.steps.passed("install: done")
	return s.swap(l, path, old)
}

// move brings a closed file from staging/ to its name, durably.
func (s *Store) move(staged, path string) error {
	if err := s.steps.at("install: sync file"); err != nil {
		return fmt.Errorf("sync generation: %w", fsError(err))
	}
	if err := syncFile(staged); err != nil {
		return fmt.Errorf("sync generation: %w", fsError(err))
	}
	if err := s.steps.at("install: rename"); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	if err := os.Rename(staged, path); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	// Empty by now; a stale one must never be taken for the journal of a later file of the same name.
	if err := s.steps.at("install: delete journals"); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	if err := removeDB(staged); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	if err := s.steps.at("install: sync folders"); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	if err := errors.Join(syncDir(filepath.Dir(path)), syncDir(filepath.Dir(staged))); err != nil {
		return fmt.Errorf("move generation: %w", err)
	}
	return nil
}

// swap makes the file at path the one that is opened from now on, and deletes the old generation once its readers are
// gone. Somebody may have opened the new file already, by the pointer.
func (s *Store) swap(l index.Location, path string, old int64) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	h := s.locs[l]
	if h == nil || h.path != path {
		s.locs[l] = s.newLocation(l, path, "")
	}
	s.mu.Unlock()
	switch {
	case h != nil && h.path != path:
		return h.retire(h.path)
	case old != 0:
		return removeDB(s.locationPath(l, old))
	}
	return nil
}

// syncFile makes a closed file's bytes durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
