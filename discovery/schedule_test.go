package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

var errRefused = errors.New("refused")

// dialed is one attempt that the fake network saw.
type dialed struct {
	id    peer.ID
	at    time.Duration // since the start of the test
	addrs []string
}

// script is how attempts end: with the error that reply gives, after a while; a nil reply refuses.
type script struct {
	takes time.Duration
	reply func(p peer.ID) error
}

func accept(peer.ID) error { return nil }

// fakeNet is the network of a Keeper under test.
type fakeNet struct {
	script
	start  time.Time
	events chan any

	mu        sync.Mutex
	dials     []dialed
	running   map[peer.ID]int
	maxAtOnce int
	up        map[peer.ID]bool
	protected map[peer.ID]bool
}

func (n *fakeNet) Dial(ctx context.Context, p peer.ID, addrs []ma.Multiaddr) (ma.Multiaddr, error) {
	n.mu.Lock()
	n.dials = append(n.dials, dialed{p, time.Since(n.start), texts(addrs)})
	n.running[p]++
	n.maxAtOnce = max(n.maxAtOnce, len(n.running))
	if n.running[p] > 1 {
		panic("two attempts for one device at a time")
	}
	n.mu.Unlock()
	err := errRefused
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(n.takes):
		if n.reply != nil {
			err = n.reply(p)
		}
	}
	n.mu.Lock()
	delete(n.running, p)
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n.set(p, true)
	return ma.StringCast("/ip4/192.168.1.9/tcp/9"), nil
}

func (n *fakeNet) Connected(p peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up[p]
}

func (n *fakeNet) Protect(p peer.ID, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.protected[p] = on
}

// set changes a connection and tells of it.
func (n *fakeNet) set(p peer.ID, up bool) {
	n.mu.Lock()
	n.up[p] = up
	n.mu.Unlock()
	state := network.NotConnected
	if up {
		state = network.Connected
	}
	n.events <- event.EvtPeerConnectednessChanged{Peer: p, Connectedness: state}
}

// busy reports whether an attempt is under way.
func (n *fakeNet) busy() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.running) > 0
}

// times returns when p was dialed, and forgets all attempts.
func (n *fakeNet) times(p peer.ID) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []time.Duration
	for _, d := range n.dials {
		if d.id == p {
			out = append(out, d.at)
		}
	}
	n.dials = nil
	return out
}

// keep runs a Keeper of device "m" for members over a fake network, in a bubble of virtual time.
func keep(t *testing.T, cfg KeeperConfig, members []peer.ID, s script, test func(k *Keeper, n *fakeNet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNet{
			script: s, start: time.Now(), events: make(chan any, 64),
			running: map[peer.ID]int{}, up: map[peer.ID]bool{}, protected: map[peer.ID]bool{},
		}
		if cfg.Members == nil {
			cfg.Members = func() []peer.ID { return members }
		}
		k := newKeeper(cfg, n)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			k.run(ctx, "m", n.events)
		}()
		test(k, n)
		cancel()
		<-done
	})
}

const (
	smaller = peer.ID("a") // than "m": the keeper waits for it to dial first
	larger  = peer.ID("z")
)

func TestBackOff(t *testing.T) {
	keep(t, KeeperConfig{}, []peer.ID{larger, "m"}, script{}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(2 * time.Hour)
		if n.times("m") != nil {
			t.Error("dialed itself")
		}
	})
	keep(t, KeeperConfig{}, []peer.ID{larger}, script{}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(2 * time.Hour)
		at := n.times(larger)
		if at[0] != 0 {
			t.Errorf("first attempt after %v, want at once", at[0])
		}
		var before time.Duration
		for i := 1; i < len(at); i++ {
			gap := at[i] - at[i-1]
			lo, hi := before*3/2, before*5/2
			if i == 1 {
				lo, hi = firstDelay, firstDelay*3/2
			}
			if hi > maxDelay {
				lo, hi = min(lo, maxDelay*3/4), maxDelay
			}
			if gap < lo || gap > hi {
				t.Errorf("gap %d is %v, want %v to %v", i, gap, lo, hi)
			}
			before = gap
		}
		if len(at) < 24 || len(at) > 45 {
			t.Errorf("%d attempts in two hours", len(at))
		}
	})
}

