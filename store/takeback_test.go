package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// takeBack moves an own location from a device that holds a replica of it back to its owner, page by page.
func takeBack(ctx context.Context, from, owner *Store, l index.Location, limit int, tamper func(*index.Page)) error {
	held, err := from.Held(ctx, l)
	if err != nil {
		return err
	}
	in, err := owner.TakeBack(ctx, l, held.Head.Epoch)
	if err != nil {
		return err
	}
	for done := false; !done && err == nil; {
		tok := in.Token()
		var p index.Page
		if p, err = from.Page(ctx, PageRequest{Location: l, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: limit}); err != nil {
			break
		}
		if tamper != nil {
			tamper(&p)
		}
		var next index.Token
		if next, done, err = tok.Advance(&p, proof.FoldDead); err == nil {
			err = in.Put(ctx, &p, next, done)
		}
	}
	return errors.Join(err, in.Close())
}

// told makes a device know what another one holds of a location, as an exchange of heads does.
func told(t *testing.T, s, from *Store, l index.Location) {
	t.Helper()
	held, err := from.Held(t.Context(), l)
	if err == nil {
		err = s.SetHeard(t.Context(), Heard{Device: from.Self(), Head: held.Head, Record: held.Raw, Horizon: held.Horizon, Held: true, At: time.Now()})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lose takes away from the folder of a closed store what a user, a disk or a new system may take away.
func lose(t *testing.T, dir, what string) {
	t.Helper()
	var err error
	files, _ := filepath.Glob(filepath.Join(dir, "locations", "*.db"))
	if len(files) != 1 {
		t.Fatalf("files %q", files)
	}
	switch what {
	case "the file":
		err = os.Remove(files[0])
	case "what is in the file":
		err = os.WriteFile(files[0], []byte("this is not a database"), 0o600)
	case "all of the file's bytes":
		err = os.Truncate(files[0], 0)
	case "everything but the key":
		err = errors.Join(os.Remove(filepath.Join(dir, "node.db")), os.RemoveAll(filepath.Join(dir, "locations")), os.RemoveAll(filepath.Join(dir, "staging")))
	default:
		t.Fatal(what)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestTakeBack loses the file of an own location in several ways and takes it back. Rows come as they were, hash and
// attrs too; numbers go on above all that anybody knows of.
func TestTakeBack(t *testing.T) {
	for _, what := range []string{"the file", "what is in the file", "all of the file's bytes", "everything but the key"} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			owner, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			replica, ahead := newStore(t), newStore(t)
			l := newLocationIn(t, owner)
			rich := put("a/hashed", 1)
			rich.Entry.Hash, rich.Entry.Attrs = make([]byte, 32), []byte("of the application")
			rich.Entry.Hash[0] = 7
			commit(t, owner, l, rich, put("a/b", 2), put("gone", 3), put("c", 4))
			commit(t, owner, l, del("gone"))
			if err := pull(t.Context(), owner, replica, l, 2); err != nil {
				t.Fatal(err)
			}
			commit(t, owner, l, put("a/b", 5), del("c"))
			if err := pull(t.Context(), owner, replica, l, 2); err != nil {
				t.Fatal(err)
			}
			commit(t, owner, l, put("lost", 6)) // known to a device that can't be reached, and to nobody else
			if err := errors.Join(pull(t.Context(), owner, ahead, l, 100), owner.Close()); err != nil {
				t.Fatal(err)
			}
			lose(t, dir, what)
			owner = openStore(t, dir)
			if _, err := owner.Held(t.Context(), l); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("the lost file: %v", err)
			}
			told(t, owner, replica, l)
			told(t, owner, ahead, l)
			if err := takeBack(t.Context(), replica, owner, l, 2, nil); err != nil {
				t.Fatal(err)
			}
			checkTakenBack(t, owner, replica, ahead, l)
		})
	}
}

