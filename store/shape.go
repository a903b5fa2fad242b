package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// shape checks that rows, added in id order, are valid each and one tree together: every parent is there and is a folder, no folder lies below
// itself, and none is deeper than [index.MaxDepth]. It remembers folders only, about 20 bytes each, and takes time
// linear in the rows. The zero value is ready.
type shape struct {
	ids    []int64 // of the folders, rising
	parent []int64
	used   []bool  // the folder holds something
	last   int     // place of the last parent that was found
	later  []int64 // parents that the rows before their child did not show
	from   int64   // lower ids are of another part: see join
}

// join adds the rows of the next part, which were added to p instead of s. A part begins with from set.
func (s *shape) join(p *shape) {
	s.ids, s.parent, s.used = append(s.ids, p.ids...), append(s.parent, p.parent...), append(s.used, p.used...)
	s.later = append(s.later, p.later...)
}

func (s *shape) add(e *index.Entry) error {
	if err := e.Validate(); err != nil {
		return err
	}
	if e.Kind == index.KindDir {
		s.ids = append(s.ids, e.ID)
		s.parent = append(s.parent, e.Parent)
		s.used = append(s.used, false)
	}
	switch {
	case e.ID == index.RootID:
		return nil
	case e.Parent > e.ID || e.Parent < s.from:
		if n := len(s.later); n == 0 || s.later[n-1] != e.Parent {
			s.later = append(s.later, e.Parent)
		}
		return nil
	case s.last < len(s.ids) && s.ids[s.last] == e.Parent && s.used[s.last]:
		return nil
	}
	return s.use(e.Parent)
}

func (s *shape) use(parent int64) error {
	at, ok := slices.BinarySearch(s.ids, parent)
	if !ok {
		return noFolder(parent)
	}
	s.last, s.used[at] = at, true
	return nil
}

// finish checks what could not be checked before all rows were there.
func (s *shape) finish() error {
	for _, p := range s.later {
		if err := s.use(p); err != nil {
			return err
		}
	}
	level := make([]int32, len(s.ids)) // 1 + folders above; 0 = not known yet
	var path []int
	for i := range s.ids {
		path = path[:0]
		at := i
		for level[at] == 0 && s.ids[at] != index.RootID {
			if path = append(path, at); len(path) > index.MaxDepth+2 {
				return tooDeep(s.ids[i])
			}
			if p := s.parent[at]; s.ids[s.last] != p {
				s.last, _ = slices.BinarySearch(s.ids, p)
			}
			at = s.last
		}
		if s.ids[at] == index.RootID {
			level[at] = 1
		}
		for k := len(path) - 1; k >= 0; k-- {
			level[path[k]] = level[at] + int32(len(path)-k)
		}
		if depth := int(level[i]) - 1; depth > index.MaxDepth+1 || depth > index.MaxDepth && s.used[i] {
			return tooDeep(s.ids[i])
		}
	}
	return nil
}

func noFolder(id int64) error {
	return fmt.Errorf("parent %d is missing or not a folder: %w", id, index.ErrInvalid)
}

func tooDeep(id int64) error {
	return fmt.Errorf("folder %d lies below itself or deeper than %d: %w", id, index.MaxDepth, index.ErrInvalid)
}

// deltaShape checks that rows that are one tree stay so under a delta, looking at what changed only. Before the delta
// is applied it is told of each row that comes; after, finish checks. A row whose parent is as before costs one look-up.
type deltaShape struct {
	c     *conn
	moved []int64       // rows that are new or have another parent
	files []int64       // rows that are no folders now, and may have been
	level map[int64]int // of folders known to be in place; the root is 0
}

func newDeltaShape(c *conn) *deltaShape {
	return &deltaShape{c: c, level: map[int64]int{index.RootID: 0}}
}

// coming compares a row that comes with the one that is there.
func (d *deltaShape) coming(e *index.Entry) error {
	if err := e.Validate(); err != nil {
		return err
	}
	row, err := d.c.one("SELECT parent, kind FROM main.entries WHERE id = ?", e.ID)
	if errors.Is(err, ErrNotFound) {
		d.moved = append(d.moved, e.ID)
		return nil
	}
	if err != nil {
		return err
	}
	parent, _ := row[0].(int64)
	kind, _ := row[1].(int64)
	d.compare(e, parent, index.Kind(kind))
	return nil
}

func (d *deltaShape) compare(e *index.Entry, parent int64, kind index.Kind) {
	if parent != e.Parent {
		d.moved = append(d.moved, e.ID)
	}
	if kind == index.KindDir && e.Kind != index.KindDir {
		d.files = append(d.files, e.ID)
	}
}

