package scan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

func TestFirstScan(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "b/2/deep", "b/1", "a/x", "a/y/", "c", "B", "d->nowhere at all")
	m := newModel(t)
	puts, res := m.scan(root)
	var got []string
	for i, e := range puts {
		if e.ID != int64(i+1) {
			t.Errorf("change %d has id %d", i, e.ID)
		}
		got = append(got, m.path(e.ID))
	}
	want := []string{"", "B", "a", "b", "c", "d", "a/x", "a/y", "b/1", "b/2", "b/2/deep"}
	if !slices.Equal(got, want) {
		t.Errorf("order %q\nwant  %q", got, want)
	}
	if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
		t.Errorf("rows differ from the folder: %s", diff)
	}
	res.Duration = 0
	if diff := cmp.Diff(Result{Files: 6, Folders: 5, New: 10, Changed: 1, NextID: 12}, res); diff != "" {
		t.Errorf("result: %s", diff)
	}
	if puts, res = m.scan(root); len(puts) != 0 || res.Files != 6 || res.Folders != 5 || res.New+res.Changed != 0 {
		t.Errorf("second scan yields %+v, result %+v", puts, res)
	}
}

func TestEdits(t *testing.T) {
	past := time.Unix(1_000_000_000, 7)
	tests := []struct {
		name     string
		edit     func(p func(string) string) error
		sameID   string // has the same id afterwards
		newID    string // has a new one
		missing  int
		replaced bool
		hash     bool // of "f" is kept
	}{
		{name: "nothing", edit: func(func(string) string) error { return nil }, sameID: "f", hash: true},
		{name: "size", edit: func(p func(string) string) error { return os.Truncate(p("f"), 9) }, sameID: "f"},
		{name: "time", edit: func(p func(string) string) error { return os.Chtimes(p("f"), past, past) }, sameID: "f"},
		{name: "mode", edit: func(p func(string) string) error { return os.Chmod(p("f"), 0o600) }, sameID: "f", hash: true},
		{name: "setgid", edit: func(p func(string) string) error {
			return os.Chmod(p("d"), 0o750|os.ModeSetgid|os.ModeSticky)
		}, sameID: "d", hash: true},
		{name: "before 1970", edit: func(p func(string) string) error {
			old := time.Date(1901, 12, 31, 1, 2, 3, 4, time.UTC)
			return os.Chtimes(p("d"), old, old)
		}, sameID: "d", hash: true},
		{name: "file to folder", edit: func(p func(string) string) error {
			return errors.Join(os.Remove(p("f")), os.MkdirAll(p("f/sub/deep"), 0o755))
		}, sameID: "f", newID: "f/sub/deep"},
		{name: "file to link", edit: func(p func(string) string) error {
			return errors.Join(os.Remove(p("f")), os.Symlink("abc", p("f")))
		}, sameID: "f"},
		{name: "link to file", edit: func(p func(string) string) error {
			return errors.Join(os.Remove(p("l")), os.WriteFile(p("l"), nil, 0o644))
		}, sameID: "l", hash: true},
		{name: "folder to file", edit: func(p func(string) string) error {
			return errors.Join(os.RemoveAll(p("d")), os.WriteFile(p("d"), nil, 0o644))
		}, newID: "d", missing: 1, replaced: true, hash: true},
		{name: "folder to link to itself", edit: func(p func(string) string) error {
			return errors.Join(os.RemoveAll(p("d")), os.Symlink(".", p("d")))
		}, newID: "d", missing: 1, replaced: true, hash: true},
		{name: "file removed", edit: func(p func(string) string) error { return os.Remove(p("f")) }, missing: 1},
		{name: "folder removed", edit: func(p func(string) string) error { return os.RemoveAll(p("d")) }, missing: 1, hash: true},
		{name: "moved", edit: func(p func(string) string) error { return os.Rename(p("d/e"), p("e")) },
			newID: "e/x", missing: 1, hash: true},
		{name: "all moved around", edit: func(p func(string) string) error {
			return errors.Join(os.Rename(p("d"), p("t")), os.Rename(p("e0"), p("d")), os.Rename(p("t"), p("e0")))
		}, sameID: "d", newID: "e0/e/x", missing: 4, hash: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			makeTree(t, root, "f", "d/a", "d/e/x", "d/g", "d/h", "e0/a", "e0/q", "l->f")
			m := newModel(t)
			m.scan(root)
			f := m.id("f")
			e := m.rows[f]
			e.Hash, e.Attrs = []byte{1, 2}, []byte{3}
			m.rows[f] = e
			sameID, oldNext := m.id(tt.sameID), m.next
			must(t, tt.edit(func(rel string) string { return filepath.Join(root, rel) }))
			_, res := m.scan(root)
			if diff := cmp.Diff(walk(t, root), m.paths(), cmp.AllowUnexported(seen{})); diff != "" {
				t.Errorf("rows differ from the folder: %s", diff)
			}
			if tt.sameID != "" && m.id(tt.sameID) != sameID {
				t.Errorf("%s: id %d, had %d", tt.sameID, m.id(tt.sameID), sameID)
			}
			if tt.newID != "" && m.id(tt.newID) < oldNext {
				t.Errorf("%s: id %d is old", tt.newID, m.id(tt.newID))
			}
			if len(res.Missing) != tt.missing {
				t.Errorf("missing %+v, want %d", res.Missing, tt.missing)
			}
			if replaced := len(res.Missing) == 1 && res.Missing[0].Replacement != nil; replaced != tt.replaced {
				t.Errorf("missing %+v, replaced: want %v", res.Missing, tt.replaced)
			}
			if e, ok := m.rows[f]; ok && ((e.Hash != nil) != tt.hash || string(e.Attrs) != "\x03") {
				t.Errorf("hash %v, attrs %v, want hash kept: %v, attrs kept", e.Hash, e.Attrs, tt.hash)
			}
			if puts, res := m.scan(root); len(puts) != 0 || len(res.Missing) != 0 {
				t.Errorf("scanned again: puts %+v, missing %+v", puts, res.Missing)
			}
		})
	}
}

