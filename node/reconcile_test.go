package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// transfers collects from now on how a device was brought forward: "reconcile from nas", or "reconcile from nas failed".
func (d *device) transfers() func() []string {
	var mu sync.Mutex
	var all []string
	events := d.Events(d.t.Context()) // listens from here on
	go func() {
		for ev, err := range events {
			if err != nil || ev.Type != api.EventTransferProgress || !ev.Progress.Finished {
				continue
			}
			how := ev.Progress.Strategy + " from " + ev.Progress.Provider
			if ev.Progress.Error != "" {
				how += " failed"
			}
			mu.Lock()
			all = append(all, how)
			mu.Unlock()
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func (d *device) traffic() int64 {
	d.t.Helper()
	s, err := d.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Traffic.BytesIn + s.Traffic.BytesOut
}

// stock commits n entries of a fed location from the first one on; sizes differ by version.
func (d *device) stock(l node.Location, first, n, version int) {
	d.t.Helper()
	_, err := d.Commit(d.t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
		for i := first; i < first+n; i++ {
			e := index.Entry{Kind: index.KindFile, Size: int64(i)<<20 + int64(version), MTime: int64(i) * 1e15, Mode: 0o644}
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("shelf %d/book %d", i%97, i), Entry: e}, nil) {
				return
			}
		}
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) fed(name string, n int) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.stock(l, 0, n, 0)
	return d.own(name)
}

// same compares the files of a location on two devices row by row, by SQL that is not the store's.
func (d *device) same(other *device, l node.Location) {
	d.t.Helper()
	file := func(d *device) string {
		st, err := store.OpenReadOnly(d.cfg.Dir)
		if err != nil {
			d.t.Fatal(err)
		}
		path, err := st.LocationFile(d.t.Context(), l.Ref())
		if err := errors.Join(err, st.Close()); err != nil {
			d.t.Fatal(err)
		}
		return path
	}
	rows, diff, err := store.Diff(d.t.Context(), file(d), file(other))
	if err != nil || diff != "" || rows != d.own(l.Name).Entries {
		d.t.Errorf("%d rows, first difference %q, %v", rows, diff, err)
	}
}

// backup copies a device's folder, and returns what puts the copy back.
func (d *device) backup() (restore func()) {
	d.t.Helper()
	d.stop()
	to := filepath.Join(d.t.TempDir(), "backup")
	if err := os.CopyFS(to, os.DirFS(d.cfg.Dir)); err != nil {
		d.t.Fatal(err)
	}
	d.start()
	return func() {
		d.t.Helper()
		d.stop()
		err := errors.Join(os.RemoveAll(d.cfg.Dir), os.CopyFS(d.cfg.Dir, os.DirFS(to)), os.Chmod(filepath.Join(d.cfg.Dir, "identity.key"), 0o600))
		if err != nil {
			d.t.Fatal(err)
		}
		d.start()
	}
}

// TestReconcileAfterRestore brings an owner of many entries back to an older state, and has it go on differently. Its
// replica follows with bytes in proportion to what differs.
func TestReconcileAfterRestore(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fed("catalogue", 20_000)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	restore := nas.backup()
	nas.stock(l, 100, 50, 1)
	nas.stock(l, 20_000, 50, 1) // new ones, with ids that the restored owner gives again
	laptop.holds(nas, l)
	seen, before := laptop.transfers(), laptop.traffic()
	lost := nas.own(l.Name)
	restore()
	nas.stock(l, 5000, 20, 2)
	nas.stock(l, 30_000, 20, 2)
	eventually(t, "the owner begins a new epoch", func() bool { return strings.HasPrefix(nas.own(l.Name).Epoch, "2.") })
	laptop.holds(nas, l)
	nas.same(laptop, l)
	if now := nas.own(l.Name); now.Seq <= lost.Seq || now.Entries != lost.Entries-50+20 {
		t.Errorf("was %+v, is %+v", lost, now)
	}
	if got := seen(); !slices.Contains(got, "reconcile from nas") || slices.Contains(got, "batch-full from nas") {
		t.Errorf("transfers: %q", got)
	}
	if n := laptop.traffic() - before; n > 100_000 { // all rows are 500 KB
		t.Errorf("%d bytes for 140 differences", n)
	}
}

// TestReconcileFarApart begins an index anew, with other ids throughout: a few entries are compared, many are fetched
// as a whole.
func TestReconcileFarApart(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	few, many := nas.fed("few", 3000), nas.fed("many", 12_000)
	nas.pairWith(laptop)
	laptop.holds(nas, few)
	laptop.holds(nas, many)
	laptop.stop()
	for _, l := range []node.Location{few, many} {
		if err := nas.BeginAnew(t.Context(), l.Ref()); err != nil {
			t.Fatal(err)
		}
	}
	nas.stock(few, 0, 2900, 1)
	nas.stock(many, 0, 11_900, 1)
	nas.stop()
	laptop.start()
	seen := laptop.transfers()
	nas.start()
	laptop.holds(nas, few)
	laptop.holds(nas, many)
	nas.same(laptop, few)
	nas.same(laptop, many)
	got := seen()
	slices.Sort(got)
	if !slices.Equal(got, []string{"batch-full from nas", "reconcile from nas", "reconcile from nas failed"}) {
		t.Errorf("transfers: %q", got)
	}
}

// TestReconcileBelowTheHorizon has a replica that fell behind, and no device in reach but one that knows the newest state
// and not what was deleted on the way there.
func TestReconcileBelowTheHorizon(t *testing.T) {
	nas, laptop, phone := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "phone")
	l := nas.fed("catalogue", 5000)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.pairWith(phone)
	phone.holds(nas, l)
	laptop.stop()
	phone.stop()
	laptop.damage(l, bytes.Index, "", "this is not a database") // it fetches everything anew
	nas.stock(l, 2000, 10, 1)
	if _, err := nas.Commit(t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
		yield(index.Change{Op: index.Delete, Path: "shelf 3"}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	laptop.holds(nas, l)
	laptop.stop()
	phone.start()
	seen, before := phone.transfers(), phone.traffic()
	laptop.start()
	phone.holds(nas, l)
	nas.same(phone, l)
	eventually(t, "the transfer is told", func() bool { return len(seen()) > 0 })
	if got := seen(); !slices.Equal(got, []string{"reconcile from laptop"}) {
		t.Errorf("transfers: %q", got)
	}
	if n := phone.traffic() - before; n > 40_000 { // all rows are 130 KB
		t.Errorf("%d bytes for 10 changes and a folder deleted", n)
	}
}

// TestReconcileWithALiar has a relay whose rows are not those that the owner signed. Nothing of them becomes visible.
func TestReconcileWithALiar(t *testing.T) {
	nas, relay, laptop := newDevice(t, "nas"), newDevice(t, "relay"), newDevice(t, "laptop")
	dir := tree(t, "a.txt", "b.txt")
	l := nas.add(dir)
	nas.pairWith(relay)
	relay.holds(nas, l)
	relay.pairWith(laptop)
	laptop.holds(nas, l)
	restore := nas.backup()
	grow(t, dir, "c.txt")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	relay.holds(nas, l)
	laptop.holds(nas, l)
	laptop.stop()
	grow(t, dir, "a new song.txt")
	restore()
	eventually(t, "the owner scans in a new epoch", func() bool {
		return strings.HasPrefix(nas.own(l.Name).Epoch, "2.") && len(nas.find("song")) == 1
	})
	relay.holds(nas, l)
	nas.stop()
	relay.stop()
	relay.damage(l, bytes.Index, "a new song", "a nEw song")
	laptop.start()
	seen := laptop.transfers()
	relay.start()
	eventually(t, "the lie is found", func() bool { return slices.Contains(seen(), "reconcile from relay failed") })
	if got := laptop.find("song"); len(got) != 0 {
		t.Errorf("found %q", got)
	}
	if got := laptop.find("txt"); len(got) != 3 {
		t.Errorf("the replica became %q", got)
	}
	nas.start()
	relay.checkResult(l, node.CheckRequest{Deep: true, Repair: true})
	relay.holds(nas, l)
	laptop.holds(nas, l)
	nas.same(laptop, l)
}
