package node_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// device is a node of a test, which can be stopped and started again.
type device struct {
	t *testing.T
	*node.Node
	cfg   node.Config
	files []*os.File // open until the device is stopped
}

func newDevice(t *testing.T, name string) *device {
	t.Helper()
	d := &device{t: t, cfg: node.Config{Dir: filepath.Join(t.TempDir(), name), DeviceName: name, Reach: "loopback", ConfirmAfter: time.Hour}}
	d.start()
	t.Cleanup(func() { d.stop(); d.check() })
	return d
}

func (d *device) start() {
	d.t.Helper()
	n, err := node.Open(d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := n.Start(context.Background()); err != nil {
		d.t.Fatal(err, n.Close())
	}
	d.Node = n
}

func (d *device) stop() {
	d.t.Helper()
	if err := d.Close(); err != nil {
		d.t.Errorf("close %s: %v", d.cfg.DeviceName, err)
	}
	for _, f := range d.files {
		_ = f.Close()
	}
	d.files = nil
}

// check runs the whole-store check on a stopped device.
func (d *device) check() {
	d.t.Helper()
	st, err := store.Open(d.cfg.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(st.Check(context.Background()), st.Close()); err != nil {
		d.t.Errorf("store of %s: %v", d.cfg.DeviceName, err)
	}
}

func (d *device) add(path string) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Path: path})
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.Scan(d.t.Context(), node.ScanRequest{Location: l.Name}); err != nil {
		d.t.Fatal(err)
	}
	return d.own(l.Name)
}

