package node_test

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// lose takes something of a stopped device's data away.
func (d *device) lose(what string, l node.Location) {
	d.t.Helper()
	dir := d.cfg.Dir
	files, err := filepath.Glob(filepath.Join(dir, "locations", l.Ref().String()+".*"))
	if err != nil || len(files) == 0 {
		d.t.Fatalf("%q, %v", files, err)
	}
	switch what {
	case "its file":
		for _, f := range files {
			err = errors.Join(err, os.Remove(f))
		}
	case "what is in its file":
		err = os.WriteFile(files[0], []byte("this is not a database"), 0o600)
	case "all files of locations":
		err = os.RemoveAll(filepath.Join(dir, "locations"))
	case "everything but the key":
		var all []os.DirEntry
		all, err = os.ReadDir(dir)
		for _, e := range all {
			if e.Name() != "identity.key" {
				err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
			}
		}
	default:
		d.t.Fatal(what)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// book is one entry of a location that a program feeds, with what only the program knows of it.
func book(n int) index.Change {
	return index.Change{Op: index.Put, Path: fmt.Sprintf("shelf/book %d", n), Entry: index.Entry{
		Kind: index.KindFile, Size: int64(n), Hash: []byte(strings.Repeat(string(rune('a'+n)), 32)), Attrs: fmt.Appendf(nil, "attrs of %d", n),
	}}
}

func these(cs ...index.Change) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for _, c := range cs {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// bySeq are rows by their seq.
func (d *device) bySeq(l node.Location) map[string]string {
	out := map[string]string{}
	for _, row := range d.rows(l) {
		out[row[strings.LastIndexByte(row, ' ')+1:]] = row
	}
	return out
}

// records counts the records of membership of a stopped device.
func (d *device) records() int {
	d.t.Helper()
	st, err := store.OpenReadOnly(d.cfg.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	lib, err := st.Library(d.t.Context())
	if err := errors.Join(err, st.Close()); err != nil {
		d.t.Fatal(err)
	}
	return len(lib.Records)
}

// until reads events until there is one of a type about a location.
func until(t *testing.T, next func() (node.Event, error, bool), kind string, l node.Location) node.Location {
	t.Helper()
	for {
		ev, err, ok := next()
		if err != nil || !ok {
			t.Fatalf("events ended before %s: %v", kind, err)
		}
		if ev.Type == kind && ev.Location.Ref() == l.Ref() {
			return *ev.Location
		}
	}
}

// knows waits until d knows that holder has a replica of a location of d's.
func (d *device) knows(holder *device, l node.Location) {
	d.t.Helper()
	eventually(d.t, d.cfg.DeviceName+" knows that "+holder.cfg.DeviceName+" holds "+l.Name, func() bool {
		st, err := store.OpenReadOnly(d.cfg.Dir)
		if err != nil {
			d.t.Fatal(err)
		}
		heard, err := st.AllHeard(d.t.Context())
		if err := errors.Join(err, st.Close()); err != nil {
			d.t.Fatal(err)
		}
		return slices.ContainsFunc(heard[l.Ref()], func(h store.Heard) bool { return string(h.Device[:]) == string(holder.Identity()) && h.Held })
	})
}

// TestOwnerTakesItsIndexBack takes an owner's data away in every way. It takes its locations back from the device that
// has the newest replica, under a new epoch, scans, and goes on; the replicas follow, an older one too.
func TestOwnerTakesItsIndexBack(t *testing.T) {
	for _, what := range []string{"its file", "what is in its file", "all files of locations", "everything but the key"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			nas, laptop, old := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "old")
			dir := tree(t, "a/one.txt", "a/two.txt", "b/three.txt")
			l := nas.add(dir)
			fed, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
			if err != nil {
				t.Fatal(err)
			}
			nas.feed(fed, these(book(0), book(1), book(2)))
			laptop.pairWith(nas) // so that nas is no stranger to laptop when it comes again
			laptop.pairWith(old)
			for _, x := range []node.Location{l, fed} {
				old.holds(nas, x)
			}
			eventually(t, "nas has heard of old", func() bool { return len(nas.members()) == 3 })
			old.stop()
			grow(t, dir, "b/four.txt")
			if err := os.Remove(filepath.Join(dir, "a/two.txt")); err != nil {
				t.Fatal(err)
			}
			if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
				t.Fatal(err)
			}
			nas.feed(fed, these(book(3), index.Change{Op: index.Delete, Path: "shelf/book 1"}))
			before := map[string]node.Location{}
			for _, x := range []node.Location{l, fed} {
				laptop.holds(nas, x)
				before[x.Name] = nas.own(x.Name)
			}
			nas.stop()
			records := nas.records()
			rows := map[string][]string{l.Name: laptop.rows(l), fed.Name: laptop.rows(fed)}
			seqs := map[string]map[string]string{l.Name: laptop.bySeq(l), fed.Name: laptop.bySeq(fed)}

			nas.lose(what, l)
			grow(t, dir, "b/five.txt") // while it was away
			nas.start()
			if what == "everything but the key" {
				if locs, err := nas.Locations(t.Context()); err != nil || len(locs) != 0 {
					t.Fatalf("before it is paired again: %+v, %v", locs, err)
				}
				laptop.pairWith(nas)
			}
			eventually(t, "nas has its locations back", func() bool {
				locs, err := nas.Locations(t.Context())
				return err == nil && len(locs) == 2 && !slices.ContainsFunc(locs, func(x node.Location) bool { return !x.Newest() })
			})
			eventually(t, "nas has scanned the folder", func() bool { return len(nas.find("five.txt")) == 1 && len(nas.find("book")) == 3 })
			grow(t, dir, "c/six.txt")
			if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
				t.Fatal(err)
			}
			nas.feed(fed, these(book(4)))
			old.start()
			for _, x := range []node.Location{l, fed} {
				was, is := before[x.Name], nas.own(x.Name)
				if gone := what != "its file" && what != "what is in its file" || x.Ref() == l.Ref(); gone &&
					(!strings.HasPrefix(is.Epoch, "2.") || is.Seq <= was.Seq || is.Root != was.Root) {
					t.Errorf("was %+v, is %+v", was, is)
				}
				for _, d := range []*device{laptop, old} {
					d.holds(nas, x)
					sameRows(t, nas, d, x)
				}
				for seq, row := range nas.bySeq(x) {
					var n int64
					if _, err := fmt.Sscan(seq, &n); err != nil {
						t.Fatal(err)
					}
					if had, known := seqs[x.Name][seq]; n <= was.Seq && (!known || had != row) {
						t.Errorf("seq %s stands for %q, and stood for %q", seq, row, had)
					}
				}
				if kept := len(slices.DeleteFunc(nas.rows(x), func(r string) bool { return !slices.Contains(rows[x.Name], r) })); kept < 3 {
					t.Errorf("%d rows of %s are what they were", kept, x.Name)
				}
			}
			if got := nas.query(fed.Ref(), "SELECT hex(hash), CAST(attrs AS TEXT) FROM entries WHERE name = 'book 2'"); !slices.Equal(got, []string{strings.Repeat("63", 32) + " attrs of 2"}) {
				t.Errorf("hash and attrs of a book: %q", got)
			}
			nas.stop()
			if n := nas.records(); n != records {
				t.Errorf("%d records of membership, there were %d: a member was added twice", n, records)
			}
			nas.start()
		})
	}
}

