package node_test

import (
	"context"
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
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// policy sets what d keeps of a location or a device.
func (d *device) policy(of, policy string) []node.PolicySetting {
	d.t.Helper()
	out, err := d.Policy(d.t.Context(), node.PolicyRequest{Of: of, Policy: policy})
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

// sees returns what d knows of a location, nil if nothing.
func (d *device) sees(l node.Location) *node.Location {
	d.t.Helper()
	locs, err := d.Locations(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range locs {
		if locs[i].Ref() == l.Ref() {
			return &locs[i]
		}
	}
	return nil
}

// hears waits until d has heard of the newest state that owner has, in a state of its own.
func (d *device) hears(owner *device, l node.Location, state string) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%s knows %s of %s: %s", d.cfg.DeviceName, l.Name, owner.cfg.DeviceName, state), func() bool {
		mine, seen := owner.own(l.Name), d.sees(l)
		return seen != nil && seen.State == state && max(seen.Seq, seen.HeardSeq) == mine.Seq
	})
}

// list lists a folder, and returns the names in it and where they came from.
func (d *device) list(of, path string) (names []string, via *node.Via, err error) {
	d.t.Helper()
	got, err := d.List(d.t.Context(), node.ListRequest{Device: of, Path: path})
	for _, h := range got.Entries {
		names = append(names, filepath.Base(h.Path))
		if path != "/" && (h.Via == nil) != (got.Via == nil) || path != "/" && h.Via != nil && *h.Via != *got.Via {
			d.t.Errorf("%s: %+v in a listing of %+v", h.Path, h.Via, got.Via)
		}
	}
	if err == nil && path != "/" && got.AsOf.IsZero() {
		d.t.Errorf("%s: no as of", path)
	}
	return names, got.Via, err
}

// lazyPair is a nas with a location, and a laptop whose policy for it is lazy.
func lazyPair(t *testing.T, files ...string) (nas, laptop *device, l node.Location) {
	t.Helper()
	nas, laptop = newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	laptop.policy("nas", "lazy")
	l = nas.add(tree(t, files...))
	laptop.hears(nas, l, api.StateLazy)
	return nas, laptop, l
}

