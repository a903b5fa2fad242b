package scan

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
)

// merge steps through a listing and the known entries side by side; both are in order of names.
func (r *run) merge(ctx context.Context, n *node, l *listing) error {
	i := 0
	// Without rows, an error leaves nothing to compare: every known row stays.
	if !n.fresh && (l.err == nil || len(l.rows) > 0) {
		last := ""
		for e, err := range r.cfg.Known.Children(ctx, n.id) {
			if err != nil {
				return fmt.Errorf("read known entries of %q: %w", r.rel(n, ""), err)
			}
			if e.Name < last {
				// Going on would take entries for missing.
				return fmt.Errorf("known entries of %q: %q after %q: %w", r.rel(n, ""), e.Name, last, index.ErrInvalid)
			}
			last = e.Name
			for ; i < len(l.rows) && l.name(i) < e.Name; i++ {
				if err := r.add(ctx, n, l, i); err != nil {
					return err
				}
			}
			if i < len(l.rows) && l.name(i) == e.Name {
				if err := r.compare(ctx, n, l, i, &e); err != nil {
					return err
				}
				i++
			} else if l.err == nil {
				r.missing(&e, nil)
			}
		}
	}
	for ; i < len(l.rows); i++ {
		if err := r.add(ctx, n, l, i); err != nil {
			return err
		}
	}
	return nil
}

// add handles a row that isn't known.
func (r *run) add(ctx context.Context, n *node, l *listing, i int) error {
	row, name := &l.rows[i], l.name(i)
	if row.kind == kindFailed {
		r.unreadable(n, name, l.errs[row.size])
		return nil
	}
	if row.isDir() && r.skip(n, name) {
		return nil
	}
	r.count(row)
	if r.res.NextID > index.MaxID {
		return fmt.Errorf("id %d: %w", r.res.NextID, index.ErrInvalid)
	}
	e := entryOf(n, row, name)
	e.ID = r.res.NextID
	r.res.NextID++
	r.res.New++
	if err := r.put(ctx, e); err != nil {
		return err
	}
	if row.isDir() {
		r.descend(n, row, name, e.ID, true)
	}
	return nil
}

// compare handles a row that is known by its name.
func (r *run) compare(ctx context.Context, n *node, l *listing, i int, known *index.Entry) error {
	row, name := &l.rows[i], l.name(i)
	if row.kind == kindFailed {
		r.unreadable(n, name, l.errs[row.size])
		return nil
	}
	if row.isDir() && r.skip(n, name) {
		r.missing(known, nil)
		return nil
	}
	r.count(row)
	e := entryOf(n, row, name)
	if known.Kind == index.KindDir && !row.isDir() {
		by := e
		by.Name = strings.Clone(name) // it outlives the walk, and is part of a long string
		r.missing(known, &by)
		return nil
	}
	sameContent := known.Kind == e.Kind && known.Size == e.Size && known.MTime == e.MTime
	if !sameContent || known.Mode != e.Mode {
		e.ID, e.Attrs = known.ID, known.Attrs
		if sameContent {
			e.Hash = known.Hash
		}
		r.res.Changed++
		if err := r.put(ctx, e); err != nil {
			return err
		}
	}
	if row.isDir() {
		r.descend(n, row, name, known.ID, known.Kind != index.KindDir)
	}
	return nil
}

func entryOf(n *node, row *row, name string) index.Entry {
	return index.Entry{
		Parent: n.id, Name: name, Kind: row.entryKind(), Size: row.size, MTime: row.mtime, Mode: uint32(row.mode),
	}
}

// descend notes a folder to be walked, or says why it isn't.
func (r *run) descend(parent *node, row *row, name string, id int64, fresh bool) {
	if row.kind == kindMount && fresh {
		return
	}
	if parent.depth+1 >= index.MaxDepth {
		r.unreadable(parent, name, ErrTooDeep)
		return
	}
	r.slab = append(r.slab, node{
		parent: parent, name: strings.Clone(name), id: id, depth: parent.depth + 1, fresh: fresh,
	})
	n := &r.slab[len(r.slab)-1]
	if row.kind == kindMount {
		r.mounts = append(r.mounts, n)
	} else {
		r.kids = append(r.kids, n)
	}
}

// keepMount reports a folder of another filesystem if rows are known below it; they stay.
func (r *run) keepMount(ctx context.Context, n *node) error {
	for _, err := range r.cfg.Known.Children(ctx, n.id) {
		if err != nil {
			return fmt.Errorf("read known entries of %q: %w", r.rel(n, ""), err)
		}
		r.unreadable(n, "", ErrOtherFilesystem)
		break
	}
	return nil
}

// put yields a row, unless ctx has ended.
func (r *run) put(ctx context.Context, e index.Entry) error {
	if ctx.Err() != nil {
		return stopError(ctx)
	}
	if !r.yield(index.Change{Op: index.Put, Entry: e}, nil) {
		return errBreak
	}
	return nil
}

func (r *run) count(row *row) {
	if row.isDir() {
		r.res.Folders++
	} else {
		r.res.Files++
	}
	if (r.res.Files+r.res.Folders)%1024 == 0 {
		r.progress()
	}
}

func (r *run) missing(known *index.Entry, by *index.Entry) {
	r.res.Missing = append(r.res.Missing, Missing{ID: known.ID, Kind: known.Kind, Replacement: by})
}

// unreadable notes an entry of a folder, or the folder itself if name is "".
func (r *run) unreadable(n *node, name string, err error) {
	r.res.UnreadableTotal++
	if len(r.res.Unreadable) < maxUnreadable {
		r.res.Unreadable = append(r.res.Unreadable, Unreadable{Path: r.rel(n, name), Err: err})
	}
}

// rel is the path of an entry below the root, or of the folder itself if name is "".
func (r *run) rel(n *node, name string) string {
	r.path = n.appendPath(r.path[:0])
	return string(appendName(r.path, name))
}

func appendName(b []byte, name string) []byte {
	if len(b) > 0 && name != "" {
		b = append(b, '/')
	}
	return append(b, name...)
}

func (r *run) skip(n *node, name string) bool {
	if r.cfg.Skip == nil {
		return false
	}
	return r.cfg.Skip(filepath.Join(r.cfg.Root, filepath.FromSlash(r.rel(n, name))))
}

func (r *run) progress() {
	if r.cfg.Progress == nil {
		return
	}
	now := time.Now()
	if now.Sub(r.told) < progressEvery {
		return
	}
	r.told = now
	r.cfg.Progress(Progress{
		Files: r.res.Files, Folders: r.res.Folders, New: r.res.New, Changed: r.res.Changed, Elapsed: now.Sub(r.begin),
	})
}
