package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
)

// newStore opens a store in a fresh folder. At the end of the test the whole store is checked and closed.
func newStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, t.TempDir())
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Check(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("whole-store check: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

var testLibrary = index.LibraryID{7}

func newLocationIn(t testing.TB, s *Store) index.Location {
	t.Helper()
	l, err := s.Create(context.Background(), testLibrary, index.Record{Name: "docs", Root: "/docs", Platform: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func changes(cs ...index.Change) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for _, c := range cs {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func put(path string, size int64) index.Change {
	return index.Change{Op: index.Put, Path: path, Entry: index.Entry{Kind: index.KindFile, Size: size, MTime: size, Mode: 0o644}}
}

func del(path string) index.Change { return index.Change{Op: index.Delete, Path: path} }

func commit(t testing.TB, s *Store, l index.Location, cs ...index.Change) CommitResult {
	t.Helper()
	r, err := s.Commit(context.Background(), l, changes(cs...), CommitOptions{AsOf: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// dump reads all rows in id order, by SQL of its own.
func dump(t testing.TB, s *Store, l index.Location) []index.Entry {
	t.Helper()
	path, err := s.LocationFile(context.Background(), l)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openConn(path, accessRead)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	var out []index.Entry
	for row, err := range c.query(context.Background(), "SELECT "+entryColumns+" FROM entries ORDER BY id") {
		if err != nil {
			t.Fatal(err)
		}
		var e index.Entry
		if err := scanEntry(row, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func names(es []index.Entry) []string {
	var out []string
	for _, e := range es {
		out = append(out, e.Name)
	}
	return out
}

func TestCommitByPath(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	r := commit(t, s, l, put("a/b/c.txt", 3), put("a/d.txt", 4), put("e.txt", 5))
	if r.Put != 5 || r.Head.Count != 6 || r.Head.NextID != 7 || r.Head.AsOf == 0 {
		t.Fatalf("after the first commit: %+v", r)
	}
	r = commit(t, s, l, put("a/b/c.txt", 3), put("a/d.txt", 44))
	if r.Put != 1 || r.Unchanged != 1 {
		t.Fatalf("unchanged rows took a seq: %+v", r)
	}
	r = commit(t, s, l, del("a/b"))
	if r.Deleted != 2 || r.Head.Count != 4 || r.Head.Dead.IsZero() {
		t.Fatalf("after deleting a folder: %+v", r)
	}
	if got, want := names(dump(t, s, l)), []string{"", "a", "d.txt", "e.txt"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	if _, err := s.Commit(t.Context(), l, changes(del("nope/x")), CommitOptions{}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("deleting what isn't there: %v", err)
	}
	for _, bad := range []string{"a//b", "../x", "a/./b", "e.txt/below", "a/\x00"} {
		if _, err := s.Commit(t.Context(), l, changes(put(bad, 1)), CommitOptions{}); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("put %q: %v, want an invalid path", bad, err)
		}
	}
}

// TestCommitKeepsChunksBeforeAnError checks that a stream that breaks off leaves a signed state, and "as of" unmoved.
func TestCommitKeepsChunksBeforeAnError(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	boom := errors.New("disk away")
	stream := func(yield func(index.Change, error) bool) {
		for i := range chunkRows + 10 {
			e := index.Entry{ID: int64(i + 2), Parent: 1, Name: fmt.Sprintf("f%06d", i), Kind: index.KindFile}
			if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
				return
			}
		}
		yield(index.Change{}, boom)
	}
	r, err := s.Commit(t.Context(), l, stream, CommitOptions{AsOf: time.Now})
	if !errors.Is(err, boom) {
		t.Fatalf("error %v", err)
	}
	held, err := s.Held(t.Context(), l)
	if err != nil || held.Head.Count != chunkRows+1 || held.Head.AsOf != 0 || r.Chunks != 1 {
		t.Fatalf("after the error: %+v, %+v, %v", held.Head, r, err)
	}
}

func TestMoveCyclesAreRefused(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	commit(t, s, l, put("a/b/c", 1))
	move := func(id, parent int64, name string) error {
		e := index.Entry{ID: id, Parent: parent, Name: name, Kind: index.KindDir}
		_, err := s.Commit(t.Context(), l, changes(index.Change{Op: index.Put, Entry: e}), CommitOptions{})
		return err
	}
	if err := move(2, 3, "a"); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("a folder below itself: %v", err)
	}
	if err := move(3, 4, "b"); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("a folder below a file: %v", err)
	}
	if err := move(3, 1, "b2"); err != nil {
		t.Errorf("a plain move: %v", err)
	}
	if e, err := s.Lookup(t.Context(), l, "b2/c"); err != nil || e.ID != 4 {
		t.Errorf("after the move: %+v, %v", e, err)
	}
}

// TestTooDeepIsRefused keeps an owner from signing what no replica takes.
func TestTooDeepIsRefused(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	id := int64(1)
	folders := func(n int, parent int64) error {
		var cs []index.Change
		for range n {
			id++
			cs = append(cs, index.Change{Op: index.Put, Entry: index.Entry{ID: id, Parent: parent, Name: fmt.Sprint(id), Kind: index.KindDir}})
			parent = id
		}
		_, err := s.Commit(t.Context(), l, changes(cs...), CommitOptions{})
		return err
	}
	if err := errors.Join(folders(index.MaxDepth, 1), folders(2, 1)); err != nil {
		t.Fatal(err)
	}
	move := func(id, parent int64) error {
		e := index.Entry{ID: id, Parent: parent, Name: "moved", Kind: index.KindDir}
		_, err := s.Commit(t.Context(), l, changes(index.Change{Op: index.Put, Entry: e}), CommitOptions{})
		return err
	}
	if err := move(index.MaxDepth+2, index.MaxDepth+1); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("moved too deep: %v", err)
	}
	if err := move(index.MaxDepth+2, index.MaxDepth); err != nil {
		t.Errorf("moved as deep as may be: %v", err)
	}
	id = index.MaxDepth + 3
	if err := folders(2, index.MaxDepth+1); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("made too deep: %v", err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	s := newStore(t)
	_, err := Open(s.Dir())
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	ro, err := OpenReadOnly(s.Dir())
	if err != nil {
		t.Fatalf("open for reading beside it: %v", err)
	}
	if err := ro.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLocationIn(t, s)
	file, _ := s.LocationFile(t.Context(), l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(dir, "node.db")} {
		c, err := openConn(path, accessFull)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.script("PRAGMA user_version = 99"), c.close()); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir)
		if err == nil {
			_, err = s.Held(t.Context(), l)
			s.Close()
		}
		if !errors.Is(err, ErrNewerVersion) {
			t.Errorf("%s of a newer version: %v", filepath.Base(path), err)
		}
	}
}

func TestLibraryIsReplaced(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	g, err := membership.NewGenesis(s.Identity(), "nas", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	lib := Library{Records: []membership.Record{g}, Secret: [32]byte{1}}
	if err := s.ReplaceLibrary(t.Context(), lib); err != nil {
		t.Fatal(err)
	}
	got, err := s.Library(t.Context())
	if err != nil || len(got.Records) != 1 || got.Records[0] != g || got.Secret != lib.Secret {
		t.Fatalf("library %+v, %v", got, err)
	}
	held, err := s.Held(t.Context(), l)
	if err != nil || held.Head.Library != g.LibraryID() || held.Head.Verify() != nil {
		t.Fatalf("head after the change of library: %+v, %v", held.Head, err)
	}
}

func TestLeftoversAreDeleted(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLocationIn(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	left := s.locationPath(l, 99)
	for _, p := range []string{left, left + "-wal", left + "-shm"} {
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir)
	for _, p := range []string{left, left + "-wal", left + "-shm"} {
		if exists(p) {
			t.Errorf("%s is still there", filepath.Base(p))
		}
	}
	if _, err := s.Held(t.Context(), l); err != nil {
		t.Errorf("the file in use: %v", err)
	}
}

// generate yields n new entries breadth-first, folders of about 40, names no shorter than real ones, sizes
// log-uniform and times random to the nanosecond.
func generate(n int, seed uint64) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		r := rand.New(rand.NewPCG(seed, 1))
		folders := []int64{1}
		for id := int64(2); id < int64(n)+2; {
			parent := folders[0]
			folders = folders[1:]
			for k := 0; k < 40 && id < int64(n)+2; k++ {
				e := index.Entry{
					ID: id, Parent: parent, Name: fmt.Sprintf("%03d-%x-%s.txt", k, r.Uint32(), "report"[:1+r.IntN(6)]),
					Kind: index.KindFile, Size: int64(1) << r.IntN(30), MTime: 1_600_000_000_000_000_000 + r.Int64N(1<<57), Mode: 0o644,
				}
				if k < 4 {
					e.Kind, e.Size, e.Mode = index.KindDir, 0, 0o755
					folders = append(folders, id)
				}
				if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
					return
				}
				id++
			}
		}
	}
}
