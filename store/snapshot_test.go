package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerdex/peerdex/index"
)

var variants = []Variant{Compact, Native}

// take exports a location and imports it elsewhere.
func take(ctx context.Context, from, to *Store, l index.Location, v Variant) (index.SignedHead, error) {
	n, err := from.Export(ctx, l, v)
	if err != nil {
		return index.SignedHead{}, err
	}
	err = to.Import(ctx, l, io.NewSectionReader(n, 0, n.Size), n.Head, n.Record, v)
	return n.Head, errors.Join(err, n.Close())
}

func staged(t testing.TB, s *Store) []string {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(s.dir, "staging"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		out = append(out, f.Name())
	}
	return out
}

// TestSnapshotIsTheLocation exports with and without free pages and dead runs, imports, and goes on by delta from there
// and to a third device.
func TestSnapshotIsTheLocation(t *testing.T) {
	for _, v := range variants {
		for _, deleted := range []int{0, 1, 2000} {
			t.Run(fmt.Sprintf("%v, %d deleted", v, deleted), func(t *testing.T) {
				owner, replica, third := newStore(t), newStore(t), newStore(t)
				l := newLocationIn(t, owner)
				if _, err := owner.Commit(t.Context(), l, generate(5000, 1), CommitOptions{AsOf: time.Now}); err != nil {
					t.Fatal(err)
				}
				var gone []index.Change
				for id := int64(5001 - deleted); id < 5001; id++ {
					gone = append(gone, index.Change{Op: index.Delete, Entry: index.Entry{ID: id}})
				}
				commit(t, owner, l, gone...)
				head, err := take(t.Context(), owner, replica, l, v)
				if err != nil {
					t.Fatal(err)
				}
				equal(t, owner, replica, l)
				held, err := replica.Held(t.Context(), l)
				want := int64(0)
				if v == Compact {
					want = head.Seq
				}
				if err != nil || held.Head != head || held.Horizon != want {
					t.Fatalf("held %+v, %v; want %+v with horizon %d", held, err, head, want)
				}
				if left := staged(t, replica); len(left) != 0 {
					t.Errorf("left in staging: %v", left)
				}
				if err := third.importFrom(t, replica, l, v); err != nil {
					t.Fatal(err)
				}
				commit(t, owner, l, put("new/file", 1), index.Change{Op: index.Delete, Entry: index.Entry{ID: 3000}})
				for _, s := range []*Store{replica, third} {
					if err := pull(t.Context(), owner, s, l, 100); err != nil {
						t.Fatal(err)
					}
					equal(t, owner, s, l)
				}
			})
		}
	}
}

func (s *Store) importFrom(t testing.TB, from *Store, l index.Location, v Variant) error {
	_, err := take(t.Context(), from, s, l, v)
	return err
}

