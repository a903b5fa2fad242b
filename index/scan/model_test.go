package scan

import (
	"cmp"
	"context"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// tester is what the helpers need of *testing.T and *rapid.T.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// model is a store in memory. It applies changes as strictly as the real one.
type model struct {
	t    tester
	rows map[int64]index.Entry
	next int64
}

func newModel(t tester) *model {
	root := index.Entry{ID: index.RootID, Kind: index.KindDir}
	return &model{t: t, rows: map[int64]index.Entry{index.RootID: root}, next: 2}
}

func (m *model) Children(_ context.Context, parent int64) iter.Seq2[index.Entry, error] {
	var list []index.Entry
	for _, e := range m.rows {
		if e.Parent == parent {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b index.Entry) int { return cmp.Compare(a.Name, b.Name) })
	return func(yield func(index.Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *model) config(root string) Config {
	return Config{
		Root: root, RootEntry: m.rows[index.RootID], NextID: m.next, Known: m, HasEntries: len(m.rows) > 1, Workers: 2,
	}
}

func (m *model) put(c index.Change) {
	m.t.Helper()
	e := c.Entry
	if err := e.Validate(); err != nil || c.Op != index.Put || c.Path != "" {
		m.t.Fatalf("change %+v: %v", c, err)
	}
	old, known := m.rows[e.ID]
	switch {
	case known && (old.Parent != e.Parent || old.Name != e.Name):
		m.t.Fatalf("id %d moved from %d %q to %d %q", e.ID, old.Parent, old.Name, e.Parent, e.Name)
	case known && old.SameContent(&e):
		m.t.Fatalf("id %d, %q: yielded and the same", e.ID, e.Name)
	case !known && e.ID != m.next:
		m.t.Fatalf("new id %d, want %d", e.ID, m.next)
	case !known && m.rows[e.Parent].Kind != index.KindDir:
		m.t.Fatalf("id %d: parent %d is %v", e.ID, e.Parent, m.rows[e.Parent].Kind)
	case !known:
		m.next++
	}
	m.rows[e.ID] = e
}

// remove deletes what a result says is missing, as a caller would.
func (m *model) remove(list []Missing) {
	m.t.Helper()
	for _, x := range list {
		if e, ok := m.rows[x.ID]; !ok || e.Kind != x.Kind {
			m.t.Fatalf("missing id %d, %v: the store has %+v", x.ID, x.Kind, e)
		}
		m.drop(x.ID)
		if x.Replacement != nil {
			e := *x.Replacement
			e.ID = m.next
			m.put(index.Change{Op: index.Put, Entry: e})
		}
	}
}

func (m *model) drop(id int64) {
	for child, e := range m.rows {
		if e.Parent == id {
			m.drop(child)
		}
	}
	delete(m.rows, id)
}

// path is the path of a row below the root.
func (m *model) path(id int64) string {
	e := m.rows[id]
	if e.Parent <= index.RootID {
		return e.Name
	}
	return m.path(e.Parent) + "/" + e.Name
}

// id finds the row at a path, or 0.
func (m *model) id(path string) int64 {
	for id := range m.rows {
		if m.path(id) == path {
			return id
		}
	}
	return 0
}

// scan runs one scan over root and applies what it yields, and what is missing.
func (m *model) scan(root string, with ...func(*Scan)) ([]index.Entry, Result) {
	m.t.Helper()
	puts, res, err := m.tryScan(root, with...)
	if err != nil {
		m.t.Fatalf("scan: %v", err)
	}
	m.remove(res.Missing)
	return puts, res
}

// tryScan applies what is yielded only.
func (m *model) tryScan(root string, with ...func(*Scan)) ([]index.Entry, Result, error) {
	m.t.Helper()
	s := New(m.config(root))
	for _, f := range with {
		f(s)
	}
	var puts []index.Entry
	for c, err := range s.Changes(context.Background()) {
		if err != nil {
			if r := s.Result(); r.Files != 0 || r.Missing != nil {
				m.t.Errorf("result after an error: %+v", r)
			}
			return puts, Result{}, err
		}
		m.put(c)
		puts = append(puts, c.Entry)
	}
	if got := s.Result().NextID; got != m.next {
		m.t.Errorf("result says next id %d, want %d", got, m.next)
	}
	return puts, s.Result(), nil
}

// seen is what a row says of an entry, without ids.
type seen struct {
	kind  index.Kind
	size  int64
	mtime int64
	mode  uint32
}

// paths returns the model's rows by path.
func (m *model) paths() map[string]seen {
	out := map[string]seen{}
	for id, e := range m.rows {
		p := m.path(id)
		if _, twice := out[p]; twice {
			m.t.Errorf("two rows for %q", p)
		}
		out[p] = seen{e.Kind, e.Size, e.MTime, e.Mode}
	}
	return out
}

// walk reads a folder by the standard library, to compare with.
func walk(t tester, root string) map[string]seen {
	t.Helper()
	out := map[string]seen{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if rel == "." {
			rel = ""
		}
		out[filepath.ToSlash(rel)] = infoSeen(info)
		return nil
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	return out
}

func infoSeen(info fs.FileInfo) seen {
	s := seen{kind: index.KindOther, mtime: info.ModTime().UnixNano(), mode: uint32(info.Mode().Perm())}
	for bit, v := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if info.Mode()&bit != 0 {
			s.mode |= v
		}
	}
	switch info.Mode().Type() {
	case 0:
		s.kind, s.size = index.KindFile, info.Size()
	case fs.ModeDir:
		s.kind = index.KindDir
	case fs.ModeSymlink:
		s.kind, s.size = index.KindSymlink, info.Size()
	}
	return s
}

// makeTree creates folders (names that end in "/"), symbolic links ("link->target"), and files of 3 bytes.
func makeTree(t testing.TB, root string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		must(t, makeOne(root, p))
	}
}

func makeOne(root, p string) error {
	if link, target, ok := strings.Cut(p, "->"); ok {
		return os.Symlink(target, filepath.Join(root, link))
	}
	if p[len(p)-1] == '/' {
		return os.MkdirAll(filepath.Join(root, p), 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, p), []byte("abc"), 0o644)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
