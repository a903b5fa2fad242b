package store

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
)

func incoming(n *Snapshot) Incoming {
	return Incoming{ID: n.ID, Variant: n.Variant, Size: n.Size, Head: n.Head, Record: n.Record}
}

// exported is an owner's location with so many entries, and a snapshot of it.
func exported(t testing.TB, entries int, v Variant) (*Store, index.Location, *Snapshot) {
	t.Helper()
	owner := newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(entries, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	n, err := owner.Export(t.Context(), l, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return owner, l, n
}

// feed writes bytes of a snapshot to a download, from where it stands up to end.
func feed(t testing.TB, d *Download, n *Snapshot, end int64) {
	t.Helper()
	_, _, at := d.Have()
	b := make([]byte, end-at)
	if _, err := n.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for len(b) > 0 { // in pieces, as a transfer does
		k := min(len(b), 10_000)
		if _, err := d.Write(b[:k]); err != nil {
			t.Fatal(err)
		}
		b = b[k:]
	}
}

func download(t testing.TB, s *Store, l index.Location) *Download {
	t.Helper()
	d, err := s.Download(l)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// have checks what is there of a snapshot.
func have(t testing.TB, d *Download, n *Snapshot, want int64) {
	t.Helper()
	if id, v, at := d.Have(); want > 0 && (id != n.ID || v != n.Variant || at != want) || want == 0 && (id != "" || at != 0) {
		t.Fatalf("%d bytes of a %v snapshot %q, want %d of %q", at, v, id, want, n.ID)
	}
}

// TestDownloadGoesOn closes the download, and the store, in the middle.
func TestDownloadGoesOn(t *testing.T) {
	for _, v := range variants {
		owner, l, n := exported(t, 3000, v)
		dir := filepath.Join(t.TempDir(), "replica")
		replica, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		replica.limits.checkpoint = 30_000
		d := download(t, replica, l)
		have(t, d, n, 0)
		if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := replica.Download(l); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one: %v", err)
		}
		feed(t, d, n, 45_678)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = download(t, replica, l)
		have(t, d, n, 45_678)
		if err := d.Begin(t.Context(), incoming(n), 45_678); err != nil {
			t.Fatal(err)
		}
		feed(t, d, n, 100_000)
		if err := errors.Join(d.Close(), replica.Close()); err != nil {
			t.Fatal(err)
		}
		replica = openStore(t, dir)
		d = download(t, replica, l)
		have(t, d, n, 100_000)
		if err := d.Finish(t.Context()); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("finished half way: %v", err)
		}
		if err := d.Begin(t.Context(), incoming(n), 100_000); err != nil {
			t.Fatal(err)
		}
		feed(t, d, n, n.Size)
		if _, err := d.Write([]byte{1}); !errors.Is(err, ErrMismatch) {
			t.Errorf("a byte too many: %v", err)
		}
		if err := errors.Join(d.Finish(t.Context()), d.Close()); err != nil {
			t.Fatal(err)
		}
		if d.Proved() != n.Head.Count {
			t.Errorf("%d entries proved, want %d", d.Proved(), n.Head.Count)
		}
		equal(t, owner, replica, l)
		if left := staged(t, replica); len(left) != 0 {
			t.Errorf("left in staging: %v", left)
		}
		commit(t, owner, l, put("new", 1))
		if err := pull(t.Context(), owner, replica, l, 100); err != nil {
			t.Fatal(err)
		}
		equal(t, owner, replica, l)
	}
}

// TestDownloadAfterACrash copies the data folder of a store that runs: what the copy finds is what was durable, and what
// was written behind it is not looked at.
func TestDownloadAfterACrash(t *testing.T) {
	owner, l, n := exported(t, 3000, Compact)
	replica := newStore(t)
	replica.limits.checkpoint = 30_000
	d := download(t, replica, l)
	defer d.Close()
	if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
		t.Fatal(err)
	}
	crash := func() (*Store, *Download) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(replica.dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "identity.key"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, dir)
		d := download(t, s, l)
		t.Cleanup(func() { d.Close() })
		return s, d
	}
	feed(t, d, n, 20_000)
	_, after := crash()
	have(t, after, n, 0)
	feed(t, d, n, 80_000)
	if err := d.wait(true); err != nil {
		t.Fatal(err)
	}
	copied, after := crash()
	_, _, at := after.Have()
	if at < 30_000 || at > 80_000 {
		t.Fatalf("%d bytes after a crash at 80,000", at)
	}
	have(t, after, n, at)
	if info, err := os.Stat(after.im.path); err != nil || info.Size() != at {
		t.Errorf("file %v, %v; want %d bytes", info, err, at)
	}
	if err := after.Begin(t.Context(), incoming(n), at); err != nil {
		t.Fatal(err)
	}
	feed(t, after, n, n.Size)
	if err := after.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, copied, l)
}