// TestExportWhileWriting takes snapshots while the owner commits: each is exactly a state that was signed.
func TestExportWhileWriting(t *testing.T) {
	owner := newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(20_000, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		for i := int64(1); ctx.Err() == nil; i++ {
			e := put(fmt.Sprintf("written/%d", i), i)
			if i%7 == 0 {
				e = del(fmt.Sprintf("written/%d", i-3))
			}
			if _, err := owner.Commit(context.Background(), l, changes(e), CommitOptions{AsOf: time.Now}); err != nil {
				return err
			}
		}
		return nil
	})
	last := int64(0)
	for i := range 6 {
		v := variants[i%2]
		replica := newStore(t)
		head, err := take(ctx, owner, replica, l, v)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		if head.Seq <= last {
			t.Errorf("export %d stands at %d, the one before at %d", i, head.Seq, last)
		}
		last = head.Seq
		if err := replica.CheckLocation(ctx, l, CheckOptions{Deep: true}); err != nil {
			t.Errorf("%v: %v", v, err)
		}
	}
	cancel()
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotsAreShared has several takers of one state share a file, and bounds the space of all.
func TestSnapshotsAreShared(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	commit(t, s, l, put("a", 1))
	got := make([]*Snapshot, 4)
	var g errgroup.Group
	for i := range got {
		g.Go(func() (err error) {
			got[i], err = s.Export(t.Context(), l, Compact)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, l) // moves "as of" alone
	again, err := s.Export(t.Context(), l, Compact)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range append(got, again) {
		if n.ID != got[0].ID {
			t.Errorf("two files for one state")
		}
		if err := errors.Join(n.Close(), n.Close()); err != nil {
			t.Error(err)
		}
	}
	resumed, err := s.OpenSnapshot(got[0].ID)
	if err != nil || resumed.Head != got[0].Head {
		t.Fatalf("opened again: %v", err)
	}
	info, err := os.Stat(resumed.file.path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != resumed.Size {
		t.Errorf("file %v, %v", info, err)
	}
	// In use, it can't make room for another state.
	s.SetSnapshotSpace(resumed.Size + 1)
	commit(t, s, l, put("b", 1))
	if _, err := s.Export(t.Context(), l, Compact); !errors.Is(err, ErrBusy) {
		t.Fatalf("without space: %v", err)
	}
	if err := resumed.Close(); err != nil {
		t.Fatal(err)
	}
	s.SetSnapshotSpace(200_000)
	for i := range int64(20) {
		commit(t, s, l, put("c", i+2))
		n, err := s.Export(t.Context(), l, variants[i%2])
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	total := int64(0)
	for _, name := range staged(t, s) {
		if info, err := os.Stat(filepath.Join(s.dir, "staging", name)); err == nil {
			total += info.Size()
		}
	}
	if total == 0 || total > 200_000 {
		t.Errorf("%d bytes in staging, limit 200,000", total)
	}
	if _, err := s.OpenSnapshot(got[0].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted snapshot: %v", err)
	}
}

// TestDropDeletesSnapshots drops a location while a snapshot of it is read.
func TestDropDeletesSnapshots(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	unused, err := s.Export(t.Context(), l, Compact)
	if err != nil {
		t.Fatal(err)
	}
	used, err := s.Export(t.Context(), l, Native)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unused.Close(), s.Drop(t.Context(), l)); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, s); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
	if _, err := io.ReadAll(io.NewSectionReader(used, 0, used.Size)); err != nil {
		t.Errorf("a snapshot in use: %v", err)
	}
	if err := used.Close(); err != nil {
		t.Error(err)
	}
}

// TestSnapshotLeftoversAreDeleted reopens a store whose process ended in the middle of exports and imports.
func TestSnapshotLeftoversAreDeleted(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, path := s.newSnapshotPath()
	resume := filepath.Join(dir, "staging", "resume.full.db")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "-wal", path + "-shm", path + "-journal", resume} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir)
	if left := staged(t, s); len(left) != 1 || left[0] != filepath.Base(resume) {
		t.Errorf("left in staging: %v", left)
	}
}

// TestImportIsRefused checks what needs no look into the file.
func TestImportIsRefused(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l, other := newLocationIn(t, owner), newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1))
	old, err := owner.Export(t.Context(), l, Compact)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	commit(t, owner, l, put("b", 1))
	if _, err := take(t.Context(), owner, replica, l, Native); err != nil {
		t.Fatal(err)
	}
	held, _ := owner.Held(t.Context(), l)
	others, _ := owner.Held(t.Context(), other)
	forged := held.Head
	forged.AsOf++
	for _, c := range []struct {
		name   string
		at     index.Location
		head   index.SignedHead
		record []byte
		want   error
	}{
		{"an older head", l, old.Head, old.Record, ErrOlder},
		{"a head of another location", l, others.Head, others.Raw, ErrMismatch},
		{"a head that nobody signed", l, forged, held.Raw, index.ErrBadSignature},
		{"another record", l, held.Head, append([]byte{1}, held.Raw...), ErrMismatch},
		{"the state of another head", l, held.Head, held.Raw, ErrMismatch},
	} {
		err := replica.Import(t.Context(), c.at, io.NewSectionReader(old, 0, old.Size), c.head, c.record, Compact)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := owner.Import(t.Context(), l, io.NewSectionReader(old, 0, old.Size), held.Head, held.Raw, Compact); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("an own location: %v", err)
	}
	in, err := replica.Intake(t.Context(), l, held.Head.Epoch, index.ModeDelta)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take(t.Context(), owner, replica, l, Native); !errors.Is(err, ErrBusy) {
		t.Errorf("beside an intake: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
	if left := staged(t, replica); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// TestImportFileTakesTheFile gives a file away.
func TestImportFileTakesTheFile(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1))
	for _, v := range variants {
		n, err := owner.Export(t.Context(), l, v)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(n, 0, n.Size))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(replica.dir, "got.db")
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := replica.ImportFile(t.Context(), l, file, n.Head, n.Record, v); err != nil {
			t.Fatal(err)
		}
		if exists(file) {
			t.Error("the file is still there")
		}
		equal(t, owner, replica, l)
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
