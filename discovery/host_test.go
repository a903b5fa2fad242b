package discovery

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// newHost starts a libp2p host on 127.0.0.1.
func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(append(Loopback.HostOptions(0), libp2p.DisableMetrics())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// start runs a Keeper until the test ends.
func start(t *testing.T, cfg KeeperConfig) *Keeper {
	t.Helper()
	k := NewKeeper(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return k
}

// within fails the test if nothing comes from c in time.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(15 * time.Second):
		t.Fatalf("no %s within 15 s", what)
		panic("unreachable")
	}
}

// connections tells of every change of h's connections.
func connections(t *testing.T, h host.Host) <-chan network.Connectedness {
	t.Helper()
	sub, err := h.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(64))
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan network.Connectedness, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev := range sub.Out() {
			out <- ev.(event.EvtPeerConnectednessChanged).Connectedness
		}
	}()
	t.Cleanup(func() {
		sub.Close()
		<-done
	})
	return out
}

func TestKeeperConnectsHosts(t *testing.T) {
	a, b := newHost(t), newHost(t)
	changes := connections(t, a)
	type result struct {
		addr ma.Multiaddr
		err  error
	}
	results := make(chan result, 64)
	start(t, KeeperConfig{
		Host: a, Reach: Loopback,
		Members:  func() []peer.ID { return []peer.ID{a.ID(), b.ID()} },
		Addrs:    func(peer.ID) []ma.Multiaddr { return b.Addrs() },
		OnResult: func(_ peer.ID, addr ma.Multiaddr, err error) { results <- result{addr, err} },
	})
	if r := within(t, results, "attempt"); r.err != nil || !r.addr.Equal(b.Addrs()[0]) {
		t.Errorf("connected to %v, %v, want %v", r.addr, r.err, b.Addrs()[0])
	}
	if c := within(t, changes, "event"); c != network.Connected {
		t.Errorf("event %v", c)
	}
	if !a.ConnManager().IsProtected(b.ID(), protectTag) {
		t.Error("a member is not protected")
	}
	if err := b.Network().ClosePeer(a.ID()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []network.Connectedness{network.NotConnected, network.Connected} {
		if c := within(t, changes, "event after the connection ended"); c != want {
			t.Errorf("event %v, want %v", c, want)
		}
	}
}

func TestKeeperFoundHost(t *testing.T) {
	a, b := newHost(t), newHost(t)
	results := make(chan error, 64)
	k := start(t, KeeperConfig{
		Host: a, Reach: Loopback, Members: func() []peer.ID { return []peer.ID{b.ID()} },
		OnResult: func(_ peer.ID, _ ma.Multiaddr, err error) { results <- err },
	})
	if err := within(t, results, "attempt"); !errors.Is(err, ErrNoAddress) {
		t.Errorf("without an address: %v, want ErrNoAddress", err)
	}
	k.Found(peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()})
	for err := range results {
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNoAddress) {
			t.Fatal(err)
		}
	}
	if a.Network().Connectedness(b.ID()) != network.Connected {
		t.Error("not connected")
	}
}

// TestKeeperWrongDevice has another device at the address: its key does not fit.
func TestKeeperWrongDevice(t *testing.T) {
	a, b, c := newHost(t), newHost(t), newHost(t)
	results := make(chan error, 64)
	start(t, KeeperConfig{
		Host: a, Reach: Loopback, Members: func() []peer.ID { return []peer.ID{b.ID()} },
		Addrs:    func(peer.ID) []ma.Multiaddr { return c.Addrs() },
		OnResult: func(_ peer.ID, _ ma.Multiaddr, err error) { results <- err },
	})
	err := within(t, results, "attempt")
	if err == nil || !strings.Contains(err.Error(), "peer id mismatch") {
		t.Errorf("error %v, want a mismatch of peer IDs", err)
	}
	if n := len(a.Network().Peers()); n != 0 {
		t.Errorf("%d connections", n)
	}
}

// TestLoopbackStays dials addresses beyond the machine: the gater refuses them before a packet leaves.
func TestLoopbackStays(t *testing.T) {
	a := newHost(t)
	id := mustID(t, peerA)
	for _, s := range []string{"/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/tcp/1"} {
		a.Peerstore().ClearAddrs(id)
		err := a.Connect(t.Context(), peer.AddrInfo{ID: id, Addrs: addrs(t, s)})
		if !errors.Is(err, swarm.ErrGaterDisallowedConnection) {
			t.Errorf("dial %s: %v, want it refused", s, err)
		}
	}
	// A name is not looked up: that a lookup was tried would show as an address, since this one always resolves.
	a.Peerstore().ClearAddrs(id)
	a.Peerstore().AddAddrs(id, addrs(t, "/dns4/localhost/tcp/1"), peerstore.TempAddrTTL)
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: id}); !errors.Is(err, swarm.ErrNoGoodAddresses) {
		t.Errorf("dial by name: %v, want no good addresses", err)
	}
	for _, l := range a.Network().ListenAddresses() {
		if !strings.HasPrefix(l.String(), "/ip4/127.0.0.1/tcp/") {
			t.Errorf("listens on %v", l)
		}
	}
}

// connFrom is a connection as a gater sees it.
type connFrom struct{ remote ma.Multiaddr }

func (connFrom) LocalMultiaddr() ma.Multiaddr    { return ma.StringCast("/ip4/127.0.0.1/tcp/1") }
func (c connFrom) RemoteMultiaddr() ma.Multiaddr { return c.remote }

func TestGaterAccepts(t *testing.T) {
	for s, want := range map[string][2]bool{ // lan, loopback
		"/ip4/127.0.0.1/tcp/9":   {true, true},
		"/ip4/192.168.1.5/tcp/9": {true, false},
		"/ip4/8.8.8.8/tcp/9":     {true, false},
	} {
		c := connFrom{addrs(t, s)[0]}
		if got := [2]bool{Gater{}.InterceptAccept(c), Gater{Reach: Loopback}.InterceptAccept(c)}; got != want {
			t.Errorf("from %s: lan, loopback = %v, want %v", s, got, want)
		}
	}
}