// TestDownloadIsRefused checks what is known before a byte came, and what must fit when it goes on.
func TestDownloadIsRefused(t *testing.T) {
	owner, l, n := exported(t, 100, Compact)
	replica := newStore(t)
	other := newLocationIn(t, owner)
	elsewhere, err := owner.Held(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	d := download(t, replica, l)
	change := func(fn func(in *Incoming)) Incoming {
		in := incoming(n)
		fn(&in)
		return in
	}
	for name, c := range map[string]struct {
		in   Incoming
		want error
	}{
		"too large":        {change(func(in *Incoming) { in.Size = maxSnapshot(&in.Head.Head) + 1 }), ErrMismatch},
		"too small":        {change(func(in *Incoming) { in.Size = 100 }), ErrMismatch},
		"no ID":            {change(func(in *Incoming) { in.ID = "" }), ErrMismatch},
		"another location": {change(func(in *Incoming) { in.Head, in.Record = elsewhere.Head, elsewhere.Raw }), ErrMismatch},
		"another record":   {change(func(in *Incoming) { in.Record = []byte{1} }), ErrMismatch},
		"not signed":       {change(func(in *Incoming) { in.Head.AsOf++ }), index.ErrBadSignature},
	} {
		if err := d.Begin(t.Context(), c.in, 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if left := staged(t, replica); len(left) != 0 {
			t.Errorf("%s: left in staging: %v", name, left)
		}
	}
	if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
		t.Fatal(err)
	}
	feed(t, d, n, 5000)
	for name, c := range map[string]struct {
		in Incoming
		at int64
	}{
		"another offset":   {incoming(n), 4096},
		"another snapshot": {change(func(in *Incoming) { in.ID += "0" }), 5000},
		"another variant":  {change(func(in *Incoming) { in.Variant = Native }), 5000},
		"another size":     {change(func(in *Incoming) { in.Size += pageSize }), 5000},
	} {
		if err := d.Begin(t.Context(), c.in, c.at); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		have(t, d, n, 5000)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := replica.importFrom(t, owner, l, Compact); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, put("new", 1))
	if err := pull(t.Context(), owner, replica, l, 100); err != nil {
		t.Fatal(err)
	}
	d = download(t, replica, l)
	defer d.Close()
	have(t, d, n, 0)
	if err := d.Begin(t.Context(), incoming(n), 0); !errors.Is(err, ErrOlder) {
		t.Errorf("older than the replica: %v", err)
	}
	if _, err := owner.Download(l); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("an own location: %v", err)
	}
}

// TestDownloadOfAnotherFile proves nothing right that the owner didn't sign, and leaves nothing of it.
func TestDownloadOfAnotherFile(t *testing.T) {
	for _, v := range variants {
		owner, l, n := exported(t, 500, v)
		commit(t, owner, l, put("new", 1))
		newer, err := owner.Held(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		replica := newStore(t)
		d := download(t, replica, l)
		in := incoming(n)
		in.Head, in.Record = newer.Head, newer.Raw
		if err := d.Begin(t.Context(), in, 0); err != nil {
			t.Fatal(err)
		}
		feed(t, d, n, n.Size)
		if err := d.Finish(t.Context()); !errors.Is(err, ErrMismatch) {
			t.Errorf("%v: %v", v, err)
		}
		have(t, d, n, 0)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if left := staged(t, replica); len(left) != 0 {
			t.Errorf("%v: left in staging: %v", v, left)
		}
		if _, err := replica.Held(t.Context(), l); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v: held: %v", v, err)
		}
	}
}