func (d *device) own(name string) node.Location {
	d.t.Helper()
	locs, err := d.Locations(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, l := range locs {
		if l.Own && l.Name == name {
			return l
		}
	}
	d.t.Fatalf("no location %q in %+v", name, locs)
	return node.Location{}
}

// pairWith makes b a member of d's library.
func (d *device) pairWith(b *device) {
	d.t.Helper()
	inv, err := d.Invite(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	res, err := b.Join(d.t.Context(), node.JoinRequest{Ticket: inv.Ticket})
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := d.WaitInvite(d.t.Context(), inv.ID)
	if err != nil || !out.Joined || out.Device.Name != b.cfg.DeviceName || res.Inviter.Name != d.cfg.DeviceName {
		d.t.Fatalf("invite ended with %+v, join with %+v, %v", out, res, err)
	}
}

// eventually waits for a condition to come true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// holds waits until d has the same rows as owner in a location.
func (d *device) holds(owner *device, l node.Location) {
	d.t.Helper()
	eventually(d.t, d.cfg.DeviceName+" holds "+l.Name+" of "+owner.cfg.DeviceName, func() bool {
		mine := owner.own(l.Name)
		locs, err := d.Locations(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		return slices.ContainsFunc(locs, func(x node.Location) bool {
			return x.Ref() == l.Ref() && x.Seq == mine.Seq && x.AsOf.Equal(mine.AsOf) && x.Newest()
		})
	})
}

func (d *device) find(text string) []string {
	d.t.Helper()
	var out []string
	for h, err := range d.Search(d.t.Context(), node.Query{Text: text}) {
		if err != nil {
			d.t.Fatal(err)
		}
		out = append(out, h.Device+":"+h.Path)
	}
	slices.Sort(out)
	return out
}

// tree makes a folder with files; names ending in "/" are folders.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	grow(t, dir, names...)
	return dir
}

func grow(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		p := filepath.Join(dir, n)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(n, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexIsSearchableWhileItsOwnerIsAway is the main job: index here, find there, with the owner stopped.
func TestIndexIsSearchableWhileItsOwnerIsAway(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	dir := tree(t, "photos/2019/summer.jpg", "photos/2020/winter.jpg", "docs/invoice.pdf", "empty/")
	l := nas.add(dir)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	grow(t, dir, "docs/invoice-2.pdf")
	if err := os.RemoveAll(filepath.Join(dir, "empty")); err != nil {
		t.Fatal(err)
	}
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	laptop.holds(nas, l)
	nas.stop()
	if got, want := laptop.find("invoice"), []string{"nas:" + dir + "/docs/invoice-2.pdf", "nas:" + dir + "/docs/invoice.pdf"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if got := laptop.find("empty"); len(got) != 0 {
		t.Errorf("a deleted folder is found: %q", got)
	}
	list, err := laptop.List(t.Context(), node.ListRequest{Device: "nas", Path: dir + "/photos"})
	if err != nil || len(list.Entries) != 2 || list.Entries[0].Path != dir+"/photos/2019" || list.AsOf.IsZero() {
		t.Errorf("listing %+v, %v", list, err)
	}
	eventually(t, "the laptop sees that the nas is away", func() bool {
		s, err := laptop.Status(t.Context())
		return err == nil && len(s.Devices) == 1 && !s.Devices[0].Connected && !s.Devices[0].LastSeen.IsZero()
	})
	laptop.stop()
	reader, err := node.OpenReader(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for h, err := range reader.Search(t.Context(), node.Query{Text: "type:f"}) {
		if err != nil || h.AsOf.IsZero() {
			t.Errorf("%+v, %v", h, err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d files without a daemon, want 4", n)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	nas.start()
	laptop.start()
}

// TestAnyDeviceServesAnyReplica checks that a third device, which never met the owner, gets its index from the second.
func TestAnyDeviceServesAnyReplica(t *testing.T) {
	a, b, c := newDevice(t, "a"), newDevice(t, "b"), newDevice(t, "c")
	l := a.add(tree(t, "x/y/z.txt"))
	a.pairWith(b)
	b.holds(a, l)
	a.stop()
	b.pairWith(c)
	eventually(t, "c finds a's file", func() bool { return len(c.find("z.txt")) == 1 })
	a.start()
	eventually(t, "a learns of c", func() bool {
		ds, err := a.Devices(t.Context())
		return err == nil && len(ds) == 3
	})
}

func TestRemovedLocations(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	gone, kept := nas.add(tree(t, "gone.txt")), nas.add(tree(t, "kept.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, gone)
	laptop.holds(nas, kept)
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: gone.Name}); err != nil {
		t.Fatal(err)
	}
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: kept.Root, Keep: true}); err != nil {
		t.Fatal(err)
	}
	state := func(l node.Location) string {
		locs, err := laptop.Locations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range locs {
			if x.Ref() == l.Ref() {
				return x.State
			}
		}
		return "not listed"
	}
	eventually(t, "the replica is dropped", func() bool { return state(gone) == api.StateRetired && len(laptop.find("gone")) == 0 })
	eventually(t, "the other is archived", func() bool { return state(kept) == api.StateArchived })
	if got := laptop.find("kept.txt"); len(got) != 1 {
		t.Errorf("the archived replica finds %q", got)
	}
	if _, err := nas.Scan(t.Context(), node.ScanRequest{Location: kept.Name}); code(err) != api.CodeUsage {
		t.Errorf("scanning an archived location: %v", err)
	}
	if l := nas.add(kept.Root); l.ID == kept.ID {
		t.Error("a folder added again is the old location")
	}
}

func code(err error) api.Code {
	if err == nil {
		return ""
	}
	return api.AsError(err).Code
}

// TestAnErrorIsNeverADeletion takes the folder away in all the ways a disk goes away.
func TestAnErrorIsNeverADeletion(t *testing.T) {
	nas := newDevice(t, "nas")
	dir := tree(t, "a/one.txt", "b/two.txt")
	l := nas.add(dir)
	moved := dir + ".moved"
	scan := func() node.ScanResult {
		t.Helper()
		res, err := nas.Scan(t.Context(), node.ScanRequest{Location: l.Name})
		if err != nil || len(res) != 1 {
			t.Fatalf("scan: %+v, %v", res, err)
		}
		return res[0]
	}
	before := nas.own(l.Name)
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	for what, arrange := range map[string]func() error{
		"missing":      func() error { return nil },
		"empty":        func() error { return os.Mkdir(dir, 0o755) },
		"not a folder": func() error { return os.WriteFile(dir, nil, 0o644) },
	} {
		if err := arrange(); err != nil {
			t.Fatal(err)
		}
		if r := scan(); r.Deleted != 0 {
			t.Errorf("%s: %+v", what, r)
		}
		now := nas.own(l.Name)
		if now.State != api.StateAway || now.Seq != before.Seq || !now.AsOf.Equal(before.AsOf) || now.Detail == "" {
			t.Errorf("%s: %+v", what, now)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(moved, dir); err != nil {
		t.Fatal(err)
	}
	if r := scan(); r.Changed != 0 || nas.own(l.Name).State != api.StateCurrent {
		t.Errorf("plugged in again: %+v", r)
	}
	if got := nas.find("txt"); len(got) != 2 {
		t.Errorf("found %q", got)
	}
}

// TestManyDeletionsWaitForASecondScan checks the rule at its edge: 20 % pass, more waits until a scan agrees.
func TestManyDeletionsWaitForASecondScan(t *testing.T) {
	nas := newDevice(t, "nas")
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("f%02d", i))
	}
	dir := tree(t, names...)
	l := nas.add(dir)
	remove := func(names ...string) node.ScanResult {
		t.Helper()
		for _, n := range names {
			if err := os.Remove(filepath.Join(dir, n)); err != nil {
				t.Fatal(err)
			}
		}
		res, err := nas.Scan(t.Context(), node.ScanRequest{Location: l.Name})
		if err != nil {
			t.Fatal(err)
		}
		return res[0]
	}
	if r := remove(names[:4]...); r.Deleted != 4 || r.HeldDeletions != 0 {
		t.Fatalf("20 %%: %+v", r)
	}
	asOf := nas.own(l.Name).AsOf
	if r := remove(names[4:10]...); r.Deleted != 0 || r.HeldDeletions != 6 {
		t.Fatalf("more than 20 %%: %+v", r)
	}
	held := nas.own(l.Name)
	if held.HeldDeletions != 6 || held.Entries != 17 || !held.AsOf.Equal(asOf) {
		t.Fatalf("while deletions wait: %+v", held)
	}
	grow(t, dir, names[4]) // came back: the second scan agrees on five
	if r := remove(); r.Deleted != 5 || r.HeldDeletions != 0 {
		t.Fatalf("second scan: %+v", r)
	}
	if after := nas.own(l.Name); after.Entries != 12 || !after.AsOf.After(asOf) {
		t.Fatalf("after the second scan: %+v", after)
	}
}

func TestFoldersThatCannotBeAdded(t *testing.T) {
	nas := newDevice(t, "nas")
	dir := tree(t, "in/side/file")
	nas.add(filepath.Join(dir, "in"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "in"), link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]api.Code{
		dir + "/nope":         api.CodeUsage,
		dir + "/in/side/file": api.CodeUsage,
		"in":                  api.CodeUsage,
		dir + "/in":           api.CodeConflict,
		link:                  api.CodeConflict,
		dir + "/in/side":      api.CodeConflict,
		dir:                   api.CodeConflict,
		nas.cfg.Dir:           api.CodeConflict,
	} {
		_, err := nas.AddLocation(t.Context(), node.AddRequest{Path: path})
		e := &node.Error{}
		if !errors.As(err, &e) || e.Code != want || e.Title == "" || e.Hint == "" {
			t.Errorf("add %s: %#v, want %s with a hint", path, err, want)
		}
	}
	if _, err := nas.AddLocation(t.Context(), node.AddRequest{Path: dir + "/nope"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// TestFedLocation is a location without a folder, fed by the embedding program.
func TestFedLocation(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	folder := nas.add(tree(t, "x"))
	l, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	feed := func(l node.Location, n int) error {
		_, err := nas.Commit(t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
			for i := range n {
				e := index.Entry{Kind: index.KindFile, Size: int64(i), Attrs: []byte{byte(i)}}
				if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("shelf %d/book %d", i%3, i), Entry: e}, nil) {
					return
				}
			}
		})
		return err
	}
	next, stop := iter.Pull2(nas.Events(t.Context()))
	defer stop()
	if err := feed(l, 100); err != nil {
		t.Fatal(err)
	}
	for ev, _, ok := next(); ; ev, _, ok = next() {
		if !ok {
			t.Fatal("events ended")
		}
		if ev.Type == api.EventBulkIndexComplete && ev.Location.Ref() == l.Ref() {
			if ev.Location.Entries != 104 {
				t.Errorf("event %+v", ev.Location)
			}
			break
		}
	}
	nas.pairWith(laptop)
	eventually(t, "the laptop finds a book", func() bool {
		return slices.Equal(laptop.find(`"book 42"`), []string{"nas:/catalogue/shelf 0/book 42"})
	})
	if err := feed(folder, 1); code(err) != api.CodeConflict {
		t.Errorf("feeding a scanned folder: %v", err)
	}
	if _, err := nas.Scan(t.Context(), node.ScanRequest{Location: "catalogue"}); code(err) != api.CodeUsage {
		t.Errorf("scanning a fed location: %v", err)
	}
}

func TestTicketsThatDoNotWork(t *testing.T) {
	a, b, c := newDevice(t, "a"), newDevice(t, "b"), newDevice(t, "c")
	inv, err := a.Invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	join := func(d *device, ticket string) api.Code {
		_, err := d.Join(t.Context(), node.JoinRequest{Ticket: ticket})
		return code(err)
	}
	if got := join(b, "nonsense"); got != api.CodeUsage {
		t.Errorf("nonsense: %s", got)
	}
	typo := []byte(inv.Ticket)
	typo[10] ^= 1
	if got := join(b, string(typo)); got != api.CodeUsage {
		t.Errorf("a typo: %s", got)
	}
	if got := join(a, inv.Ticket); got != api.CodeUsage {
		t.Errorf("one's own ticket: %s", got)
	}
	if got := join(b, inv.Ticket); got != "" {
		t.Fatalf("the ticket: %s", got)
	}
	if got := join(c, inv.Ticket); got != api.CodeDenied {
		t.Errorf("a used ticket: %s", got)
	}
	if got := join(b, inv.Ticket); got != api.CodeConflict {
		t.Errorf("joining twice: %s", got)
	}
	cancelled, err := a.Invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.CancelInvite(t.Context(), cancelled.ID); err != nil {
		t.Fatal(err)
	}
	if got := join(c, cancelled.Ticket); got != api.CodeDenied {
		t.Errorf("a cancelled ticket: %s", got)
	}
	if out, err := a.WaitInvite(t.Context(), cancelled.ID); err != nil || out.Joined || out.Reason == "" {
		t.Errorf("waiting for a cancelled invite: %+v, %v", out, err)
	}
	other, err := c.Invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := join(b, other.Ticket); got != api.CodeConflict {
		t.Errorf("a second library: %s", got)
	}
}

// TestOwnerRestoredFromABackup brings an owner back to an older state. It must not give seqs again that it gave: it
// hears of its own newer head, begins a new epoch, scans, and the replica follows.
func TestOwnerRestoredFromABackup(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	dir := tree(t, "a.txt")
	l := nas.add(dir)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	nas.stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(nas.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	nas.start()
	grow(t, dir, "b.txt", "c.txt")
	if _, err := nas.Scan(t.Context(), node.ScanRequest{}); err != nil {
		t.Fatal(err)
	}
	laptop.holds(nas, l)
	lost := nas.own(l.Name)
	restore := func() {
		t.Helper()
		nas.stop()
		if err := os.RemoveAll(nas.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(nas.cfg.Dir, os.DirFS(backup)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(nas.cfg.Dir, "identity.key"), 0o600); err != nil {
			t.Fatal(err)
		}
		nas.start()
	}
	grow(t, dir, "d.txt")
	restore()
	eventually(t, "the owner begins a new epoch", func() bool {
		now := nas.own(l.Name)
		return strings.HasPrefix(now.Epoch, "2.") && now.Seq > lost.Seq
	})
	eventually(t, "the laptop follows", func() bool {
		return len(laptop.find("txt")) == 4 && len(nas.find("txt")) == 4
	})
	laptop.holds(nas, l)
	if now := nas.own(l.Name); now.State == api.StateFrozen {
		t.Errorf("frozen after one rollback: %+v", now)
	}
}

// TestDamageStaysLocal destroys one replica's file while its holder is stopped: the rest goes on, and the replica is
// fetched again.
func TestDamageStaysLocal(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	laptop.add(tree(t, "mine.txt"))
	one, two := nas.add(tree(t, "one.txt")), nas.add(tree(t, "two.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, one)
	laptop.holds(nas, two)
	nas.stop()
	laptop.stop()
	files, err := filepath.Glob(filepath.Join(laptop.cfg.Dir, "locations", one.Ref().String()+".*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte(strings.Repeat("not a database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	laptop.start()
	hits := 0
	var broken error
	for _, err := range laptop.Search(t.Context(), node.Query{Text: "txt"}) {
		if broken = err; err == nil {
			hits++
		}
	}
	if hits != 2 || !errors.Is(broken, store.ErrCorrupt) {
		t.Errorf("%d hits, %v; want the two of the other locations, then the error", hits, broken)
	}
	if s, err := laptop.Status(t.Context()); err != nil || len(s.Locations) != 3 {
		t.Errorf("status: %+v, %v", s, err)
	}
	nas.start()
	laptop.holds(nas, one)
	if got := laptop.find("txt"); len(got) != 3 {
		t.Errorf("after it was fetched again: %q", got)
	}
}

func TestSecondNodeOnOneFolderIsRefused(t *testing.T) {
	a := newDevice(t, "a")
	_, err := node.Open(a.cfg)
	if code(err) != api.CodeRunning || !errors.Is(err, store.ErrLocked) {
		t.Errorf("%v", err)
	}
}

// TestCloseWhileBusy closes a node in the middle of a scan; nothing hangs, leaks or is damaged.
func TestCloseWhileBusy(t *testing.T) {
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("d%d/f%d", i%50, i))
	}
	a := newDevice(t, "a")
	if _, err := a.AddLocation(t.Context(), node.AddRequest{Path: tree(t, names...)}); err != nil {
		t.Fatal(err)
	}
	a.stop()
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	a.start()
	eventually(t, "the scan ends after the restart", func() bool { return len(a.find("type:f")) == 3000 })
}