func TestRootRow(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a")
	m := newModel(t)
	m.scan(root)
	e := m.rows[index.RootID]
	e.Attrs = []byte("kept")
	m.rows[index.RootID] = e
	if puts, _ := m.scan(root); len(puts) != 0 {
		t.Errorf("yielded %+v", puts)
	}
	must(t, os.Chmod(root, 0o701))
	puts, res := m.scan(root)
	if len(puts) != 1 || res.Changed != 1 || puts[0].ID != index.RootID || puts[0].Mode != 0o701 ||
		string(puts[0].Attrs) != "kept" {
		t.Errorf("yielded %+v, result %+v", puts, res)
	}
}

func TestSkip(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a/data/x", "a/b/data/x", "data/x", "z")
	m := newModel(t)
	skip := func(s *Scan) {
		s.cfg.Skip = func(path string) bool { return path == filepath.Join(root, "a", "data") }
	}
	m.scan(root, skip)
	if m.id("a/data") != 0 || m.id("a/b/data/x") == 0 || m.id("data/x") == 0 {
		t.Errorf("rows %v", m.paths())
	}
	m.scan(root)
	if m.id("a/data/x") == 0 {
		t.Fatal("not skipped, and not there")
	}
	if _, res := m.scan(root, skip); len(res.Missing) != 1 || m.id("a/data") != 0 {
		t.Errorf("missing %+v, want what is skipped now", res.Missing)
	}
}

func TestDeepFolders(t *testing.T) {
	root := t.TempDir()
	path := ""
	for range index.MaxDepth + 2 {
		path += "d/"
	}
	makeTree(t, root, path)
	m := newModel(t)
	puts, res := m.scan(root)
	// Entries may have MaxDepth folders above them, the root being one.
	if len(puts) != index.MaxDepth+1 {
		t.Errorf("%d rows, want the root and %d", len(puts), index.MaxDepth)
	}
	if res.UnreadableTotal != 1 || !errors.Is(res.Unreadable[0].Err, ErrTooDeep) ||
		len(res.Unreadable[0].Path) != 2*index.MaxDepth-1 {
		t.Errorf("unreadable %d", res.UnreadableTotal)
	}
	if puts, res = m.scan(root); len(puts) != 0 || len(res.Missing) != 0 {
		t.Errorf("again: %d puts, missing %v", len(puts), res.Missing)
	}
}

func TestUsedOnce(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a")
	s := New(newModel(t).config(root))
	for _, err := range s.Changes(t.Context()) {
		must(t, err)
	}
	want := s.Result()
	n := 0
	for _, err := range s.Changes(t.Context()) {
		if n++; !errors.Is(err, ErrUsed) {
			t.Errorf("error %v", err)
		}
	}
	if n != 1 || s.Result().Files != want.Files {
		t.Errorf("%d changes, result %+v", n, s.Result())
	}
}