// TestLazyLocation lists, reads, searches and adds up a location that is asked for on demand, first anew, then from the
// cache, then with its owner off, and last without a daemon.
func TestLazyLocation(t *testing.T) {
	nas, laptop, l := lazyPair(t, "photos/2019/summer.jpg", "photos/2020/winter.jpg", "docs/invoice.pdf", "docs/letter.pdf")
	home := laptop.add(tree(t, "invoice-home.pdf"))
	if seen := laptop.sees(l); seen.Seq != 0 || seen.Entries != 9 || seen.Policy != "lazy" || seen.AsOf.IsZero() || !strings.Contains(seen.Detail, "nothing of it is kept") {
		t.Errorf("the location is %+v", seen)
	}
	fresh, cached := node.Via{Device: "nas"}, node.Via{Device: "nas", Cached: true}
	for i, want := range []node.Via{fresh, cached, cached} {
		if names, via, err := laptop.list("nas", l.Root+"/docs"); err != nil || *via != want || !slices.Equal(names, []string{"invoice.pdf", "letter.pdf"}) {
			t.Errorf("listing %d: %q, %+v, %v", i, names, via, err)
		}
	}
	if names, _, err := laptop.list("nas", "/"); err != nil || !slices.Equal(names, []string{filepath.Base(l.Root)}) {
		t.Errorf("the device's locations: %q, %v", names, err)
	}
	if names, via, err := laptop.list("nas", l.Root+"/docs/letter.pdf"); err != nil || *via != fresh || !slices.Equal(names, []string{"letter.pdf"}) {
		t.Errorf("listing of a file: %q, %+v, %v", names, via, err)
	}
	if _, _, err := laptop.list("nas", l.Root+"/none"); code(err) != api.CodeNotFound {
		t.Errorf("no such folder: %v", err)
	}
	e, err := laptop.Entry(t.Context(), node.EntryRequest{Device: "nas", Path: l.Root + "/docs"})
	if err != nil || e.Children != 2 || e.LocationName != l.Name || *e.Hit.Via != fresh || e.Hit.Path != l.Root+"/docs" {
		t.Errorf("entry by path: %+v, %v", e, err)
	}
	same, err := laptop.Entry(t.Context(), node.EntryRequest{Owner: l.Owner, Location: l.ID, EntryID: e.Hit.EntryID})
	if err != nil || same.Hit.Path != e.Hit.Path || same.Hit.Via == nil {
		t.Errorf("entry by id: %+v, %v", same, err)
	}
	if _, err := laptop.Entry(t.Context(), node.EntryRequest{Owner: l.Owner, Location: l.ID, EntryID: 999}); code(err) != api.CodeNotFound {
		t.Errorf("no such entry: %v", err)
	}
	if sum, err := laptop.Totals(t.Context(), node.EntryRequest{Device: "nas", Path: l.Root}); err != nil || sum.Entries != 8 || sum.Folders != 4 || sum.Bytes == 0 || sum.Hit.Via == nil {
		t.Errorf("totals: %+v, %v", sum, err)
	}
	if mine, err := nas.Totals(t.Context(), node.EntryRequest{Device: "nas", Path: l.Root}); err != nil || mine.Entries != 8 || mine.Folders != 4 || mine.Hit.Via != nil {
		t.Errorf("totals at the owner: %+v, %v", mine, err)
	}
	if got, want := laptop.find("invoice"), []string{"laptop:" + home.Root + "/invoice-home.pdf", "nas:" + l.Root + "/docs/invoice.pdf"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	nas.stop()
	laptop.offline(l, home)
	nas.start()
}

// offline checks what is left of TestLazyLocation when the owner is off.
func (d *device) offline(l, home node.Location) {
	t := d.t
	t.Helper()
	cached := node.Via{Device: "nas", Cached: true}
	if names, via, err := d.list("nas", l.Root+"/docs"); err != nil || *via != cached || len(names) != 2 {
		t.Errorf("listing from the cache: %q, %+v, %v", names, via, err)
	}
	if _, _, err := d.list("nas", l.Root+"/photos"); code(err) != api.CodeUnavailable {
		t.Errorf("a folder that was never listed: %v", err)
	}
	if got := d.find("invoice"); len(got) != 2 {
		t.Errorf("a search that was made before finds %q", got)
	}
	var found []string
	var last error
	for h, err := range d.Search(t.Context(), node.Query{Text: "pdf"}) {
		if last = err; err == nil {
			found = append(found, h.Path)
		}
	}
	if !slices.Equal(found, []string{home.Root + "/invoice-home.pdf"}) || code(last) != api.CodeIncomplete || !strings.Contains(last.Error(), "nas: "+l.Name) {
		t.Errorf("another search finds %q, %v", found, last)
	}
	d.stop()
	defer d.start()
	r, err := node.OpenReader(d.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := r.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root + "/docs"}); err != nil || len(got.Entries) != 2 || *got.Via != cached {
		t.Errorf("without a daemon: %+v, %v", got, err)
	}
	if _, err := r.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root + "/photos"}); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "daemon") {
		t.Errorf("never listed, without a daemon: %v", err)
	}
}

// TestCacheIsRevalidated changes a folder that is cached, and another one.
func TestCacheIsRevalidated(t *testing.T) {
	nas, laptop, l := lazyPair(t, "docs/a.txt", "other/b.txt")
	before, err := laptop.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root + "/docs"})
	if err != nil {
		t.Fatal(err)
	}
	change := func(name string) {
		t.Helper()
		grow(t, l.Root, name)
		if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
			t.Fatal(err)
		}
		laptop.hears(nas, l, api.StateLazy)
	}
	change("other/c.txt")
	same, err := laptop.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root + "/docs"})
	if err != nil || len(same.Entries) != 1 || same.Via.Cached || !same.AsOf.After(before.AsOf) {
		t.Errorf("a folder that did not change: %+v, %v", same, err)
	}
	change("docs/d.txt")
	names, via, err := laptop.list("nas", l.Root+"/docs")
	if err != nil || via.Cached || !slices.Equal(names, []string{"a.txt", "d.txt"}) {
		t.Errorf("a folder that changed: %q, %+v, %v", names, via, err)
	}
	change("other/e.txt")
	eventually(t, "the laptop hears of the scan's end", func() bool { return laptop.sees(l).AsOf.Equal(nas.own(l.Name).AsOf) })
	nas.stop()
	stale, err := laptop.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root + "/docs"})
	if heard := laptop.sees(l); err != nil || !stale.Via.Cached || !stale.AsOf.Before(heard.AsOf) {
		t.Errorf("with the owner off: %+v, %v; heard as of %v", stale, err, heard.AsOf)
	}
	nas.start()
}