// comingStaged does what coming does, for the rows of an attached staging file.
func (d *deltaShape) comingStaged() error {
	const q = "SELECT s.id, s.parent, s.kind, coalesce(e.parent, 0), coalesce(e.kind, 0) FROM staged.entries s" +
		" LEFT JOIN main.entries e ON e.id = s.id WHERE e.id IS NULL OR e.parent <> s.parent OR e.kind <> s.kind"
	for row, err := range d.c.query(context.Background(), q) {
		if err != nil {
			return err
		}
		var e index.Entry
		e.ID, _ = row[0].(int64)
		e.Parent, _ = row[1].(int64)
		kind, _ := row[2].(int64)
		parent, _ := row[3].(int64)
		was, _ := row[4].(int64)
		e.Kind = index.Kind(kind)
		d.compare(&e, parent, index.Kind(was))
	}
	return nil
}

// dead checks that nothing is left below the ids of a run; all rows of the delta are in place by now.
func (d *deltaShape) dead(r index.DeadRun) error {
	n, err := d.c.int("SELECT parent FROM main.entries WHERE parent BETWEEN ? AND ? LIMIT 1", r.Lo, r.Hi)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return noFolder(n)
}

// finish checks the rows of which coming spoke, as they are now, and what lay below the dead.
func (d *deltaShape) finish(dead []index.DeadRun) error {
	for _, r := range dead {
		if err := d.dead(r); err != nil {
			return err
		}
	}
	for _, id := range d.files {
		if kind, err := d.c.int("SELECT kind FROM main.entries WHERE id = ?", id); err == nil && index.Kind(kind) == index.KindDir {
			continue
		}
		if err := d.dead(index.DeadRun{Lo: id, Hi: id}); err != nil {
			return err
		}
	}
	var folders []int64
	for _, id := range d.moved {
		row, err := d.c.one("SELECT parent, kind FROM main.entries WHERE id = ?", id)
		if errors.Is(err, ErrNotFound) {
			continue // died in the same delta
		}
		if err != nil {
			return err
		}
		parent, _ := row[0].(int64)
		kind, _ := row[1].(int64)
		if id == index.RootID {
			continue
		}
		level, err := d.levelOf(parent)
		if err != nil {
			return err
		}
		if level > index.MaxDepth {
			return tooDeep(parent)
		}
		if index.Kind(kind) == index.KindDir {
			folders = append(folders, id)
		}
	}
	return d.below(folders)
}

// levelOf walks up from a folder to one whose level is known.
func (d *deltaShape) levelOf(id int64) (int, error) {
	var path []int64
	at := id
	for {
		if level, ok := d.level[at]; ok {
			for k := len(path) - 1; k >= 0; k-- {
				level++
				d.level[path[k]] = level
			}
			return level, nil
		}
		if path = append(path, at); len(path) > index.MaxDepth+2 {
			return 0, tooDeep(id)
		}
		row, err := d.c.one("SELECT parent, kind FROM main.entries WHERE id = ?", at)
		if errors.Is(err, ErrNotFound) {
			return 0, noFolder(at)
		}
		if err != nil {
			return 0, err
		}
		if row[1] != any(int64(index.KindDir)) {
			return 0, noFolder(at)
		}
		at, _ = row[0].(int64)
	}
}

// below checks what lies below folders that are new or were moved, each folder once.
func (d *deltaShape) below(folders []int64) error {
	seen := map[int64]struct{}{}
	for len(folders) > 0 {
		id := folders[len(folders)-1]
		folders = folders[:len(folders)-1]
		if _, ok := seen[id]; ok {
			continue
		}
		seen[id] = struct{}{}
		level, err := d.levelOf(id)
		if err != nil {
			return err
		}
		if level > index.MaxDepth {
			if err := d.dead(index.DeadRun{Lo: id, Hi: id}); err != nil {
				return tooDeep(id)
			}
			continue
		}
		children, err := d.folders(id)
		if err != nil {
			return err
		}
		folders = append(folders, children...)
	}
	return nil
}

func (d *deltaShape) folders(id int64) ([]int64, error) {
	var ids []int64
	for row, err := range d.c.query(context.Background(), "SELECT id FROM main.entries WHERE parent = ? AND kind = 2", id) {
		if err != nil {
			return nil, err
		}
		child, _ := row[0].(int64)
		ids = append(ids, child)
	}
	return ids, nil
}