func checkTakenBack(t *testing.T, owner, replica, ahead *Store, l index.Location) {
	t.Helper()
	equal(t, owner, replica, l)
	held, err := owner.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _ := replica.Held(t.Context(), l)
	highest, _ := ahead.Held(t.Context(), l)
	h, was := held.Head, highest.Head
	if h.Epoch.Counter != was.Epoch.Counter+1 || h.Seq <= was.Seq || h.NextID != was.NextID || h.Count != theirs.Head.Count ||
		h.Root != theirs.Head.Root || h.Record != was.Record || h.AsOf != theirs.Head.AsOf || !h.Dead.IsZero() || held.Horizon != h.Seq || h.Verify() != nil {
		t.Fatalf("the highest was %+v, the replica's %+v, taken back %+v", was.Head, theirs.Head.Head, held)
	}
	if left := staged(t, owner); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
	if err := owner.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := commit(t, owner, l, put("a/new", 7), del("a/b"))
	if r.Put != 1 || r.Head.NextID != was.NextID+1 || r.Head.Seq != h.Seq+2 {
		t.Fatalf("the first commit: %+v", r)
	}
	for _, s := range []*Store{replica, ahead} {
		in, err := s.Intake(t.Context(), l, r.Head.Epoch, index.ModeFull)
		if err != nil {
			t.Fatal(err)
		}
		for done := false; !done; {
			if done, err = step(t.Context(), owner, in, 3); err != nil {
				t.Fatal(err)
			}
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		equal(t, owner, s, l)
	}
	e, err := replica.Lookup(t.Context(), l, "a/hashed")
	if err != nil || len(e.Hash) != 32 || e.Hash[0] != 7 || string(e.Attrs) != "of the application" {
		t.Fatalf("hash and attrs: %+v, %v", e, err)
	}
}

// TestTakeBackIsProved takes a location back from a device that lies. What is on the disk stays as it is.
func TestTakeBackIsProved(t *testing.T) {
	dir := t.TempDir()
	owner, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	replica := newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a/b", 1), put("c", 2))
	if err := errors.Join(pull(t.Context(), owner, replica, l, 2), owner.Close()); err != nil {
		t.Fatal(err)
	}
	lose(t, dir, "what is in the file")
	owner = openStore(t, dir)
	path, err := owner.LocationFile(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	for name, tamper := range map[string]func(*index.Page){
		"a row hidden":   func(p *index.Page) { p.Rows = p.Rows[:max(len(p.Rows)-1, 0)] },
		"a row renamed":  func(p *index.Page) { forRow(p, "c", func(e *index.Entry) { e.Name = "made up" }) },
		"a row's attrs":  func(p *index.Page) { forRow(p, "c", func(e *index.Entry) { e.Attrs = []byte("made up") }) },
		"a parent gone":  func(p *index.Page) { forRow(p, "b", func(e *index.Entry) { e.Parent = 4 }) },
		"another record": func(p *index.Page) { p.Record = append([]byte{1}, p.Record...) },
	} {
		if err := takeBack(t.Context(), replica, owner, l, 100, tamper); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v, want a mismatch", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "this is not a database" {
			t.Fatalf("%s: the old file is %q, %v", name, b, err)
		}
	}
	if err := takeBack(t.Context(), replica, owner, l, 100, nil); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
}

func forRow(p *index.Page, name string, change func(*index.Entry)) {
	for i := range p.Rows {
		if p.Rows[i].Name == name {
			change(&p.Rows[i])
		}
	}
}

// TestTakeBackIsRefused for what isn't ours, and for what was removed, whoever says so and however late.
func TestTakeBackIsRefused(t *testing.T) {
	dir := t.TempDir()
	owner, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	replica, later := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b", 1), put("c", 1))
	if err := pull(t.Context(), owner, replica, l, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := owner.SetRecord(t.Context(), l, func(r *index.Record) { r.Retired = index.Retired }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pull(t.Context(), owner, later, l, 2), owner.Close()); err != nil {
		t.Fatal(err)
	}
	lose(t, dir, "everything but the key")
	owner = openStore(t, dir)
	told(t, owner, replica, l)
	held, _ := replica.Held(t.Context(), l)
	in, err := owner.TakeBack(t.Context(), l, held.Head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	told(t, owner, later, l) // while the transfer is under way
	for err == nil {
		var done bool
		if done, err = step(t.Context(), replica, in, 2); done && err == nil {
			t.Fatal("a removed location came back")
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, ErrRetired) {
		t.Errorf("removed, as is heard during the transfer: %v", err)
	}
	if _, err := owner.TakeBack(t.Context(), l, held.Head.Epoch); !errors.Is(err, ErrRetired) {
		t.Errorf("a removed location: %v", err)
	}
	if err := owner.Renew(t.Context(), l); !errors.Is(err, ErrRetired) {
		t.Errorf("a removed location begun anew: %v", err)
	}
	if _, err := replica.TakeBack(t.Context(), l, held.Head.Epoch); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("a location of another device: %v", err)
	}
	if _, err := owner.Intake(t.Context(), l, held.Head.Epoch, index.ModeFull); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("an own location as a replica: %v", err)
	}
}

// TestFilesAreUsedAgainWithoutNodeDB loses node.db alone. Own locations go on as they were; nothing that was published is
// taken for somebody else's.
func TestFilesAreUsedAgainWithoutNodeDB(t *testing.T) {
	dir := t.TempDir()
	owner, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := newStore(t)
	l, damaged, foreign := newLocationIn(t, owner), newLocationIn(t, owner), newLocationIn(t, other)
	commit(t, owner, l, put("a", 1), put("b", 2))
	if err := errors.Join(pull(t.Context(), other, owner, foreign, 10), owner.Renew(t.Context(), l)); err != nil { // a second generation
		t.Fatal(err)
	}
	commit(t, owner, l, put("a", 1), put("b", 2))
	was, err := owner.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	file, errA := owner.LocationFile(t.Context(), l)
	bad, errB := owner.LocationFile(t.Context(), damaged)
	stale := owner.locationPath(l, 1) // left by a crash before it was deleted
	if err := errors.Join(errA, errB, owner.Close(), os.WriteFile(stale, nil, 0o600), os.WriteFile(bad, []byte("no database"), 0o600),
		os.Remove(filepath.Join(dir, "node.db"))); err != nil {
		t.Fatal(err)
	}
	owner, err = Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	now, err := owner.Held(t.Context(), l)
	if err != nil || now.Head != was.Head {
		t.Fatalf("was %+v, is %+v, %v", was.Head, now.Head, err)
	}
	if unknown, err := owner.Unknown(t.Context(), &was.Head.Head); unknown || err != nil {
		t.Errorf("its own head is unknown: %v, %v", unknown, err)
	}
	newer := was.Head.Head
	newer.Seq++
	if unknown, err := owner.Unknown(t.Context(), &newer); !unknown || err != nil {
		t.Errorf("a newer head is known: %v, %v", unknown, err)
	}
	if _, err := owner.Held(t.Context(), damaged); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged file is not there any more: %v", err)
	}
	locs, err := owner.Locations(t.Context())
	if err != nil || len(locs) != 2 || slices.Contains(locs, foreign) {
		t.Errorf("locations %v, %v", locs, err)
	}
	if again, err := owner.LocationFile(t.Context(), l); err != nil || again != file {
		t.Errorf("file %s, was %s, %v", again, file, err)
	}
	if exists(stale) {
		t.Error("an older generation is still there")
	}
	made, err := owner.Create(t.Context(), testLibrary, index.Record{Name: "more", Root: "/more", Platform: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	if path, err := owner.LocationFile(t.Context(), made); err != nil || filepath.Ext(path[:len(path)-len(".db")]) != ".5" {
		t.Errorf("the next generation: %s, %v; four were used", filepath.Base(path), err)
	}
}

// TestOlderNodeDB brings back a node.db from before a location got another file. That file is used, not deleted.
func TestOlderNodeDB(t *testing.T) {
	dir := t.TempDir()
	owner, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := newLocationIn(t, owner)
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node.db")
	old, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	if owner, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := owner.Renew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	is := commit(t, owner, l, put("a", 1))
	if err := errors.Join(owner.Close(), os.WriteFile(node, old, 0o600)); err != nil {
		t.Fatal(err)
	}
	owner = openStore(t, dir)
	held, err := owner.Held(t.Context(), l)
	if err != nil || held.Head != is.Head {
		t.Fatalf("was %+v, is %+v, %v", is.Head, held.Head, err)
	}
	if err := owner.Renew(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if path, err := owner.LocationFile(t.Context(), l); err != nil || path != owner.locationPath(l, 3) {
		t.Errorf("the third file is %s, %v", path, err)
	}
}