// TestLostLocationWaits loses an index while no other device is there. Nothing is begun anew, nothing on the disk is
// touched, and everything says so, until the device with the replica comes back.
func TestLostLocationWaits(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	dir := tree(t, "a.txt")
	l := nas.add(dir)
	fed, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	nas.feed(fed, these(book(1)))
	nas.pairWith(laptop)
	for _, x := range []node.Location{l, fed} {
		laptop.holds(nas, x)
		nas.knows(laptop, x)
	}
	laptop.stop()
	nas.stop()
	nas.lose("what is in its file", l)
	nas.lose("its file", fed)
	nas.start()
	for _, x := range []node.Location{l, fed} {
		now := nas.own(x.Name)
		if now.State != api.StateLost || !strings.Contains(now.Detail, "when laptop is connected") || now.Root != x.Root {
			t.Errorf("%+v", now)
		}
	}
	st, err := nas.Status(t.Context())
	if err != nil || !slices.ContainsFunc(st.Notes, func(s string) bool {
		return strings.Contains(s, l.Name) && strings.Contains(s, "peerdex check --repair")
	}) {
		t.Errorf("notes %q, %v", st.Notes, err)
	}
	if _, err := nas.Scan(t.Context(), node.ScanRequest{Location: l.Name}); code(err) != api.CodeUnavailable {
		t.Errorf("scan: %v", err)
	}
	if res, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil || len(res) != 0 {
		t.Errorf("scan of all: %+v, %v", res, err)
	}
	if _, err := nas.Commit(t.Context(), fed.Ref(), these(book(2))); code(err) != api.CodeUnavailable {
		t.Errorf("commit: %v", err)
	}
	if _, err := nas.AddLocation(t.Context(), node.AddRequest{Path: dir}); code(err) != api.CodeUnavailable {
		t.Errorf("adding the folder again: %v", err)
	}
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: l.Name, Keep: true}); code(err) != api.CodeUnavailable {
		t.Errorf("archiving: %v", err)
	}
	res := nas.checkResult(fed, node.CheckRequest{Repair: true, Location: "catalogue"})
	if res.OK || res.Repaired || !strings.Contains(res.Hint, "connect a device") {
		t.Errorf("repair of a location that a program feeds: %+v", res)
	}
	if b, err := os.ReadFile(nas.file(l.Ref())); err != nil || string(b) != "this is not a database" {
		t.Errorf("the damaged file: %q, %v", b, err)
	}
	next, stop := iter.Pull2(nas.Events(t.Context()))
	defer stop()
	laptop.start()
	back := until(t, func() (node.Event, error, bool) { return next() }, api.EventLocationTakenBack, l)
	if !strings.HasPrefix(back.Epoch, "2.") || back.Entries != 2 {
		t.Errorf("taken back: %+v", back)
	}
	for _, x := range []node.Location{l, fed} {
		laptop.holds(nas, x)
		sameRows(t, nas, laptop, x)
	}
	nas.feed(fed, these(book(2)))
	laptop.holds(nas, fed)
}