func TestHeadStart(t *testing.T) {
	keep(t, KeeperConfig{}, []peer.ID{smaller, larger}, script{reply: accept}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(10 * time.Second)
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.dials) != 2 || n.dials[0].id != larger || n.dials[0].at != 0 {
			t.Fatalf("attempts %v, want the larger ID at once", n.dials)
		}
		if at := n.dials[1].at; at < time.Second || at > 2*time.Second {
			t.Errorf("the smaller ID was dialed after %v, want 1 to 2 s", at)
		}
	})
	keep(t, KeeperConfig{}, []peer.ID{smaller}, script{}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(500 * time.Millisecond)
		n.set(smaller, true) // it used its head start
		time.Sleep(time.Hour)
		if at := n.times(smaller); at != nil {
			t.Errorf("dialed at %v though connected", at)
		}
	})
}

func TestKick(t *testing.T) {
	members := []peer.ID{"y", larger}
	keep(t, KeeperConfig{}, members, script{}, func(k *Keeper, n *fakeNet) {
		time.Sleep(time.Hour)
		n.times("y")
		now := time.Since(n.start)
		k.Kick(larger, "stranger")
		synctest.Wait()
		n.mu.Lock()
		if len(n.dials) != 1 || n.dials[0].id != larger || n.dials[0].at != now {
			t.Errorf("kicked at %v, attempts %v", now, n.dials)
		}
		n.mu.Unlock()
		time.Sleep(1500 * time.Millisecond)
		if at := n.times(larger); len(at) != 2 {
			t.Errorf("attempts at %v after a kick, want two: the back-off begins anew", at)
		}
		time.Sleep(time.Hour)
		n.times(larger)
		k.Kick()
		synctest.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.dials) != 2 {
			t.Errorf("all kicked, attempts %v", n.dials)
		}
	})
}

func TestKickDuringDial(t *testing.T) {
	keep(t, KeeperConfig{}, []peer.ID{larger}, script{takes: 5 * time.Second}, func(k *Keeper, n *fakeNet) {
		time.Sleep(time.Hour)
		for n.busy() {
			time.Sleep(time.Second)
		}
		n.times(larger)
		k.Kick()
		time.Sleep(time.Second)
		k.Kick() // the attempt under way may go nowhere
		time.Sleep(5 * time.Second)
		if at := n.times(larger); len(at) != 2 || at[1]-at[0] != 5*time.Second {
			t.Errorf("attempts at %v, want the second right after the first", at)
		}
	})
}

func TestFound(t *testing.T) {
	cfg := KeeperConfig{Addrs: func(peer.ID) []ma.Multiaddr { return addrs(t, "/ip4/10.0.0.1/tcp/1") }}
	keep(t, cfg, []peer.ID{larger}, script{}, func(k *Keeper, n *fakeNet) {
		time.Sleep(time.Hour)
		n.times(larger)
		now := time.Since(n.start)
		k.Found(peer.AddrInfo{ID: "stranger", Addrs: addrs(t, "/ip4/10.0.0.9/tcp/1")})
		k.Found(peer.AddrInfo{ID: larger, Addrs: addrs(t, "/ip4/10.0.0.2/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip4/10.0.0.1/tcp/1")})
		synctest.Wait()
		n.mu.Lock()
		if len(n.dials) != 1 || n.dials[0].at != now || !slices.Equal(n.dials[0].addrs, []string{"/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.1/tcp/1"}) {
			t.Errorf("found at %v, attempts %v", now, n.dials)
		}
		n.dials = nil
		n.mu.Unlock()
		for range 600 { // a flood of false news for a minute
			k.Found(peer.AddrInfo{ID: larger, Addrs: addrs(t, "/ip4/10.0.0.3/tcp/1")})
			time.Sleep(100 * time.Millisecond)
		}
		if at := n.times(larger); len(at) > 30 {
			t.Errorf("%d attempts in a minute of false news", len(at))
		}
	})
}