func TestBadConfig(t *testing.T) {
	root := t.TempDir()
	known := newModel(t)
	for name, cfg := range map[string]Config{
		"relative root": {Root: "x", NextID: 2, Known: known},
		"no store":      {Root: root, NextID: 2},
		"next id":       {Root: root, NextID: 1, Known: known},
		"ids used up":   {Root: root, NextID: index.MaxID + 1, Known: known},
	} {
		makeTree(t, root, "a")
		var err error
		for c, e := range New(cfg).Changes(t.Context()) {
			if err = e; e == nil && c.Entry.ID != index.RootID {
				t.Errorf("%s: yielded %+v", name, c)
			}
		}
		if !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// badKnown yields what it holds for every folder.
type badKnown struct {
	list []index.Entry
	err  error
}

func (b badKnown) Children(context.Context, int64) iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		for _, e := range b.list {
			if !yield(e, nil) {
				return
			}
		}
		if b.err != nil {
			yield(index.Entry{}, b.err)
		}
	}
}

func TestBadKnown(t *testing.T) {
	root := t.TempDir()
	makeTree(t, root, "a", "b")
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		known badKnown
		want  error
	}{
		"fails":        {badKnown{err: broken}, broken},
		"out of order": {badKnown{list: []index.Entry{{ID: 2, Name: "b"}, {ID: 3, Name: "a"}}}, index.ErrInvalid},
	} {
		s := New(Config{Root: root, NextID: 10, Known: tt.known})
		var err error
		for _, err = range s.Changes(t.Context()) {
		}
		if !errors.Is(err, tt.want) || s.Result().Missing != nil {
			t.Errorf("%s: error %v, result %+v", name, err, s.Result())
		}
	}
}

func TestStop(t *testing.T) {
	root := t.TempDir()
	for i := range 300 {
		makeTree(t, root, fmt.Sprintf("d%d/e/f", i))
	}
	for _, at := range []int{1, 2, 200, 301, 500} {
		n := 0
		for _, err := range New(newModel(t).config(root)).Changes(t.Context()) {
			must(t, err)
			if n++; n == at {
				break
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		s := New(newModel(t).config(root))
		n = 0
		var last error
		for _, err := range s.Changes(ctx) {
			if n++; n == at {
				cancel()
			}
			last = err
		}
		if !errors.Is(last, context.Canceled) || s.Result().Folders != 0 {
			t.Errorf("cancelled at %d: error %v, result %+v", at, last, s.Result())
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for c, err := range New(newModel(t).config(root)).Changes(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %+v, %v", c, err)
		}
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("panic lost")
			}
		}()
		for range New(newModel(t).config(root)).Changes(t.Context()) {
			panic("in the loop")
		}
	}()
}

// endless is a filesystem of one folder that never ends, until halt.
type endless struct {
	fsys
	names int
	first func()
}

func (e *endless) open(string) (folder, error) { return e, nil }
func (e *endless) close()                      {}
func (e *endless) lstat([]byte) (inode, error) { return inode{kind: index.KindFile}, nil }
func (e *endless) next() ([]byte, error) {
	if e.names++; e.names == 5000 {
		e.first()
	}
	return fmt.Appendf(nil, "%d", e.names), nil
}

func TestStopInsideFolder(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := New(Config{Root: t.TempDir(), NextID: 2, Known: newModel(t)})
	s.openFS = func(string) (fsys, inode, error) {
		return &endless{first: cancel}, inode{kind: index.KindDir}, nil
	}
	for c, err := range s.Changes(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("change %+v, error %v", c, err)
		}
	}
}

// slowKnown takes 30 ms for each folder.
type slowKnown struct{ *model }

func (s slowKnown) Children(ctx context.Context, parent int64) iter.Seq2[index.Entry, error] {
	time.Sleep(30 * time.Millisecond)
	return s.model.Children(ctx, parent)
}

func TestProgress(t *testing.T) {
	root := t.TempDir()
	for i := range 100 {
		makeTree(t, root, fmt.Sprintf("d%d/f", i))
	}
	m := newModel(t)
	m.scan(root)
	synctest.Test(t, func(t *testing.T) {
		var calls []Progress
		m.scan(root, func(s *Scan) {
			s.cfg.Known = slowKnown{m}
			s.cfg.Progress = func(p Progress) { calls = append(calls, p) }
		})
		if len(calls) < 20 || len(calls) > 30 {
			t.Errorf("%d calls in 3 s", len(calls))
		}
		last := Progress{}
		for _, p := range calls {
			if p.Elapsed-last.Elapsed < progressEvery || p.Files < last.Files || p.Folders != 101 {
				t.Errorf("%+v after %+v", p, last)
			}
			last = p
		}
	})
}
