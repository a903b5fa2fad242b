package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
)

// spoil changes bytes of a location's file on the disk, past the connections that are open: the last place where old is.
// The descriptor stays open until the test is over, since closing it would drop SQLite's locks.
func spoil(t *testing.T, s *Store, l index.Location, old, changed string) {
	t.Helper()
	path, err := s.LocationFile(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	b := make([]byte, 1<<20)
	n, _ := f.ReadAt(b, 0)
	at := bytes.LastIndex(b[:n], []byte(old))
	if at < 0 {
		t.Fatalf("%q is not in %s", old, filepath.Base(path))
	}
	if _, err := f.WriteAt([]byte(changed), int64(at)); err != nil {
		t.Fatal(err)
	}
}

func fileOf(t *testing.T, s *Store, l index.Location) File {
	t.Helper()
	files, err := s.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f File) bool { return f.Location == l })
	if i < 0 {
		t.Fatalf("no file of %v among %v", l, files)
	}
	return files[i]
}

// TestQuarantine damages a replica under an open store, sets it aside, and brings it back from its owner.
func TestQuarantine(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	owner, replica := newStore(t), openStore(t, dir)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a/one", 1), put("a/two", 2))
	if err := pull(ctx, owner, replica, l, 100); err != nil {
		t.Fatal(err)
	}
	reader, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	for _, s := range []*Store{replica, reader} { // both have the page in memory
		if e, err := s.Lookup(ctx, l, "a/two"); err != nil || e.Size != 2 {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	spoil(t, replica, l, "two", "tow")
	if err := replica.CheckLocation(ctx, l, CheckOptions{Deep: true}); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("the check: %v", err)
	}
	f := fileOf(t, replica, l)
	if done, err := replica.Quarantine(ctx, l, f.Generation+1, "another file"); done || err != nil {
		t.Fatalf("quarantine of a generation that is not there: %v, %v", done, err)
	}
	if done, err := replica.Quarantine(ctx, l, f.Generation, "a row is wrong"); !done || err != nil {
		t.Fatalf("quarantine: %v, %v", done, err)
	}
	if done, err := replica.Quarantine(ctx, l, f.Generation, "once more"); done || err != nil {
		t.Fatalf("quarantine twice: %v, %v", done, err)
	}
	aside(t, replica, l)
	aside(t, reader, l)
	if err := replica.Close(); err != nil {
		t.Fatal(err)
	}
	replica = openStore(t, dir)
	aside(t, replica, l)
	if got := fileOf(t, replica, l); got.Quarantine != "a row is wrong" || got.Generation != f.Generation {
		t.Fatalf("after a restart: %+v", got)
	}
	old, err := replica.LocationFile(ctx, l)
	if err != nil || !exists(old) {
		t.Fatalf("the quarantined file: %v", err)
	}
	if err := pull(ctx, owner, replica, l, 100); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
	if got := fileOf(t, replica, l); got.Quarantine != "" || got.Generation == f.Generation || exists(old) {
		t.Fatalf("after it was brought back: %+v, the old file is there: %v", got, exists(old))
	}
	if e, err := reader.Lookup(ctx, l, "a/two"); err != nil || e.Size != 2 {
		t.Fatalf("a reader beside it: %+v, %v", e, err)
	}
}

// aside makes sure that nothing of a quarantined location is used.
func aside(t *testing.T, s *Store, l index.Location) {
	t.Helper()
	ctx := t.Context()
	held := func() error { _, err := s.Held(ctx, l); return err }
	for what, f := range map[string]func() error{
		"held":  held,
		"entry": func() error { _, err := s.Entry(ctx, l, 1); return err },
		"list":  func() error { _, err := s.List(ctx, l, "", "", 1); return err },
		"page": func() error {
			_, err := s.Page(ctx, PageRequest{Location: l, Mode: index.ModeFull, Limit: 1})
			return err
		},
		"check": func() error { return s.CheckLocation(ctx, l, CheckOptions{}) },
		"export": func() error {
			if s.readOnly {
				return held()
			}
			_, err := s.Export(ctx, l, Compact)
			return err
		},
		"children": func() error {
			for _, err := range s.Children(ctx, l, 1) {
				return err
			}
			return nil
		},
	} {
		err := f()
		q, ok := errors.AsType[*QuarantineError](err)
		if !ok || q.Location != l || q.Why != "a row is wrong" || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestDamageIsTold makes sure that whoever meets damage, it is told, and that nothing else is.
func TestDamageIsTold(t *testing.T) {
	owner, s := newStore(t), openStore(t, t.TempDir())
	told := map[index.Location]int{}
	var mu sync.Mutex
	s.OnDamage(func(l index.Location, err error) {
		mu.Lock()
		defer mu.Unlock()
		if told[l]++; !errors.Is(err, ErrCorrupt) {
			t.Errorf("told of %v", err)
		}
	})
	ls := map[string]index.Location{}
	for _, how := range []string{"sound", "spoiled under us", "no database", "missing"} {
		l := newLocationIn(t, owner)
		ls[how] = l
		commit(t, owner, l, put("a/one", 1), put("a/two", 2))
		if err := pull(t.Context(), owner, s, l, 100); err != nil {
			t.Fatal(err)
		}
	}
	spoil(t, s, ls["spoiled under us"], "SQLite format 3", "this is no longer")
	for how, do := range map[string]func(string) error{
		"no database": func(path string) error { return os.WriteFile(path, []byte("not a database"), 0o600) },
		"missing":     removeDB,
	} {
		path, err := s.LocationFile(t.Context(), ls[how])
		if err = errors.Join(err, s.locs[ls[how]].retire("")); err == nil {
			err = do(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		delete(s.locs, ls[how])
	}
	for how, l := range ls {
		_, err := s.Held(t.Context(), l)
		if how == "spoiled under us" {
			if err := s.locs[l].retire(""); err != nil { // what is in memory hides it
				t.Fatal(err)
			}
			delete(s.locs, l)
			_, err = s.Held(t.Context(), l)
		}
		if damaged := how != "sound"; errors.Is(err, ErrCorrupt) != damaged || (told[l] > 0) != damaged {
			t.Errorf("%s: %v, told %d times", how, err, told[l])
		}
		f, before := fileOf(t, s, l), told[l]
		if how == "sound" {
			continue
		}
		if done, err := s.Quarantine(t.Context(), l, f.Generation, how); err != nil || !done {
			t.Fatalf("quarantine: %v, %v", done, err)
		}
		if _, err := s.Held(t.Context(), l); !errors.Is(err, ErrCorrupt) || told[l] != before {
			t.Errorf("%s, quarantined: %v, told %d times, before %d", how, err, told[l], before)
		}
		if err := pull(t.Context(), owner, s, l, 100); err != nil {
			t.Errorf("%s: %v", how, err)
		}
	}
	if _, err := s.Held(t.Context(), index.Location{ID: index.LocationID{1}}); !errors.Is(err, ErrNotFound) || len(told) != 3 {
		t.Errorf("an unknown location: %v; told of %d", err, len(told))
	}
}

// TestCheckInSteps checks a location while its owner commits to it, and while its file is replaced.
func TestCheckInSteps(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	owner.limits, replica.limits = smallLimits, smallLimits
	l := newLocationIn(t, owner)
	var cs []index.Change
	for i := range 600 {
		cs = append(cs, put(fmt.Sprintf("d%d/f%d", i%9, i), 1))
	}
	commit(t, owner, l, cs...)
	steps := 0
	err := owner.CheckLocation(t.Context(), l, CheckOptions{Deep: true, leaves: 1, Rest: func(_ context.Context, worked time.Duration) error {
		if steps++; worked <= 0 {
			t.Errorf("step %d took %v", steps, worked)
		}
		commit(t, owner, l, put(fmt.Sprintf("d%d/f%d", steps%9, steps), 2), put(fmt.Sprintf("e%d/g", steps), 2), del(fmt.Sprintf("d%d/f%d", (steps+5)%9, steps+5)))
		return nil
	}})
	if err != nil || steps < 12 {
		t.Fatalf("beside commits: %v, %d steps", err, steps)
	}
	for n := range 2 { // a new epoch, and a new generation
		if err := pull(t.Context(), owner, replica, l, 100); err != nil {
			t.Fatal(err)
		}
		steps = 0
		err = replica.CheckLocation(t.Context(), l, CheckOptions{Deep: true, leaves: 1, Rest: func(context.Context, time.Duration) error {
			if steps++; steps == 6 && n == 0 {
				held, err := owner.Held(t.Context(), l)
				if err != nil {
					return err
				}
				in, err := replica.Intake(t.Context(), l, held.Head.Epoch, index.ModeFull)
				for done := false; !done && err == nil; {
					done, err = step(t.Context(), owner, in, 200)
				}
				return errors.Join(err, in.Close())
			}
			return nil
		}})
		if whole := 15; err != nil || steps < whole || (steps > whole+3) != (n == 0) {
			t.Errorf("replaced: %v, %d steps", err, steps)
		}
	}
	stop := errors.New("enough")
	if err := replica.CheckLocation(t.Context(), l, CheckOptions{Deep: true, leaves: 1, Rest: func(context.Context, time.Duration) error { return stop }}); !errors.Is(err, stop) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a rest that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, o := range []CheckOptions{{}, {Deep: true}, {Deep: true, Rest: func(context.Context, time.Duration) error { cancel(); return nil }}} {
		if o.Rest == nil {
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			err = replica.CheckLocation(gone, l, o)
		} else {
			err = replica.CheckLocation(ctx, l, o)
		}
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

func TestChecksAreRemembered(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	begun := time.Now()
	l := newLocationIn(t, s)
	f := fileOf(t, s, l)
	if f.Since.Before(begun.Add(-time.Second)) || f.Since.After(time.Now()) || !f.Checked.IsZero() || f.Quarantine != "" {
		t.Fatalf("a new file: %+v", f)
	}
	at := time.Unix(1_700_000_000, 5)
	if err := errors.Join(s.SetChecked(t.Context(), l, f.Generation+1, begun), s.SetChecked(t.Context(), l, f.Generation, at)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := fileOf(t, openStore(t, dir), l); !got.Checked.Equal(at) || !got.Since.Equal(f.Since) {
		t.Fatalf("after a restart: %+v", got)
	}
}

// TestDamagedNodeDB damages node.db in many ways. It is said which file it is; neither it nor the key is touched.
func TestDamagedNodeDB(t *testing.T) {
	for name, do := range map[string]func(b []byte) []byte{
		"another file":       func([]byte) []byte { return []byte(strings.Repeat("this is not a database. ", 400)) },
		"cut":                func(b []byte) []byte { return b[:len(b)/2] },
		"a page overwritten": func(b []byte) []byte { copy(b[2*4096:], bytes.Repeat([]byte{0xa5}, 4096)); return b },
		"the schema": func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("CREATE TABLE setting"), []byte("CREATE TABLE s!tting")) // a page that was split left a copy
		},
		"another program's": func(b []byte) []byte { b[71] ^= 1; return b }, // application_id
	} {
		dir := t.TempDir()
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		g, err := membership.NewGenesis(s.Identity(), "nas", time.Now())
		if err := errors.Join(err, s.ReplaceLibrary(t.Context(), Library{Records: []membership.Record{g}}), s.Close()); err != nil {
			t.Fatal(err)
		}
		path, keyPath := filepath.Join(dir, "node.db"), filepath.Join(dir, "identity.key")
		b, err := os.ReadFile(path)
		key, kerr := os.ReadFile(keyPath)
		b = do(b)
		if err := errors.Join(err, kerr, os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
		s, err = Open(dir)
		if err == nil {
			_, err = s.Library(t.Context())
			err = errors.Join(err, s.Close())
		}
		ne, ok := errors.AsType[*NodeDBError](err)
		if !ok || ne.Path != path || errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		now, _ := os.ReadFile(path)
		if k, _ := os.ReadFile(keyPath); !bytes.Equal(now, b) || !bytes.Equal(k, key) {
			t.Errorf("%s: a file was changed", name)
		}
	}
}

// TestLocationsAreApart deletes all that is known of locations: who this device is, and where it belongs, stays.
func TestLocationsAreApart(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	g, err := membership.NewGenesis(s.Identity(), "nas", time.Now())
	if err := errors.Join(err, s.ReplaceLibrary(t.Context(), Library{Records: []membership.Record{g}, Secret: [32]byte{1}})); err != nil {
		t.Fatal(err)
	}
	l := newLocationIn(t, s)
	self := s.Self()
	if err := errors.Join(s.Close(), os.RemoveAll(filepath.Join(dir, "locations")), os.RemoveAll(filepath.Join(dir, "staging"))); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lib, err := s.Library(t.Context())
	if err != nil || s.Self() != self || len(lib.Records) != 1 || lib.Records[0] != g || lib.Secret != [32]byte{1} {
		t.Errorf("%v, %+v, %v", s.Self(), lib, err)
	}
	if _, err := s.Held(t.Context(), l); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a location whose file was deleted: %v", err)
	}
}