func TestFoundAddrsAreBounded(t *testing.T) {
	keep(t, KeeperConfig{}, []peer.ID{larger}, script{}, func(k *Keeper, n *fakeNet) {
		for i := range 200 {
			k.Found(peer.AddrInfo{ID: larger, Addrs: addrs(t, fmt.Sprintf("/ip4/10.0.0.%d/tcp/1", i))})
			k.Found(peer.AddrInfo{ID: peer.ID(fmt.Sprint(i)), Addrs: addrs(t, "/ip4/10.0.0.1/tcp/1")})
			synctest.Wait()
		}
		time.Sleep(time.Hour)
		n.mu.Lock()
		defer n.mu.Unlock()
		last := n.dials[len(n.dials)-1].addrs
		if len(last) != maxFoundAddrs || last[0] != "/ip4/10.0.0.199/tcp/1" {
			t.Errorf("dialed %v, want the newest %d", last, maxFoundAddrs)
		}
	})
	k := newKeeper(KeeperConfig{}, nil)
	for i := range 2 * maxPending { // nobody looks
		k.Found(peer.AddrInfo{ID: peer.ID(fmt.Sprint(i))})
	}
	if len(k.found) != maxPending {
		t.Errorf("%d devices pending, limit %d", len(k.found), maxPending)
	}
}

func TestReachBoundsDials(t *testing.T) {
	book := func(peer.ID) []ma.Multiaddr {
		return addrs(t, "/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1", "/dns4/localhost/tcp/1")
	}
	keep(t, KeeperConfig{Reach: Loopback, Addrs: book}, []peer.ID{larger}, script{}, func(k *Keeper, n *fakeNet) {
		k.Found(peer.AddrInfo{ID: larger, Addrs: addrs(t, "/ip4/10.0.0.2/tcp/1", "/ip4/127.0.0.1/tcp/2")})
		time.Sleep(time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, d := range n.dials[1:] {
			if !slices.Equal(d.addrs, []string{"/ip4/127.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/1"}) {
				t.Errorf("dialed %v", d.addrs)
			}
		}
	})
}

func TestReconnect(t *testing.T) {
	t.Run("after a long connection at once", func(t *testing.T) {
		keep(t, KeeperConfig{}, []peer.ID{larger}, script{reply: accept}, func(_ *Keeper, n *fakeNet) {
			time.Sleep(2 * time.Minute)
			n.times(larger)
			n.set(larger, false)
			time.Sleep(time.Minute)
			if at := n.times(larger); !slices.Equal(at, []time.Duration{2 * time.Minute}) {
				t.Errorf("dialed at %v, want once at 2m", at)
			}
		})
	})
	t.Run("after a short one with back-off", func(t *testing.T) {
		keep(t, KeeperConfig{}, []peer.ID{larger}, script{reply: accept}, func(_ *Keeper, n *fakeNet) {
			time.Sleep(30 * time.Second)
			n.times(larger)
			n.set(larger, false)
			time.Sleep(time.Minute)
			if at := n.times(larger); len(at) != 1 || at[0] < 31*time.Second || at[0] > 32*time.Second {
				t.Errorf("dialed at %v, want once after 31 to 31.5 s", at)
			}
		})
	})
	t.Run("one that lets us in and throws us out", func(t *testing.T) {
		keep(t, KeeperConfig{}, []peer.ID{larger}, script{reply: accept}, func(_ *Keeper, n *fakeNet) {
			for range 3600 {
				time.Sleep(time.Second)
				if n.Connected(larger) {
					n.set(larger, false)
				}
			}
			if at := n.times(larger); len(at) > 25 {
				t.Errorf("%d attempts in an hour", len(at))
			}
		})
	})
	t.Run("when the event was lost", func(t *testing.T) {
		keep(t, KeeperConfig{}, []peer.ID{larger}, script{reply: accept}, func(_ *Keeper, n *fakeNet) {
			time.Sleep(2 * time.Minute)
			n.times(larger)
			n.mu.Lock()
			n.up[larger] = false
			n.mu.Unlock()
			time.Sleep(resyncEvery + time.Second)
			if at := n.times(larger); len(at) != 1 {
				t.Errorf("dialed at %v, want once", at)
			}
		})
	})
}

func TestDialsAtOnce(t *testing.T) {
	var members []peer.ID
	for i := range 30 {
		members = append(members, peer.ID(fmt.Sprintf("n%02d", i)))
	}
	keep(t, KeeperConfig{}, members, script{takes: 15 * time.Second}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(time.Minute)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.maxAtOnce != maxDials {
			t.Errorf("%d attempts at once, want %d", n.maxAtOnce, maxDials)
		}
		seen := map[peer.ID]bool{}
		first := n.dials[:len(members)/maxDials*maxDials+maxDials] // whole rounds: within one, the order is free
		for _, d := range first {
			seen[d.id] = true
		}
		if len(seen) != len(members) {
			t.Errorf("the first %d attempts went to %d devices: somebody has to wait too long", len(first), len(seen))
		}
	})
}