// TestLostLocationBeginsAnew when the user says so, or when nobody can have it, but never by itself as long as somebody may.
func TestLostLocationBeginsAnew(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "a.txt", "b.txt"))
	was := nas.own(l.Name)
	anew := func(epoch string) {
		t.Helper()
		eventually(t, "it begins anew", func() bool {
			now := nas.own(l.Name)
			return strings.HasPrefix(now.Epoch, epoch) && now.Newest() && now.Entries == 3
		})
		if now := nas.own(l.Name); now.Seq <= was.Seq || now.Root != was.Root {
			t.Errorf("was %+v, is %+v", was, now)
		}
		was = nas.own(l.Name)
	}
	nas.stop()
	nas.lose("what is in its file", l)
	nas.start()
	anew("2.") // alone in the library

	nas.pairWith(laptop)
	laptop.holds(nas, l)
	nas.stop()
	laptop.stop()
	nas.lose("its file", l)
	laptop.lose("its file", l)
	nas.start()
	if now := nas.own(l.Name); now.State != api.StateLost {
		t.Fatalf("while laptop may have a replica: %+v", now)
	}
	laptop.start()
	anew("3.") // nobody has one

	laptop.holds(nas, l)
	laptop.stop()
	nas.stop()
	nas.lose("its file", l)
	nas.start()
	if res := nas.checkResult(l, node.CheckRequest{Repair: true}); res.OK || !res.Repaired || !strings.Contains(res.Hint, "begins anew") {
		t.Fatalf("repair: %+v", res)
	}
	anew("4.") // on request
	laptop.start()
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)

	laptop.stop()
	nas.stop()
	nas.lose("its file", l)
	nas.start()
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: l.Name}); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	eventually(t, "the replica of a location that was removed while it was lost is dropped", func() bool { return len(laptop.find("txt")) == 0 })
}

// TestRemovedLocationStaysRemoved wipes an owner that had removed a location. A device that doesn't know of it gives the
// index back; as soon as one that knows is there, it is removed again, everywhere.
func TestRemovedLocationStaysRemoved(t *testing.T) {
	nas, laptop, away := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "away")
	gone, kept := nas.add(tree(t, "gone.txt")), nas.add(tree(t, "kept.txt"))
	laptop.pairWith(nas)
	laptop.pairWith(away)
	for _, l := range []node.Location{gone, kept} {
		laptop.holds(nas, l)
		away.holds(nas, l)
	}
	away.stop()
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: gone.Name}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "laptop drops it", func() bool { return len(laptop.find("gone.txt")) == 0 })
	nas.stop()
	nas.lose("everything but the key", kept)
	nas.start()
	laptop.pairWith(nas)
	eventually(t, "the other location comes back", func() bool { return len(nas.find("kept.txt")) == 1 })
	if got := nas.find("gone.txt"); len(got) != 0 {
		t.Errorf("what was removed came back: %q", got)
	}

	laptop.stop()
	nas.stop()
	nas.lose("everything but the key", kept)
	nas.start()
	away.start()
	away.pairWith(nas)
	eventually(t, "both come back from one that doesn't know better", func() bool { return len(nas.find("gone.txt")) == 1 && len(nas.find("kept.txt")) == 1 })
	st, err := nas.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	laptop.cfg.Peers = st.Addresses
	laptop.start()
	for _, d := range []*device{nas, laptop, away} {
		eventually(t, d.cfg.DeviceName+" has what was removed no more", func() bool { return len(d.find("gone.txt")) == 0 })
		eventually(t, d.cfg.DeviceName+" has the other", func() bool { return len(d.find("kept.txt")) == 1 })
	}
	if locs, err := nas.Locations(t.Context()); err != nil || len(locs) != 1 {
		t.Errorf("%+v, %v", locs, err)
	}
}