// TestUnverifiedAnswers asks a device that is not the owner.
func TestUnverifiedAnswers(t *testing.T) {
	nas, desk, laptop := newDevice(t, "nas"), newDevice(t, "desk"), newDevice(t, "laptop")
	nas.pairWith(desk)
	nas.pairWith(laptop)
	st, err := desk.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	laptop.stop()
	laptop.cfg.Peers = st.Addresses[:1]
	laptop.start()
	laptop.policy("nas", "lazy")
	l := nas.add(tree(t, "docs/a.txt", "docs/b.txt"))
	desk.holds(nas, l)
	laptop.hears(nas, l, api.StateLazy)
	eventually(t, "laptop and desk are connected", func() bool {
		s, err := laptop.Status(t.Context())
		return err == nil && slices.ContainsFunc(s.Devices, func(d node.Device) bool { return d.Name == "desk" && d.Connected })
	})
	nas.stop()
	eventually(t, "the desk answers for the nas", func() bool {
		names, via, err := laptop.list("nas", l.Root+"/docs")
		return err == nil && *via == node.Via{Device: "desk", Unverified: true} && len(names) == 2
	})
	if _, via, err := laptop.list("nas", l.Root+"/docs"); err != nil || *via != (node.Via{Device: "desk", Unverified: true, Cached: true}) {
		t.Errorf("again: %+v, %v", via, err)
	}
	for h, err := range laptop.Search(t.Context(), node.Query{Text: "a.txt"}) {
		if err != nil || h.Via == nil || !h.Via.Unverified {
			t.Errorf("hit %+v, %v", h, err)
		}
	}
	if _, _, err := laptop.list("nas", l.Root+"/none"); code(err) != api.CodeNotFound || !strings.Contains(err.Error(), "says desk, which is not its owner: unverified") {
		t.Errorf("no such folder: %v", err)
	}
	nas.start()
	eventually(t, "the owner answers for itself", func() bool {
		_, via, err := laptop.list("nas", l.Root+"/docs")
		return err == nil && !via.Unverified
	})
}