func TestDialTimeout(t *testing.T) {
	var results []error
	var mu sync.Mutex
	cfg := KeeperConfig{OnResult: func(_ peer.ID, _ ma.Multiaddr, err error) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, err)
	}}
	keep(t, cfg, []peer.ID{larger}, script{takes: time.Hour}, func(_ *Keeper, n *fakeNet) {
		time.Sleep(dialTimeout + time.Second/2)
		mu.Lock()
		if len(results) != 1 || !errors.Is(results[0], context.DeadlineExceeded) {
			t.Errorf("results %v, want one time-out", results)
		}
		mu.Unlock()
		time.Sleep(2 * time.Second) // stop during the second attempt
	})
	if len(results) != 1 {
		t.Errorf("results %v: stopping says nothing about the device", results)
	}
}

func TestOnResult(t *testing.T) {
	var got []string
	cfg := KeeperConfig{OnResult: func(p peer.ID, a ma.Multiaddr, err error) {
		got = append(got, fmt.Sprintf("%s %v %v", string(p), a, err))
	}}
	tries := 0
	third := func(peer.ID) error {
		if tries++; tries < 3 {
			return errRefused
		}
		return nil
	}
	keep(t, cfg, []peer.ID{larger}, script{reply: third}, func(*Keeper, *fakeNet) { time.Sleep(time.Minute) })
	if want := []string{"z  refused", "z  refused", "z /ip4/192.168.1.9/tcp/9 <nil>"}; !slices.Equal(got, want) {
		t.Errorf("results %q, want %q", got, want)
	}
}

func TestMembershipChanges(t *testing.T) {
	var mu sync.Mutex
	members := []peer.ID{"x"}
	set := func(m ...peer.ID) {
		mu.Lock()
		defer mu.Unlock()
		members = m
	}
	cfg := KeeperConfig{Members: func() []peer.ID {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(members)
	}}
	keep(t, cfg, nil, script{takes: 4 * time.Second}, func(k *Keeper, n *fakeNet) {
		time.Sleep(time.Second)
		set("y")
		k.Kick("y")
		synctest.Wait()
		if at := n.times("y"); !slices.Equal(at, []time.Duration{time.Second}) {
			t.Errorf("new member dialed at %v, want at once", at)
		}
		n.mu.Lock()
		if n.protected["x"] || !n.protected["y"] {
			t.Errorf("protected %v", n.protected)
		}
		n.mu.Unlock()
		time.Sleep(time.Hour)
		n.mu.Lock()
		if i := slices.IndexFunc(n.dials, func(d dialed) bool { return d.id != "y" }); i >= 0 {
			t.Errorf("dialed %v, which is no member any more", n.dials[i])
		}
		n.mu.Unlock()
		set("y", "z") // without a kick
		n.times("z")
		time.Sleep(resyncEvery + time.Second)
		if at := n.times("z"); len(at) == 0 {
			t.Error("a new member is not dialed without a kick")
		}
	})
}

// TestMemberComesBack removes and adds a member while it is being dialed: the result of the old attempt must not
// count for the new one.
func TestMemberComesBack(t *testing.T) {
	var mu sync.Mutex
	member := true
	cfg := KeeperConfig{Members: func() []peer.ID {
		mu.Lock()
		defer mu.Unlock()
		if member {
			return []peer.ID{larger}
		}
		return nil
	}}
	set := func(k *Keeper, on bool) {
		mu.Lock()
		member = on
		mu.Unlock()
		k.Kick()
		synctest.Wait()
	}
	keep(t, cfg, nil, script{takes: 5 * time.Second}, func(k *Keeper, n *fakeNet) {
		synctest.Wait()
		set(k, false)
		n.mu.Lock()
		clear(n.running) // the second attempt may run beside the orphan of the first
		n.mu.Unlock()
		time.Sleep(time.Second)
		set(k, true)
		time.Sleep(4500 * time.Millisecond)
		if at := n.times(larger); !slices.Equal(at, []time.Duration{0, time.Second}) {
			t.Errorf("dialed at %v, want 0 and 1s only", at)
		}
	})
}
