package node_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/store"
)

// fedOne adds a location that the test feeds, and feeds it once.
func (d *device) fedOne(name string) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.feedOne(l, "first")
	return d.own(name)
}

// feedOne commits one file and returns the seq of the head.
func (d *device) feedOne(l node.Location, file string) int64 {
	d.t.Helper()
	res, err := d.Commit(d.t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
		yield(index.Change{Op: index.Put, Path: file, Entry: index.Entry{Kind: index.KindFile}}, nil)
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return res.Head.Seq
}

// toldBy is the seq that a device itself, and nobody else, told d of a location.
func (d *device) toldBy(owner *device, l node.Location) int64 {
	d.t.Helper()
	said, err := d.HeardOf(d.t.Context(), l.Ref())
	if err != nil {
		d.t.Fatal(err)
	}
	for _, s := range said {
		if s.Device == index.DeviceID(owner.Identity()) {
			return s.Head.Seq
		}
	}
	return 0
}

func (d *device) connectedTo(name string) bool {
	d.t.Helper()
	s, err := d.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return slices.ContainsFunc(s.Devices, func(o node.Device) bool { return o.Name == name && o.Connected })
}

// TestCommitIsHeardWithoutAConnection has three devices in a line. What one end says of itself reaches the other by a
// notice alone: they never talk, and the one between them tells of what it holds in its own name.
func TestCommitIsHeardWithoutAConnection(t *testing.T) {
	a, b, c := newDevice(t, "a"), newDevice(t, "b"), newDevice(t, "c")
	l := a.fedOne("catalogue")
	a.pairWith(b)
	b.pairWith(c)
	c.holds(a, l)
	if c.toldBy(a, l) != 0 || c.connectedTo("a") || !c.connectedTo("b") {
		t.Fatal("the ends of the line have talked")
	}
	heard := false
	for n := 0; n < 20 && !heard; n++ { // until the mesh between b and c stands
		seq := a.feedOne(l, fmt.Sprint("file ", n))
		for start := time.Now(); !heard && time.Since(start) < time.Second; time.Sleep(5 * time.Millisecond) {
			heard = c.toldBy(a, l) >= seq
		}
	}
	if !heard {
		t.Error("no commit was heard within a second")
	}
	if c.connectedTo("a") {
		t.Error("the ends of the line are connected")
	}
	c.holds(a, l)
}

// TestLostNoticesAreMadeUpFor commits while the other device is away.
func TestLostNoticesAreMadeUpFor(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	nas.feedOne(l, "while it was away")
	laptop.start()
	laptop.holds(nas, l)
}

// TestWhatANoticeChanges hands notices to a device one by one.
func TestWhatANoticeChanges(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	now, ok, err := nas.NoticeOf(t.Context(), l.Ref())
	if err != nil || !ok || now.Count != 2 {
		t.Fatalf("%+v, %v, %v", now, ok, err)
	}
	nas.stop() // nothing but the notices tells the laptop of anything
	eventually(t, "the laptop is alone", func() bool { return !laptop.connectedTo("nas") })
	sign := func(change func(h *index.Head)) index.SignedHead {
		t.Helper()
		h := now.Head
		change(&h)
		s, err := index.SignHead(h, nas.Key())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	state := func() node.Location {
		t.Helper()
		locs, err := laptop.Locations(t.Context())
		if err != nil || len(locs) != 1 {
			t.Fatalf("%+v, %v", locs, err)
		}
		return locs[0]
	}
	seq := now.Seq
	for _, x := range []struct {
		name  string
		head  index.SignedHead
		old   bool
		state string
		told  int64
	}{
		{"known", now, false, api.StateOwnerAway, seq},
		{"newer", sign(func(h *index.Head) { h.Seq += 5 }), false, api.StateBehind, seq + 5},
		{"older than heard", sign(func(h *index.Head) { h.Seq += 4 }), true, api.StateBehind, seq + 5},
		{"of a record that is not known", sign(func(h *index.Head) { h.Seq, h.Record = h.Seq+6, index.Hash{1} }), false, api.StateBehind, seq + 5},
		{"of another library", sign(func(h *index.Head) { h.Seq, h.Library = h.Seq+7, index.LibraryID{1} }), false, api.StateBehind, seq + 5},
		{"that can't be true", sign(func(h *index.Head) { h.Seq, h.Root = h.Seq+5, index.Hash{1} }), false, api.StateFrozen, seq + 5},
		{"again while frozen", sign(func(h *index.Head) { h.Seq, h.Root = h.Seq+9, index.Hash{1} }), true, api.StateFrozen, seq + 5},
		{"of a higher epoch", sign(func(h *index.Head) { h.Seq, h.Epoch.Counter = h.Seq+20, h.Epoch.Counter+1 }), false, api.StateBehind, seq + 20},
	} {
		old, err := laptop.TakeNotice(t.Context(), x.head)
		if err != nil || old != x.old {
			t.Errorf("%s: old %v, %v; want %v", x.name, old, err, x.old)
		}
		if got := state(); got.State != x.state || laptop.toldBy(nas, l) != x.told {
			t.Errorf("%s: %s, told %d; want %s, %d", x.name, got.State, laptop.toldBy(nas, l), x.state, x.told)
		}
	}
	nas.start()
}

// TestNoticeOfARemovedLocation tells the last head, which says that the location is no more.
func TestNoticeOfARemovedLocation(t *testing.T) {
	nas := newDevice(t, "nas")
	l := nas.fedOne("catalogue")
	before, _, err := nas.NoticeOf(t.Context(), l.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nas.RemoveLocation(t.Context(), node.RemoveRequest{Location: l.Name}); err != nil {
		t.Fatal(err)
	}
	after, ok, err := nas.NoticeOf(t.Context(), l.Ref())
	if err != nil || !ok || after.Seq <= before.Seq || after.Record == before.Record {
		t.Errorf("%+v, %v, %v", after, ok, err)
	}
	if _, ok, err := nas.NoticeOf(t.Context(), index.Location{Owner: l.Owner}); err != nil || ok {
		t.Errorf("of a location that never was: %v, %v", ok, err)
	}
}

// TestPaced pokes often, and counts.
func TestPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		poked := make(chan struct{}, 1)
		var at []time.Duration
		start := time.Now()
		done := make(chan error, 1)
		go func() {
			done <- node.Paced(ctx, poked, 10*time.Second, func() { at = append(at, time.Since(start).Round(time.Second)) })
		}()
		for range 120 { // for twelve seconds
			select {
			case poked <- struct{}{}:
			default:
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []time.Duration{0, 10 * time.Second, 20 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("at %v, want %v", at, want)
		}
	})
}

// reconnect stops and starts a device, and returns the bytes of our protocols until both are quiet again.
func (d *device) reconnect(other string) int64 {
	d.t.Helper()
	d.stop()
	d.start()
	eventually(d.t, d.cfg.DeviceName+" is connected", func() bool { return d.connectedTo(other) })
	var bytes int64
	for quiet := time.Now(); time.Since(quiet) < 1500*time.Millisecond; time.Sleep(10 * time.Millisecond) { // longer than a heartbeat
		s, err := d.Status(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if n := s.Traffic.BytesIn + s.Traffic.BytesOut; n != bytes {
			bytes, quiet = n, time.Now()
		}
	}
	return bytes
}

// TestReconnectInSyncIsSmall counts the bytes of everything that two devices say when they meet again and nothing
// changed, also what gossip says of itself. Each has a location of the other, one that was removed and one that is kept.
func TestReconnectInSyncIsSmall(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	mine := laptop.fedOne("mine")
	gone, kept := nas.fedOne("gone"), nas.fedOne("kept")
	var all []node.Location
	for i := range 10 {
		all = append(all, nas.fedOne(fmt.Sprint("location ", i)))
	}
	nas.pairWith(laptop)
	nas.holds(laptop, mine)
	laptop.holds(nas, gone)
	for _, r := range []node.RemoveRequest{{Location: gone.Name}, {Location: kept.Name, Keep: true}} {
		if _, err := nas.RemoveLocation(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range all {
		laptop.holds(nas, l)
	}
	eventually(t, "the laptop knows of both removals", func() bool {
		locs, err := laptop.Locations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, l := range locs {
			if l.ID == gone.ID && l.State == api.StateRetired || l.ID == kept.ID && l.State == api.StateArchived {
				n++
			}
		}
		return n == 2
	})
	laptop.reconnect("nas") // what each learned while they were connected is told by the next exchange
	n := laptop.reconnect("nas")
	t.Logf("%d bytes both ways", n)
	if n == 0 || n > 1024 {
		t.Errorf("%d bytes, want at most 1024", n)
	}
}

// TestStrangersGetNoNotices lets a stranger connect who knows everything but is no member: no stream of gossip is
// opened to it, and its own is reset. The same key as a member gets both, so the test would notice if nobody did.
func TestStrangersGetNoNotices(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	status, err := nas.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	to, err := peer.AddrInfoFromString(status.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	laptop.stop()
	st, err := store.OpenReadOnly(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	member := st.Identity()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	streams := map[string]chan network.Stream{}
	for _, who := range []string{"stranger", "member"} {
		key := stranger
		if who == "member" {
			key = member
		}
		h := hostWith(t, key)
		defer h.Close()
		streams[who] = make(chan network.Stream, 10)
		h.SetStreamHandler(notice.ID, func(s network.Stream) { streams[who] <- s })
		if err := h.Connect(t.Context(), *to); err != nil {
			t.Fatal(err)
		}
		if refused := refuses(t, h, to.ID); refused != (who == "stranger") {
			t.Errorf("%s: stream refused: %v", who, refused)
		}
	}
	eventually(t, "gossip with the member", func() bool { return len(streams["member"]) > 0 })
	if len(streams["stranger"]) > 0 {
		t.Error("gossip with a stranger")
	}
	laptop.start()
}

// refuses reports whether a stream of gossip is reset at once.
func refuses(t *testing.T, h host.Host, p peer.ID) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, p, notice.ID)
	if err != nil {
		return true
	}
	defer s.Reset()
	_ = s.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err = s.Read(make([]byte, 1))
	var timeout interface{ Timeout() bool }
	return !errors.As(err, &timeout) || !timeout.Timeout()
}