// TestFolderThatIsAwayAfterTakingBack takes an index back whose disk is not plugged in: all is kept.
func TestFolderThatIsAwayAfterTakingBack(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	dir := tree(t, "disk/a.txt", "disk/b.txt")
	l := nas.add(filepath.Join(dir, "disk"))
	laptop.pairWith(nas)
	laptop.holds(nas, l)
	nas.stop()
	nas.lose("everything but the key", l)
	if err := os.Rename(l.Root, l.Root+".unplugged"); err != nil {
		t.Fatal(err)
	}
	nas.start()
	laptop.pairWith(nas)
	eventually(t, "nas says that the folder is away", func() bool {
		locs, err := nas.Locations(t.Context())
		return err == nil && len(locs) == 1 && locs[0].State == api.StateAway
	})
	if now := nas.own(l.Name); now.Entries != 3 || !now.AsOf.Equal(l.AsOf) {
		t.Errorf("was %+v, is %+v", l, now)
	}
	laptop.holdsSeq(nas, l)
	sameRows(t, nas, laptop, l)
	if err := os.Rename(l.Root+".unplugged", l.Root); err != nil {
		t.Fatal(err)
	}
	if res, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil || res[0].Changed != 0 || res[0].Deleted != 0 {
		t.Errorf("plugged in again: %+v, %v", res, err)
	}
}

// holdsSeq is holds for a location whose owner can't say that it is current.
func (d *device) holdsSeq(owner *device, l node.Location) {
	d.t.Helper()
	eventually(d.t, d.cfg.DeviceName+" holds "+l.Name, func() bool {
		mine := owner.own(l.Name)
		locs, err := d.Locations(d.t.Context())
		return err == nil && slices.ContainsFunc(locs, func(x node.Location) bool { return x.Ref() == l.Ref() && x.Seq == mine.Seq })
	})
}

// TestFolderThatWasAddedAgain wipes an owner, whose user adds a folder again before the device is paired again. The
// location of before goes on; the new one gives way, and one of the same name gets another.
func TestFolderThatWasAddedAgain(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(filepath.Join(tree(t, "docs/a.txt"), "docs"))
	fed, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	nas.feed(fed, these(book(1)))
	laptop.pairWith(nas)
	laptop.holds(nas, l)
	laptop.holds(nas, fed)
	nas.stop()
	nas.lose("everything but the key", l)
	nas.start()
	again := nas.add(l.Root)
	other, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil || again.ID == l.ID {
		t.Fatal(again, err)
	}
	laptop.pairWith(nas)
	eventually(t, "the folder is in one location", func() bool {
		locs, err := nas.Locations(t.Context())
		return err == nil && len(locs) == 3 && slices.IndexFunc(locs, func(x node.Location) bool { return x.ID == again.ID }) < 0 &&
			slices.ContainsFunc(locs, func(x node.Location) bool { return x.Name == "catalogue-2" })
	})
	if back := nas.own("docs"); back.ID != l.ID {
		t.Errorf("docs is %+v, was %+v", back, l)
	}
	if a, b := nas.own("catalogue"), nas.own("catalogue-2"); a.ID != other.ID || b.ID != fed.ID {
		t.Errorf("%+v, %+v", a, b)
	}
	eventually(t, "laptop finds each file once", func() bool { return len(laptop.find("a.txt")) == 1 && len(laptop.find("book")) == 1 })
	laptop.holds(nas, nas.own("docs"))
	laptop.holds(nas, nas.own("catalogue-2"))
}
