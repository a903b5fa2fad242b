package node_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// damage changes the file of a location of a stopped device: the first place where old is, or the last, or the
// beginning of the file if old is empty. The first is in the rows, the last in an index of SQLite.
func (d *device) damage(l node.Location, find func(b, old []byte) int, old, changed string) {
	d.t.Helper()
	st, err := store.OpenReadOnly(d.cfg.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	path, err := st.LocationFile(d.t.Context(), l.Ref())
	if err := errors.Join(err, st.Close()); err != nil {
		d.t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	at := find(b, []byte(old))
	if at < 0 {
		d.t.Fatalf("%q is not in %s", old, filepath.Base(path))
	}
	copy(b[at:], changed)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) checkResult(l node.Location, r node.CheckRequest) node.CheckResult {
	d.t.Helper()
	results, err := d.Check(d.t.Context(), r)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, res := range results {
		if res.Location.Ref() == l.Ref() {
			return res
		}
	}
	d.t.Fatalf("no result for %s in %+v", l.Name, results)
	return node.CheckResult{}
}

// TestDamagedReplicaIsFetchedAgain changes one letter of one row on the disk of a device that holds a replica.
func TestDamagedReplicaIsFetchedAgain(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	if res := laptop.checkResult(l, node.CheckRequest{Deep: true}); !res.OK || res.Location.Name != l.Name || len(res.Problems) > 0 {
		t.Fatalf("before: %+v", res)
	}
	laptop.stop()
	laptop.damage(l, bytes.Index, "a song.ogg", "a sonG.ogg")
	laptop.start()
	res := laptop.checkResult(l, node.CheckRequest{Deep: true, Location: "nas:" + l.Name})
	if res.OK || len(res.Problems) == 0 || res.Location.State != api.StateQuarantined || !strings.Contains(res.Hint, "fetched again") {
		t.Fatalf("a changed name: %+v", res)
	}
	laptop.holds(nas, l)
	if res = laptop.checkResult(l, node.CheckRequest{Deep: true}); !res.OK || res.Location.Checked.IsZero() {
		t.Fatalf("after it was fetched again: %+v", res)
	}
	if _, err := laptop.Check(t.Context(), node.CheckRequest{Location: "nosuch"}); code(err) != api.CodeNotFound {
		t.Fatalf("a location that is not there: %v", err)
	}
}

// TestNodeStartsBesideADamagedReplica destroys the header of a replica's file: the node starts, and fetches it again
// by itself, since a file without a readable head is not held.
func TestNodeStartsBesideADamagedReplica(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l, own := nas.add(tree(t, "x.txt")), laptop.add(tree(t, "y.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	laptop.damage(l, bytes.Index, "", "this is not a database")
	r, err := node.OpenReader(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	results, err := r.Check(t.Context(), node.CheckRequest{})
	if err != nil || len(results) != 2 {
		t.Fatalf("%+v, %v", results, err)
	}
	for _, res := range results {
		if res.OK != (res.Location.Ref() == own.Ref()) {
			t.Errorf("%s: %+v", res.Location.Name, res)
		}
	}
	if _, err := r.Check(t.Context(), node.CheckRequest{Repair: true}); code(err) != api.CodeUsage {
		t.Errorf("repair without a running node: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	laptop.holds(nas, l)
}

// TestDamagedOwnIndexIsTakenBack damages the hash trees in the owner's files, which no scan would heal: of a folder, and of
// a location that a program feeds. Both come back from the device that holds replicas, and it follows.
func TestDamagedOwnIndexIsTakenBack(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	fed, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	nas.feed(fed, these(book(1), book(2)))
	nas.pairWith(laptop)
	before := map[string]node.Location{}
	for _, x := range []node.Location{l, fed} {
		laptop.holds(nas, x)
		before[x.Name] = nas.own(x.Name)
	}
	nas.stop()
	for _, x := range []node.Location{l, fed} {
		leaf, err := hex.DecodeString(nas.query(x.Ref(), "SELECT hex(hash) FROM tree WHERE level = 0")[0])
		if err != nil {
			t.Fatal(err)
		}
		nas.damage(x, bytes.Index, string(leaf), "no hash")
	}
	nas.start()
	for _, x := range []node.Location{l, fed} {
		eventually(t, "laptop is connected, and has said what it holds", func() bool {
			loc := nas.own(x.Name)
			ds, err := nas.Devices(t.Context())
			return err == nil && ds[1].Connected && loc.State == api.StateCurrent
		})
		nas.knows(laptop, x)
		res := nas.checkResult(x, node.CheckRequest{Deep: true, Repair: true, Location: x.Name})
		if res.OK || !res.Repaired || !strings.Contains(res.Hint, "taken back from laptop") {
			t.Fatalf("repair: %+v", res)
		}
		was, is := before[x.Name], nas.own(x.Name)
		if is.Epoch == was.Epoch || is.Seq <= was.Seq || is.Entries != was.Entries || is.Root != was.Root {
			t.Fatalf("before %+v, after %+v", was, is)
		}
		if res := nas.checkResult(x, node.CheckRequest{Deep: true, Location: x.Name}); !res.OK {
			t.Fatalf("after the repair: %+v", res)
		}
		laptop.holds(nas, x)
		sameRows(t, nas, laptop, x)
	}
	if found := laptop.find("song.ogg"); len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	if got := laptop.query(fed.Ref(), "SELECT CAST(attrs AS TEXT) FROM entries WHERE name = 'book 2'"); len(got) != 1 || got[0] != "attrs of 2" {
		t.Errorf("attrs %q", got)
	}
}

// TestDamagedOwnIndexBeginsAnew damages an index of SQLite in the owner's file. The next scan takes what it can't find by it
// for new, and the replica gets that too. So nothing is to be had from there: the owner scans its folder under a new epoch.
func TestDamagedOwnIndexBeginsAnew(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	before := nas.own(l.Name)
	nas.stop()
	nas.damage(l, bytes.LastIndex, "a song.ogg", "a sonG.ogg")
	nas.start()
	eventually(t, "the replica has what the scan at start found", func() bool { return len(laptop.find("song")) == 2 })
	eventually(t, "nas knows that, and its scan is over", func() bool {
		now := nas.own(l.Name)
		return nas.toldBy(laptop, l) == now.Seq && now.State == api.StateCurrent
	})
	// Two scans that agree remove what is there twice: if the one in the background comes first, taking it back is enough.
	if res := nas.checkResult(l, node.CheckRequest{Deep: true, Repair: true}); res.OK || !res.Repaired || !strings.Contains(res.Hint, "begins anew") && !strings.Contains(res.Hint, "taken back") {
		t.Fatalf("repair: %+v", res)
	}
	after := nas.own(l.Name)
	if after.Epoch == before.Epoch || after.Seq <= before.Seq || after.Entries != before.Entries || after.Root != before.Root {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	if res := nas.checkResult(l, node.CheckRequest{Deep: true}); !res.OK {
		t.Fatalf("after the repair: %+v", res)
	}
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	if found := laptop.find("song.ogg"); len(found) != 1 {
		t.Fatalf("found %q", found)
	}
}