// TestPolicies changes the policy of a location back and forth.
func TestPolicies(t *testing.T) {
	nas, laptop, l := lazyPair(t, "a.txt")
	set := laptop.policy("nas:"+l.Name, "full")
	if len(set) != 1 || set[0].Policy != "full" || !set[0].Set || set[0].Name != l.Name {
		t.Errorf("set: %+v", set)
	}
	laptop.holds(nas, l)
	if names, via, err := laptop.list("nas", l.Root); err != nil || via != nil || len(names) != 1 {
		t.Errorf("a replica: %q, %+v, %v", names, via, err)
	}
	if set := laptop.policy("nas", ""); len(set) != 2 || set[0].Policy != "lazy" || set[1].Policy != "full" {
		t.Errorf("shown: %+v", set)
	}
	// Lazy again: the replica stays, and is the fallback.
	laptop.policy(l.Name, "lazy")
	laptop.hears(nas, l, api.StateCurrent)
	if names, via, err := laptop.list("nas", l.Root); err != nil || via != nil || len(names) != 1 {
		t.Errorf("a replica at the newest state: %q, %+v, %v", names, via, err)
	}
	grow(t, l.Root, "b.txt")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	laptop.hears(nas, l, api.StateLazy)
	if names, via, err := laptop.list("nas", l.Root); err != nil || *via != (node.Via{Device: "nas"}) || len(names) != 2 {
		t.Errorf("a newer state than the replica's: %q, %+v, %v", names, via, err)
	}
	if got := laptop.find("txt"); len(got) != 2 {
		t.Errorf("found %q", got)
	}
	nas.stop()
	if names, via, err := laptop.list("nas", l.Root); err != nil || !via.Cached || len(names) != 2 {
		t.Errorf("the cache is newer than the replica: %q, %+v, %v", names, via, err)
	}
	if got := laptop.find("a.txt"); len(got) != 1 {
		t.Errorf("the replica finds %q", got)
	}
	// Off: nothing is asked and nothing is fetched, the replica still answers.
	laptop.policy(l.Name, "off")
	nas.start()
	laptop.hears(nas, l, api.StateOff)
	if names, via, err := laptop.list("nas", l.Root); err != nil || via != nil || len(names) != 1 {
		t.Errorf("switched off: %q, %+v, %v", names, via, err)
	}
	if _, err := laptop.Policy(t.Context(), node.PolicyRequest{Of: l.Name, Unset: true}); err != nil {
		t.Error(err)
	}
	laptop.policy("nas", "auto")
	laptop.holds(nas, l)
	for _, r := range []node.PolicyRequest{
		{}, {Of: "nobody", Policy: "lazy"}, {Of: "nas", Policy: "greedy"}, {Of: "laptop", Policy: "lazy"}, {Of: "nas", Policy: "lazy", Unset: true},
	} {
		if _, err := laptop.Policy(t.Context(), r); code(err) != api.CodeUsage && code(err) != api.CodeNotFound {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestPolicyOff never fetches and never asks.
func TestPolicyOff(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	laptop.policy("nas", "off")
	l := nas.add(tree(t, "a.txt"))
	laptop.hears(nas, l, api.StateOff)
	if _, _, err := laptop.list("nas", l.Root+"/folder"); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "policy is off") {
		t.Errorf("listing: %v", err)
	}
	if _, _, err := laptop.list("nas", l.Root+"x"); code(err) != api.CodeNotFound {
		t.Errorf("listing of what is in no location: %v", err)
	}
	if got := laptop.find("a.txt"); len(got) != 0 {
		t.Errorf("found %q", got)
	}
	if seen := laptop.sees(l); seen.Seq != 0 || seen.State != api.StateOff {
		t.Errorf("%+v", seen)
	}
	laptop.policy("nas", "full")
	laptop.holds(nas, l)
}

// TestSyncNow fetches a lazy location once.
func TestSyncNow(t *testing.T) {
	nas, laptop, l := lazyPair(t, "docs/a.txt", "docs/b.txt")
	cost, err := laptop.SyncCost(t.Context(), node.SyncRequest{Location: "nas:" + l.Name})
	if err != nil || cost.Entries != 4 || cost.Bytes == 0 || cost.Duration == 0 || cost.Measured || cost.Provider != "nas" || cost.Strategy != "batch-full" || cost.Location.Ref() != l.Ref() {
		t.Errorf("cost: %+v, %v", cost, err)
	}
	got, err := laptop.Sync(t.Context(), node.SyncRequest{Location: l.Name})
	if mine := nas.own(l.Name); err != nil || got.Seq != mine.Seq || got.State != api.StateCurrent || got.Policy != "lazy" {
		t.Errorf("fetched: %+v, %v", got, err)
	}
	if names, via, err := laptop.list("nas", l.Root+"/docs"); err != nil || via != nil || len(names) != 2 {
		t.Errorf("listing: %q, %+v, %v", names, via, err)
	}
	if cost, err := laptop.SyncCost(t.Context(), node.SyncRequest{Location: l.Name}); err != nil || cost.Entries != 0 {
		t.Errorf("cost of nothing: %+v, %v", cost, err)
	}
	if _, err := laptop.Sync(t.Context(), node.SyncRequest{Location: l.Name}); err != nil {
		t.Errorf("nothing to fetch: %v", err)
	}
	grow(t, l.Root, "c.txt")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	laptop.hears(nas, l, api.StateLazy)
	if got := laptop.sees(l); got.Seq == got.HeardSeq || got.HeardSeq == 0 {
		t.Errorf("the replica moved by itself: %+v", got)
	}
	control := func(action api.TransferAction) {
		t.Helper()
		if _, err := laptop.ControlTransfers(t.Context(), node.TransferRequest{Action: action, All: true}); err != nil {
			t.Fatal(err)
		}
	}
	control(api.PauseTransfers)
	if _, err := laptop.Sync(t.Context(), node.SyncRequest{Location: l.Name}); code(err) != api.CodeConflict {
		t.Errorf("while all is paused: %v", err)
	}
	control(api.ResumeTransfers)
	nas.stop()
	eventually(t, "nobody has it", func() bool {
		_, err := laptop.Sync(t.Context(), node.SyncRequest{Location: l.Name})
		return code(err) == api.CodeUnavailable
	})
	nas.start()
	home := laptop.add(tree(t, "x"))
	for _, ref := range []string{"", "nas", "nobody", home.Name} {
		if _, err := laptop.Sync(t.Context(), node.SyncRequest{Location: ref}); code(err) != api.CodeUsage && code(err) != api.CodeNotFound {
			t.Errorf("sync %q: %v", ref, err)
		}
	}
}

// folders yields some folders of so many files each.
func folders(n, files int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		id := int64(index.RootID)
		for f := range n {
			id++
			folder := id
			e := index.Entry{ID: id, Parent: index.RootID, Name: fmt.Sprintf("folder-%04d", f), Kind: index.KindDir, Mode: 0o755}
			if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
				return
			}
			for i := range files {
				id++
				e := index.Entry{
					ID: id, Parent: folder, Name: fmt.Sprintf("summer-%08d-report.txt", i*7919), Kind: index.KindFile,
					Size: int64(i) * 7919, MTime: 1_700_000_000_000_000_000 + int64(i)*1_234_567, Mode: 0o644,
				}
				if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
					return
				}
			}
		}
	}
}

