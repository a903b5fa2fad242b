package node_test

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// filled makes a location of so many entries, its root included.
func (d *device) filled(name string, entries int) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.feed(l, files(0, entries-1))
	return d.own(name)
}

// files are files to be put into a location that is fed.
func files(from, to int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for i := from; i < to; i++ {
			e := index.Entry{Kind: index.KindFile, Size: int64(i), MTime: int64(i) * 1_000_003, Mode: 0o644, Attrs: []byte{byte(i)}}
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("file %d.txt", i), Entry: e}, nil) {
				return
			}
		}
	}
}

// less deletes one of the files.
func less(i int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		yield(index.Change{Op: index.Delete, Path: fmt.Sprintf("file %d.txt", i)}, nil)
	}
}

// same checks that two devices hold the same rows under the same head.
func (d *device) same(owner *device, l node.Location) {
	d.t.Helper()
	want, got := owner.rows(l), d.rows(l)
	if x, y := owner.query(l.Ref(), "SELECT hex(head) FROM meta"), d.query(l.Ref(), "SELECT hex(head) FROM meta"); !slices.Equal(x, y) || !slices.Equal(got, want) {
		d.t.Errorf("%s: %s has %d rows at %v, %s has %d at %v", l.Name, d.cfg.DeviceName, len(got), x, owner.cfg.DeviceName, len(want), y)
	}
}

// watch collects the strategies of transfers that ended well, by name of the location, until stop is called.
func (d *device) watch() (stop func() map[string][]string) {
	ctx, cancel := context.WithCancel(context.Background())
	events, all := d.Events(ctx), map[string][]string{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for e := range events {
			if p := e.Progress; p != nil && p.Finished && p.Error == "" && p.Phase != api.PhaseScan {
				all[p.Name] = append(all[p.Name], p.Strategy)
			}
		}
	})
	return func() map[string][]string {
		cancel()
		wg.Wait()
		return all
	}
}

// TestFirstSync syncs locations of sizes around the threshold to devices that are told how, and to one that chooses.
func TestFirstSync(t *testing.T) {
	nas := newDevice(t, "nas")
	var locs []node.Location
	for _, n := range []int{1, 2, 9_999, 10_000, 20_000} {
		locs = append(locs, nas.filled(fmt.Sprint(n), n))
	}
	var all []*device
	for strategy, want := range map[string][2]string{
		"auto": {"batch-full", "native"}, "batch": {"batch-full", "batch-full"}, "compact": {"compact", "compact"}, "native": {"native", "native"},
	} {
		d := &device{t: t, cfg: node.Config{Dir: filepath.Join(t.TempDir(), strategy), DeviceName: strategy, Reach: "loopback", Strategy: strategy}}
		d.start()
		t.Cleanup(func() { d.stop(); d.check() })
		all = append(all, d)
		stop := d.watch()
		nas.pairWith(d)
		for _, l := range locs {
			d.holds(nas, l)
			d.same(nas, l)
		}
		for name, got := range stop() {
			how := want[0]
			if len(name) == 5 {
				how = want[1]
			}
			if got[0] != how {
				t.Errorf("%s: %s entries came by %q, want %s", strategy, name, got, how)
			}
		}
	}
	// What changes afterwards comes by delta, whatever way the first came.
	nas.feed(locs[4], files(20_000, 20_010))
	nas.feed(locs[4], less(7))
	for _, d := range all {
		d.holds(nas, locs[4])
		d.same(nas, locs[4])
	}
}

// TestTakersOfOneSnapshot has two devices take the same state at once, and then one of them serve a third, which does not
// meet the owner, while the owner goes on.
func TestTakersOfOneSnapshot(t *testing.T) {
	nas, laptop, phone, tablet := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "phone"), newDevice(t, "tablet")
	l := nas.filled("big", 20_000)
	nas.pairWith(laptop)
	nas.pairWith(phone)
	for _, d := range []*device{laptop, phone} {
		d.holds(nas, l)
		d.same(nas, l)
	}
	nas.feed(l, files(20_000, 20_010))
	nas.feed(l, less(7))
	laptop.holds(nas, l)
	laptop.same(nas, l)
	nas.stop()
	phone.stop()
	stop := tablet.watch()
	laptop.pairWith(tablet)
	eventually(t, "the tablet has what the laptop has", func() bool {
		locs, err := tablet.Locations(t.Context())
		return err == nil && slices.ContainsFunc(locs, func(x node.Location) bool {
			return x.Ref() == l.Ref() && x.Newest() && x.Entries == 20_009
		})
	})
	if got := stop()["big"]; len(got) == 0 || got[0] != "compact" {
		t.Errorf("the tablet got it by %q", got)
	}
	tablet.same(laptop, l)
	nas.start()
	phone.start()
	phone.holds(nas, l)
}

// TestOwnerCommitsDuringASnapshot commits all the time while another device syncs for the first time.
func TestOwnerCommitsDuringASnapshot(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.filled("busy", 30_000)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 30_000; ctx.Err() == nil; i += 10 {
			nas.feed(l, files(i, i+10))
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	nas.pairWith(laptop)
	eventually(t, "the laptop has a replica", func() bool { return len(laptop.find(`"file 29998"`)) == 1 })
	cancel()
	wg.Wait()
	laptop.holds(nas, l)
	laptop.same(nas, l)
}

// TestSyncIsResumedAfterRestarts stops either side again and again during a first sync.
func TestSyncIsResumedAfterRestarts(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	laptop.stop()
	l := nas.filled("big", 60_000)
	for i := range 6 {
		laptop.start()
		eventually(t, "something comes, or all is there", func() bool {
			s, err := laptop.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(s.Transfers, func(p node.Progress) bool { return p.DoneBytes > 0 }) ||
				slices.ContainsFunc(s.Locations, func(x node.Location) bool { return x.Ref() == l.Ref() && x.Entries > 0 })
		})
		if i%2 == 1 {
			nas.stop()
			nas.start()
		}
		laptop.stop()
	}
	laptop.start()
	laptop.holds(nas, l)
	laptop.same(nas, l)
	left, err := filepath.Glob(filepath.Join(laptop.cfg.Dir, "staging", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in staging: %q, %v", left, err)
	}
}