// TestFinishIsInterrupted ends the context at any moment of the proof: the download stays whole, and is proved later.
func TestFinishIsInterrupted(t *testing.T) {
	for _, v := range variants {
		owner, l, n := exported(t, 20_000, v)
		dir := filepath.Join(t.TempDir(), "replica")
		replica, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		d := download(t, replica, l)
		if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
			t.Fatal(err)
		}
		feed(t, d, n, n.Size)
		interrupted := 0
		for after := time.Duration(0); ; after += after/2 + time.Millisecond {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			err := d.Finish(ctx)
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, context.DeadlineExceeded) || !d.Whole() {
				t.Fatalf("%v after %v: %v", v, after, err)
			}
			interrupted++
			if err := errors.Join(d.Close(), replica.Close()); err != nil {
				t.Fatal(err)
			}
			if replica, err = Open(dir); err != nil {
				t.Fatal(err)
			}
			d = download(t, replica, l)
			have(t, d, n, n.Size)
		}
		if interrupted == 0 {
			t.Errorf("%v: never interrupted", v)
		}
		equal(t, owner, replica, l)
		if left := staged(t, replica); len(left) != 0 {
			t.Errorf("%v: left in staging: %v", v, left)
		}
		if err := errors.Join(d.Close(), replica.Check(t.Context()), replica.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDownloadLeftovers opens a store with downloads of all kinds of damage: none of them stops anything, and what can't
// be taken up is deleted.
func TestDownloadLeftovers(t *testing.T) {
	_, l, n := exported(t, 500, Compact)
	for name, c := range map[string]struct {
		damage func(path string) error
		kept   bool
	}{
		"none":          {func(string) error { return nil }, true},
		"more bytes":    {func(p string) error { return os.Truncate(p, 60_000) }, true},
		"fewer bytes":   {func(p string) error { return os.Truncate(p, 10_000) }, false},
		"no file":       {os.Remove, false},
		"no state":      {func(p string) error { return os.Remove(p + stateSuffix) }, false},
		"half a state":  {func(p string) error { return os.Truncate(p+stateSuffix, 100) }, false},
		"empty state":   {func(p string) error { return os.WriteFile(p+stateSuffix, nil, 0o600) }, false},
		"other state":   {func(p string) error { return os.WriteFile(p+stateSuffix, []byte(`{"ID":"x","Offset":-1}`), 0o600) }, false},
		"state not yet": {func(p string) error { return os.Rename(p+stateSuffix, p+stateSuffix+".new") }, false},
		"old": {func(p string) error {
			return os.Chtimes(p+stateSuffix, time.Time{}, time.Now().Add(-downloadAge))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "replica")
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			d := download(t, s, l)
			path := d.im.path
			if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
				t.Fatal(err)
			}
			feed(t, d, n, 20_000)
			if err := errors.Join(d.Close(), s.Close(), c.damage(path)); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, dir)
			if left := staged(t, s); (len(left) == 2) != c.kept || len(left) != 0 && !c.kept {
				t.Errorf("left in staging: %v", left)
			}
			d = download(t, s, l)
			defer d.Close()
			want := int64(0)
			if c.kept {
				want = 20_000
			}
			have(t, d, n, want)
		})
	}
}

// TestDropDeletesDownloads drops a location, and completes it another way: neither leaves a download behind.
func TestDropDeletesDownloads(t *testing.T) {
	owner, l, n := exported(t, 500, Compact)
	replica := newStore(t)
	begin := func() {
		t.Helper()
		d := download(t, replica, l)
		if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
			t.Fatal(err)
		}
		feed(t, d, n, 20_000)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	begin()
	if err := pull(t.Context(), owner, replica, l, 100); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, replica); len(left) != 0 {
		t.Errorf("after batches: left in staging: %v", left)
	}
	commit(t, owner, l, put("new", 1))
	newer, err := owner.Export(t.Context(), l, Compact)
	if err != nil {
		t.Fatal(err)
	}
	defer newer.Close()
	n = newer
	begin()
	if err := replica.Drop(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, replica); len(left) != 0 {
		t.Errorf("after a drop: left in staging: %v", left)
	}
}

// TestDownloadReplacesADamagedReplica takes a snapshot where the file of the replica can't be read.
func TestDownloadReplacesADamagedReplica(t *testing.T) {
	owner, l, n := exported(t, 500, Native)
	dir := filepath.Join(t.TempDir(), "replica")
	replica, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.importFrom(t, owner, l, Native); err != nil {
		t.Fatal(err)
	}
	path, err := replica.LocationFile(t.Context(), l)
	if err := errors.Join(err, replica.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	replica = openStore(t, dir)
	d := download(t, replica, l)
	defer d.Close()
	if err := d.Begin(t.Context(), incoming(n), 0); err != nil {
		t.Fatal(err)
	}
	feed(t, d, n, n.Size)
	if err := d.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
}

func TestCopiesNative(t *testing.T) {
	owner, l, _ := exported(t, 2000, Native)
	copies := func() bool {
		t.Helper()
		ok, err := owner.CopiesNative(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !copies() {
		t.Error("a file that only grew is to be rebuilt")
	}
	var gone []index.Change
	for id := int64(1000); id < 2000; id++ {
		gone = append(gone, index.Change{Op: index.Delete, Entry: index.Entry{ID: id}})
	}
	commit(t, owner, l, gone...)
	if copies() {
		t.Error("a file with free pages is copied")
	}
	if _, err := owner.CopiesNative(t.Context(), index.Location{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no location: %v", err)
	}
}

func TestFreeSpace(t *testing.T) {
	free, ok := freeSpace(t.TempDir())
	if ok && free < 1<<20 {
		t.Skipf("%d bytes free", free)
	}
	if _, ok := freeSpace(filepath.Join(t.TempDir(), "nowhere")); ok {
		t.Error("a folder that is not there has space")
	}
	_, _, n := exported(t, 10, Compact)
	s := newStore(t)
	in := incoming(n)
	if err := s.checkSpace(&in, free+1); ok && !errors.Is(err, ErrDiskFull) {
		t.Errorf("more than is free: %v", err)
	}
	if err := s.checkSpace(&in, 0); err != nil {
		t.Errorf("nothing is missing: %v", err)
	}
}
