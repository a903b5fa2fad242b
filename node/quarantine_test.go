package node_test

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// spoil changes the file of a location under a running device: the last place where old is. The descriptor stays open
// until the test ends, since closing it would drop the locks that SQLite has in this process.
func (d *device) spoil(l node.Location, old, changed string) {
	d.t.Helper()
	path := d.file(l.Ref())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	d.files = append(d.files, f)
	b := make([]byte, 1<<20)
	n, _ := f.ReadAt(b, 0)
	at := bytes.LastIndex(b[:n], []byte(old))
	if at < 0 {
		d.t.Fatalf("%q is not in %s", old, filepath.Base(path))
	}
	if _, err := f.WriteAt([]byte(changed), int64(at)); err != nil {
		d.t.Fatal(err)
	}
}

// see is what a device shows of a location.
func (d *device) see(l node.Location) node.Location {
	d.t.Helper()
	locs, err := d.Locations(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	i := slices.IndexFunc(locs, func(x node.Location) bool { return x.Ref() == l.Ref() })
	if i < 0 {
		d.t.Fatalf("%s does not list %s", d.cfg.DeviceName, l.Name)
	}
	return locs[i]
}

// expect reads events of one location until all of the given types came, in this order.
func expect(t *testing.T, events func() (node.Event, error, bool), l node.Location, types ...string) {
	t.Helper()
	for len(types) > 0 {
		ev, err, ok := events()
		if err != nil || !ok {
			t.Fatalf("events ended before %q: %v", types, err)
		}
		if ev.Type == types[0] && ev.Location.Ref() == l.Ref() {
			types = types[1:]
		}
	}
}

// TestScrubFindsWhatIsHidden damages a replica under a running node that has the page in memory. Only reading the file
// shows it. It is set aside and fetched again.
func TestScrubFindsWhatIsHidden(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l, other := nas.add(tree(t, "music/a song.ogg", "music/b.ogg")), nas.add(tree(t, "other.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.holds(nas, other)
	next, stop := iter.Pull2(laptop.Events(t.Context()))
	defer stop()
	if found := laptop.find("song"); len(found) != 1 {
		t.Fatalf("found %q", found)
	}
	old := laptop.file(l.Ref())
	laptop.spoil(l, "a song.ogg", "a sonG.ogg")
	if got := laptop.see(l); !got.Newest() || !got.Checked.IsZero() {
		t.Fatalf("before the scrub: %+v", got)
	}
	if err := laptop.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, next, l, api.EventLocationQuarantined, api.EventLocationUpdated)
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged file: %v", err)
	}
	if got := laptop.see(other); got.Checked.IsZero() || !got.Newest() {
		t.Errorf("the other location after the scrub: %+v", got)
	}
	if err := laptop.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, next, l, api.EventLocationChecked)
	if got := laptop.see(l); got.Checked.IsZero() || !got.Newest() {
		t.Errorf("after the second scrub: %+v", got)
	}
}

