package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
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

// whole reports whether a transfer was one of everything.
func whole(how string) bool {
	return strings.HasPrefix(how, "batch-full ") || strings.HasPrefix(how, "compact ") || strings.HasPrefix(how, "native ")
}

func (d *device) traffic() int64 {
	d.t.Helper()
	s, err := d.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Traffic.BytesIn + s.Traffic.BytesOut
}

// books are n entries from the first one on; sizes differ by version.
func books(first, n, version int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for i := first; i < first+n; i++ {
			e := index.Entry{Kind: index.KindFile, Size: int64(i)<<20 + int64(version), MTime: int64(i) * 1e15, Mode: 0o644}
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("shelf %d/book %d", i%97, i), Entry: e}, nil) {
				return
			}
		}
	}
}

func (d *device) fed(name string, n int) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.feed(l, books(0, n, 0))
	return d.own(name)
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
	nas.feed(l, books(100, 50, 1))
	nas.feed(l, books(20_000, 50, 1)) // new ones, with ids that the restored owner gives again
	laptop.holds(nas, l)
	seen, before := laptop.transfers(), laptop.traffic()
	lost := nas.own(l.Name)
	restore()
	nas.feed(l, books(5000, 20, 2))
	nas.feed(l, books(30_000, 20, 2))
	eventually(t, "the owner begins a new epoch", func() bool { return strings.HasPrefix(nas.own(l.Name).Epoch, "2.") })
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	if now := nas.own(l.Name); now.Seq <= lost.Seq || now.Entries != lost.Entries-50+20 {
		t.Errorf("was %+v, is %+v", lost, now)
	}
	if got := seen(); !slices.Contains(got, "reconcile from nas") || slices.ContainsFunc(got, whole) {
		t.Errorf("transfers: %q", got)
	}
	if n := laptop.traffic() - before; n > 100_000 { // all rows are 500 KB
		t.Errorf("%d bytes for 140 differences", n)
	}
}

// TestReconcileFarApart restores an owner to a state in which every entry was another: a few are compared, many are
// fetched as a whole.
func TestReconcileFarApart(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	few, many := nas.fed("few", 3000), nas.fed("many", 12_000)
	nas.pairWith(laptop)
	laptop.holds(nas, few)
	laptop.holds(nas, many)
	restore := nas.backup()
	nas.feed(few, books(0, 3000, 1))
	nas.feed(many, books(0, 12_000, 1))
	laptop.holds(nas, few)
	laptop.holds(nas, many)
	seen := laptop.transfers()
	restore()
	eventually(t, "the owner begins new epochs", func() bool {
		return strings.HasPrefix(nas.own(few.Name).Epoch, "2.") && strings.HasPrefix(nas.own(many.Name).Epoch, "2.")
	})
	laptop.holds(nas, few)
	laptop.holds(nas, many)
	sameRows(t, nas, laptop, few)
	sameRows(t, nas, laptop, many)
	eventually(t, "all is told", func() bool { return len(seen()) >= 3 })
	got := seen()
	slices.Sort(got)
	if !slices.Equal(got, []string{"native from nas", "reconcile from nas", "reconcile from nas failed"}) {
		t.Errorf("transfers: %q", got)
	}
}

// TestReconcileBelowTheHorizon has a replica that was away while its owner deleted entries and forgot which.
func TestReconcileBelowTheHorizon(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fed("catalogue", 5000)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	nas.feed(l, books(4000, 10, 1))
	for _, from := range []int{1, 0} { // every other, so that each is a run of its own
		nas.feed(l, func(yield func(index.Change, error) bool) {
			for i := from; i < 4000; i += 2 {
				if !yield(index.Change{Op: index.Delete, Path: fmt.Sprintf("shelf %d/book %d", i%97, i)}, nil) {
					return
				}
			}
		})
	}
	nas.feed(l, func(yield func(index.Change, error) bool) {
		yield(index.Change{Op: index.Delete, Path: "shelf 3"}, nil)
	})
	if nas.pruned(l) == 0 {
		t.Fatal("nothing was forgotten")
	}
	nas.stop()
	laptop.start()
	seen, before := laptop.transfers(), laptop.traffic()
	nas.start()
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	eventually(t, "the transfer is told", func() bool { return len(seen()) > 0 })
	if got := seen(); !slices.Equal(got, []string{"reconcile from nas"}) {
		t.Errorf("transfers: %q", got)
	}
	if n := laptop.traffic() - before; n > 60_000 { // all rows are 130 KB
		t.Errorf("%d bytes", n)
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
	relay.stop()
	relay.start() // one that connects anew is trusted anew
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
}
