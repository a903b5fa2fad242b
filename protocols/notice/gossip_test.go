package notice

import (
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/peerdex/peerdex/index"
)

// TestNoticesReachDevicesThatAreNotConnected has three devices in a line.
func TestNoticesReachDevicesThatAreNotConnected(t *testing.T) {
	var c club
	a, b, z := newDevice(t, "a", &c), newDevice(t, "b", &c), newDevice(t, "z", &c)
	a.connect(b.host, b)
	b.connect(z.host, z)
	a.sees(b.host.ID())
	b.sees(z.host.ID())
	within := func(d time.Duration, want index.SignedHead) bool {
		for timeout := time.After(d); ; {
			select {
			case got := <-z.heard:
				if got.Head == want {
					return true
				}
			case <-timeout:
				return false
			}
		}
	}
	heard := false
	for n := int64(1); n <= 20 && !heard; n++ { // until the mesh stands, b passes on what it can
		heard = within(time.Second, a.commit(1, n))
	}
	if !heard {
		t.Error("no notice came within a second")
	}
	for len(z.events) > 0 {
		if e := z.event(); e.From != b.host.ID() || e.Author != a.host.ID() || e.Err != nil {
			t.Errorf("event %+v", e)
		}
	}
	if len(z.host.Network().ConnsToPeer(a.host.ID())) > 0 {
		t.Error("the ends of the line are connected")
	}
}

// TestMessageSize counts the bytes of one notice on the wire, all headers of gossipsub included.
func TestMessageSize(t *testing.T) {
	var c club
	a, b := newDevice(t, "a", &c), newDevice(t, "b", &c)
	a.connect(b.host, b)
	a.sees(b.host.ID())
	b.sees(a.host.ID())
	sizes := make(chan int64, 100)
	a.commit(1, 1)
	b.hears()
	for n := int64(2); n < 30; n++ { // what the mesh says now and then is counted too, so the least counts
		before := b.traffic.In.Load()
		a.commit(1, n)
		b.hears()
		sizes <- b.traffic.In.Load() - before
	}
	close(sizes)
	least := <-sizes
	for n := range sizes {
		least = min(least, n)
	}
	t.Logf("%d bytes", least)
	if least < SealedSize || least > 600 {
		t.Errorf("a notice takes %d bytes, want at most 600", least)
	}
}

// TestMeet connects two devices that have met at different times, and once more.
func TestMeet(t *testing.T) {
	var c club
	a, b := newDevice(t, "a", &c), newDevice(t, "b", &c)
	connectOnly(t, a.host, b.host)
	a.Meet(b.host.ID())
	b.Meet(a.host.ID())
	a.sees(b.host.ID())
	b.sees(a.host.ID())
	a.Meet(b.host.ID())
	a.commit(1, 1)
	b.hears()
	b.commit(1, 1)
	a.hears()
	if err := a.host.Network().ClosePeer(b.host.ID()); err != nil {
		t.Fatal(err)
	}
	a.waits(b.host.ID(), false)
	b.waits(a.host.ID(), false)
	connectOnly(t, a.host, b.host) // they have met already
	a.sees(b.host.ID())
	a.commit(1, 2)
	b.hears()
}

// TestNobodyIsAskedBeforeItWasMet counts the streams that a device gets from one that has not met it.
func TestNobodyIsAskedBeforeItWasMet(t *testing.T) {
	var c club
	a := newDevice(t, "a", &c)
	b := newHost(t, testKey("b"))
	streams := make(chan network.Stream, 10)
	b.SetStreamHandler(ID, func(s network.Stream) { streams <- s })
	connectOnly(t, a.host, b)
	connectOnly(t, b, a.host)
	c.set(b.ID(), true)
	a.ps.ListPeers("") // gossipsub has looked at its events
	if len(streams) > 0 {
		t.Error("a stream before they met")
	}
	a.Meet(b.ID())
	_ = receive(t, streams).Reset()
}

// TestEnter moves two devices to another library: they hear each other there, and who stays behind hears nothing.
func TestEnter(t *testing.T) {
	var c club
	a, b, left := newDevice(t, "a", &c), newDevice(t, "b", &c), newDevice(t, "left", &c)
	a.connect(left.host, left)
	a.sees(left.host.ID())
	next := testLibrary()
	next.Secret[0]++
	for _, d := range []*device{a, b} {
		if err := errors.Join(d.Enter(next), d.Enter(next)); err != nil {
			t.Fatal(err)
		}
	}
	a.waits(left.host.ID(), false)
	a.connect(b.host, b)
	a.sees(b.host.ID())
	a.commit(1, 1)
	b.hears()
	if err := left.Enter(next); err != nil {
		t.Fatal(err)
	}
	a.sees(left.host.ID())
	second := a.commit(1, 2)
	if got := left.hears(); got.Head != second {
		t.Errorf("the one left behind heard %+v first", got)
	}
}

func TestStartFails(t *testing.T) {
	var c club
	d := newDevice(t, "a", &c)
	if err := d.Start(t.Context(), d.host, testLibrary()); err == nil {
		t.Error("started twice")
	}
	s := New(Config{Members: c.has, Backend: d})
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if err := s.Start(t.Context(), d.host, testLibrary()); err == nil {
		t.Error("started after it was closed")
	}
}