// TestMeteredLink leaves a large location where it is while the network is metered, and fetches it when it no longer is.
func TestMeteredLink(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	laptop.SetMetered(true)
	small := nas.add(tree(t, "a.txt"))
	l, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "large"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nas.Commit(t.Context(), l.Ref(), folders(100, 1000)); err != nil {
		t.Fatal(err)
	}
	nas.pairWith(laptop) // now: what grows is followed until it is large
	laptop.holds(nas, small)
	laptop.hears(nas, l, api.StateLazy)
	if seen := laptop.sees(l); seen.Policy != "auto" || !strings.Contains(seen.Detail, "metered") || seen.Seq != 0 {
		t.Errorf("%+v", seen)
	}
	if names, via, err := laptop.list("nas", "/large/folder-0007"); err != nil || via == nil || len(names) != 1000 {
		t.Errorf("%d names, %+v, %v", len(names), via, err)
	}
	cost, err := laptop.SyncCost(t.Context(), node.SyncRequest{Location: "nas:large"})
	heard, herr := laptop.HeardOf(t.Context(), l.Ref())
	if err != nil || herr != nil || cost.Strategy != "native" || cost.Entries != 100_101 || cost.Bytes != heard[0].Size/100*70 || cost.Bytes < 1_000_000 {
		t.Errorf("cost: %+v, %v; heard %+v, %v", cost, err, heard, herr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	next, stop := iter.Pull2(laptop.Events(ctx))
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		for e, _, ok := next(); ok && (e.Type != api.EventLocationUpdated || e.Location.Ref() != l.Ref()); e, _, ok = next() {
		}
	}()
	laptop.SetMetered(false)
	<-told
	laptop.holds(nas, l)
	if names, via, err := laptop.list("nas", "/large/folder-0007"); err != nil || via != nil || len(names) != 1000 {
		t.Errorf("held: %d names, %+v, %v", len(names), via, err)
	}
}

// TestRetiredLazyLocation removes a location that is asked for on demand: it can't be asked for any more.
func TestRetiredLazyLocation(t *testing.T) {
	nas, laptop, l := lazyPair(t, "a.txt")
	if _, _, err := laptop.list("nas", l.Root); err != nil {
		t.Fatal(err)
	}
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: l.Name}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the location is gone", func() bool {
		_, _, err := laptop.list("nas", l.Root)
		found, searchErr := tryToFind(laptop, node.Query{Text: "a.txt"})
		return code(err) == api.CodeNotFound && len(found) == 0 && searchErr == nil
	})
	laptop.stop()
	defer laptop.start()
	st, err := store.OpenReadOnly(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if has, err := st.HasAnswers(t.Context(), l.Ref()); err != nil || has {
		t.Errorf("answers about it are kept: %v, %v", has, err)
	}
}

// TestDamagedCache overwrites the cache: it is begun anew.
func TestDamagedCache(t *testing.T) {
	_, laptop, l := lazyPair(t, "a.txt")
	if _, _, err := laptop.list("nas", l.Root); err != nil {
		t.Fatal(err)
	}
	laptop.stop()
	if err := os.WriteFile(filepath.Join(laptop.cfg.Dir, "cache.db"), []byte(strings.Repeat("x", 9000)), 0o600); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	eventually(t, "the nas is asked again", func() bool {
		names, via, err := laptop.list("nas", l.Root)
		return err == nil && !via.Cached && len(names) == 1
	})
	if _, via, err := laptop.list("nas", l.Root); err != nil || !via.Cached {
		t.Errorf("%+v, %v", via, err)
	}
}

// TestAnswerThatCantBeTrue gets an answer at a head that its owner can't have signed beside the one heard.
func TestAnswerThatCantBeTrue(t *testing.T) {
	nas, laptop, l := lazyPair(t, "a.txt")
	now, _, err := nas.NoticeOf(t.Context(), l.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if err := laptop.JudgeAnswer(t.Context(), now); err != nil {
		t.Errorf("the head that was heard: %v", err)
	}
	now.Root[0] ^= 1
	forked, err := index.SignHead(now.Head, nas.Key())
	if err != nil {
		t.Fatal(err)
	}
	if err := laptop.JudgeAnswer(t.Context(), forked); !errors.Is(err, wire.ErrMalformed) || laptop.sees(l).State != api.StateFrozen {
		t.Errorf("another head of the same seq: %v, %+v", err, laptop.sees(l))
	}
	if _, _, err := laptop.list("nas", l.Root); code(err) != api.CodeUnavailable || !strings.Contains(err.Error(), "cannot both be true") {
		t.Errorf("listing: %v", err)
	}
}