// TestQuarantine damages the only replica that is there: nothing of it is shown or served, also after a restart, until
// its owner is back.
func TestQuarantine(t *testing.T) {
	nas, laptop, phone := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "phone")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	mine := laptop.add(tree(t, "a song of mine.ogg"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	nas.stop()
	laptop.spoil(l, "a song.ogg", "a sonG.ogg")
	if err := laptop.Scrub(t.Context()); err != nil {
		t.Fatal(err)
	}
	quarantined := func(who string, r api.Reader) {
		t.Helper()
		locs, err := r.Locations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := locs[slices.IndexFunc(locs, func(x node.Location) bool { return x.Ref() == l.Ref() })]
		if got.State != api.StateQuarantined || got.Entries != 0 || got.Name != l.Name || got.Root != l.Root ||
			!strings.Contains(got.Detail, "is damaged (1 rows") || !strings.Contains(got.Detail, "no device that holds it is connected") {
			t.Errorf("%s: %+v", who, got)
		}
		st, err := r.Status(t.Context())
		if err != nil || !slices.ContainsFunc(st.Notes, func(n string) bool { return strings.Contains(n, l.Name+" of nas is quarantined") }) {
			t.Errorf("%s: notes %q, %v", who, st.Notes, err)
		}
		hits := 0
		var told error
		for _, err := range r.Search(t.Context(), node.Query{Text: "song"}) {
			if told = err; err == nil {
				hits++
			}
		}
		if q, ok := errors.AsType[*store.QuarantineError](told); hits != 1 || !ok || q.Location != l.Ref() || code(told) != api.CodeUnavailable {
			t.Errorf("%s: %d hits, %v", who, hits, told)
		}
		if _, err := r.List(t.Context(), node.ListRequest{Device: "nas", Path: l.Root}); code(err) != api.CodeUnavailable {
			t.Errorf("%s: list: %v", who, err)
		}
		if _, err := r.List(t.Context(), node.ListRequest{Device: "laptop", Path: mine.Root}); err != nil {
			t.Errorf("%s: list of another location: %v", who, err)
		}
	}
	quarantined("at once", laptop.Node)
	laptop.pairWith(phone)
	phone.holds(laptop, mine) // by now it has heard all that the laptop has to say
	if got, err := phone.Locations(t.Context()); err != nil || slices.ContainsFunc(got, func(x node.Location) bool { return x.Ref() == l.Ref() }) {
		t.Errorf("the phone knows of it: %+v, %v", got, err)
	}
	laptop.stop()
	r, err := node.OpenReader(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	quarantined("without a daemon", r)
	results, err := r.Check(t.Context(), node.CheckRequest{})
	if err != nil || len(results) != 2 || slices.ContainsFunc(results, func(c node.CheckResult) bool { return c.OK == (c.Location.Ref() == l.Ref()) }) {
		t.Errorf("check: %+v, %v", results, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	quarantined("after a restart", laptop.Node)
	nas.start()
	laptop.holds(nas, l)
	phone.holds(nas, l)
	sameRows(t, nas, laptop, l)
}

// TestDamagedBase changes a row under a delta: it leads to another root than the owner signed. The file is at fault, not
// the device that served the delta.
func TestDamagedBase(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	dir := tree(t, "a/one.txt", "a/two.txt")
	l := nas.add(dir)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	laptop.damage(l, bytes.Index, "two.txt", "tow.txt")
	grow(t, dir, "a/three.txt")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	if found := laptop.find("two.txt"); len(found) != 1 {
		t.Errorf("found %q", found)
	}
}

// TestWhatCannotBeProved has an owner serve what it did not sign, since its own file is damaged: it isn't asked again,
// and the replica keeps the state of before, until the owner signs another.
func TestWhatCannotBeProved(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	nas.stop()
	nas.damage(l, bytes.Index, "a song.ogg", "a sonG.ogg")
	nas.start()
	nas.pairWith(laptop)
	eventually(t, "the laptop gives up", func() bool {
		locs, err := laptop.Locations(t.Context())
		return err == nil && len(locs) == 1 && locs[0].State == api.StateQuarantined
	})
	if got := laptop.see(l); !strings.Contains(got.Detail, "not what its owner signed") || got.Entries != 0 {
		t.Errorf("what can't be proved: %+v", got)
	}
	if res := nas.checkResult(l, node.CheckRequest{Deep: true, Repair: true}); res.OK || !res.Repaired {
		t.Fatalf("repair: %+v", res)
	}
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
}

// TestDamagedNodeDB damages node.db. It is said what happened and what to do, and nothing is touched.
func TestDamagedNodeDB(t *testing.T) {
	d := newDevice(t, "nas")
	d.stop()
	path := filepath.Join(d.cfg.Dir, "node.db")
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(d.cfg.Dir, "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(sound, []byte("peerdex/")) // in the record of membership: only its signature shows it
	if at < 0 {
		at = bytes.LastIndex(sound, []byte("nas"))
	}
	record := slices.Clone(sound)
	record[at] ^= 1
	for name, b := range map[string][]byte{
		"another file": bytes.Repeat([]byte("no database"), 5000), "half of it": sound[:len(sound)/2], "a record": record,
	} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := node.Open(d.cfg)
		e := &node.Error{}
		if !errors.As(err, &e) || e.Code != api.CodeFailed || !strings.Contains(e.Detail, path) || !strings.Contains(e.Hint, "peerdex join") {
			t.Errorf("%s: %#v", name, err)
		}
		now, _ := os.ReadFile(path)
		if k, _ := os.ReadFile(filepath.Join(d.cfg.Dir, "identity.key")); !bytes.Equal(now, b) || !bytes.Equal(k, key) {
			t.Errorf("%s: a file was changed", name)
		}
	}
	if err := os.WriteFile(path, sound, 0o600); err != nil {
		t.Fatal(err)
	}
	keyPath := filepath.Join(d.cfg.Dir, "identity.key")
	if err := os.WriteFile(keyPath, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Open(d.cfg); !errors.Is(err, store.ErrIdentity) || !strings.Contains(api.AsError(err).Hint, "identity.key") {
		t.Errorf("a damaged key: %v", err)
	}
	if err := os.WriteFile(keyPath, key, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start()
}

// TestDamagedOwnFile damages files of the device that owns them, under it. That of which another device holds a replica is
// taken back from there, the other begins anew: both by themselves, under a new epoch.
func TestDamagedOwnFile(t *testing.T) {
	nas, laptop, alone := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "alone")
	l := nas.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	single := alone.add(tree(t, "music/a song.ogg", "music/b.ogg"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	for _, d := range []*device{nas, alone} { // brings the rows from the journal to the file
		d.stop()
		d.start()
	}
	nas.knows(laptop, l)
	for d, x := range map[*device]node.Location{nas: l, alone: single} {
		next, stop := iter.Pull2(d.Events(t.Context()))
		defer stop()
		d.spoil(x, "a song.ogg", "a sonG.ogg")
		if err := d.Scrub(t.Context()); err != nil {
			t.Fatal(err)
		}
		expect(t, next, x, api.EventLocationQuarantined, api.EventBulkIndexComplete)
		eventually(t, "the index of "+d.cfg.DeviceName+" is back", func() bool {
			is := d.own(x.Name)
			return is.Newest() && strings.HasPrefix(is.Epoch, "2.") && is.Seq > x.Seq && is.Entries == x.Entries && is.ID == x.ID
		})
		if res := d.checkResult(x, node.CheckRequest{Deep: true}); !res.OK {
			t.Errorf("%s: %+v", d.cfg.DeviceName, res)
		}
		if found := d.find("song.ogg"); len(found) != 1 {
			t.Errorf("found %q", found)
		}
	}
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
}

// TestLocationsAreApart deletes the files of all locations of a stopped device. It is still who it was and belongs where
// it did; its replicas are fetched again, and its own index is taken back.
func TestLocationsAreApart(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "of the nas.txt"))
	mine := laptop.add(tree(t, "of the laptop.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	nas.holds(laptop, mine)
	before, err := laptop.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	laptop.stop()
	for _, sub := range []string{"locations", "staging"} {
		if err := os.RemoveAll(filepath.Join(laptop.cfg.Dir, sub)); err != nil {
			t.Fatal(err)
		}
	}
	laptop.start()
	laptop.holds(nas, l)
	eventually(t, "the laptop's own index is back", func() bool {
		is := laptop.own(mine.Name)
		return is.Newest() && is.Entries == mine.Entries && is.Root == mine.Root
	})
	nas.holds(laptop, mine)
	sameRows(t, nas, laptop, l)
	sameRows(t, laptop, nas, mine)
	after, err := laptop.Status(t.Context())
	if err != nil || after.Library != before.Library || after.Device.ID != before.Device.ID || len(after.Devices) != 1 || after.Devices[0].ID != before.Devices[0].ID {
		t.Errorf("before %+v, after %+v, %v", before, after, err)
	}
}
