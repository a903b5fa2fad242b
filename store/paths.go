package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// maxPaths bounds the folders whose ids one chunk of a commit remembers.
const maxPaths = 10_000

// applyPath applies a change that names its entry by path.
func (w *committer) applyPath(ch *index.Change) error {
	dir, name := "", ch.Path
	if i := strings.LastIndexByte(ch.Path, '/'); i >= 0 {
		dir, name = ch.Path[:i], ch.Path[i+1:]
	}
	switch ch.Op {
	case index.Put:
		return w.putPath(dir, name, ch.Entry)
	case index.Delete:
		if name == "" {
			return fmt.Errorf("delete %q: the root can't be deleted: %w", ch.Path, index.ErrInvalid)
		}
		parent, err := w.folder(dir, false)
		if err != nil {
			return fmt.Errorf("delete %q: %w", ch.Path, err)
		}
		e, err := w.child(parent, name)
		if err != nil {
			return fmt.Errorf("delete %q: %w", ch.Path, err)
		}
		return w.delete(e.ID, true)
	}
	return fmt.Errorf("operation %d: %w", ch.Op, index.ErrInvalid)
}

func (w *committer) putPath(dir, name string, e index.Entry) error {
	if name == "" && dir == "" {
		e.ID, e.Parent, e.Name, e.Kind = index.RootID, 0, "", index.KindDir
		return w.putID(e)
	}
	if err := index.ValidName(name); err != nil {
		return err
	}
	parent, err := w.folder(dir, true)
	if err != nil {
		return fmt.Errorf("put %q below %q: %w", name, dir, err)
	}
	e.Parent, e.Name = parent, name
	old, err := w.child(parent, name)
	switch {
	case err == nil:
		e.ID = old.ID
	case errors.Is(err, ErrNotFound):
		e.ID = w.m.head.NextID
	default:
		return err
	}
	if err := e.Validate(); err != nil {
		return err
	}
	if e.ID == w.m.head.NextID {
		return w.insert(&e)
	}
	return w.update(&old, &e)
}

// folder returns the id of a folder by path, and makes it and the folders above it if asked to.
func (w *committer) folder(path string, create bool) (int64, error) {
	if path == "" {
		return index.RootID, nil
	}
	if id, ok := w.paths[path]; ok {
		return id, nil
	}
	id := int64(index.RootID)
	for depth, more, rest := 0, true, path; more; depth++ {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if err := index.ValidName(name); err != nil {
			return 0, err
		}
		if depth >= index.MaxDepth {
			return 0, fmt.Errorf("deeper than %d folders: %w", index.MaxDepth, index.ErrInvalid)
		}
		e, err := w.child(id, name)
		switch {
		case errors.Is(err, ErrNotFound) && create:
			e = index.Entry{ID: w.m.head.NextID, Parent: id, Name: name, Kind: index.KindDir}
			err = w.insert(&e)
		case err == nil && e.Kind != index.KindDir:
			err = fmt.Errorf("%q is a %v: %w", name, e.Kind, index.ErrInvalid)
		}
		if err != nil {
			return 0, err
		}
		id = e.ID
	}
	if len(w.paths) >= maxPaths {
		clear(w.paths)
	}
	w.paths[path] = id
	return id, nil
}

// child finds an entry of a folder by name, of this chunk too.
func (w *committer) child(parent int64, name string) (index.Entry, error) {
	var e index.Entry
	c, err := w.conn()
	if err != nil {
		return e, err
	}
	row, err := c.one("SELECT "+entryColumns+" FROM main.entries WHERE parent = ? AND name = ? ORDER BY id LIMIT 1", parent, name)
	if errors.Is(err, ErrNotFound) {
		return w.rows.child(parent, name)
	}
	if err != nil {
		return e, err
	}
	return e, scanEntry(row, &e)
}
