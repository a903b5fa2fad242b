package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// protectTag is the tag that keeps members' connections from being trimmed by the connection manager.
	protectTag = "library"

	maxDials     = 8                // at a time
	dialTimeout  = 20 * time.Second // for all addresses of a device together, and the handshakes
	maxDialAddrs = 32               // of one device
	resyncEvery  = 30 * time.Second // the members and their connections are read anew
	eventBuffer  = 256              // connection events: libp2p waits for a slow reader, so it gets room
	maxPending   = 1024             // devices reported by Found and not yet looked at
)

// ErrNoAddress is the result of an attempt to connect to a device of which no usable address is known.
var ErrNoAddress = errors.New("no address known")

// KeeperConfig says whom a [Keeper] keeps connected.
type KeeperConfig struct {
	// Host dials. Required.
	Host host.Host
	// Reach bounds which addresses are dialed. The zero value is [LAN].
	Reach Reach
	// Members returns the devices to keep connected; this device itself is passed over. It is called from Run, at
	// least every 30 s, and should not block. Required.
	Members func() []peer.ID
	// Addrs returns the addresses to try for a device, best first, beside those that mDNS found and those libp2p
	// knows from an earlier connection. It may block for a moment. nil = none.
	Addrs func(peer.ID) []ma.Multiaddr
	// OnResult is told the end of every attempt: the address that worked (nil if the device connected to us
	// meanwhile), or why none did. Calls come from several goroutines. nil = nobody is told.
	OnResult func(p peer.ID, addr ma.Multiaddr, err error)
	// Logger; nil = none.
	Logger *slog.Logger
}

// Keeper keeps a library's devices connected. Make one with [NewKeeper].
//
// A member that is not connected is dialed after 1 to 1.5 s, and after each failure 1.5 to 2.5 times as long, up to
// 5 minutes. It is dialed at once when it is found, when somebody kicks, or when a connection of more than a minute
// ended; of two devices that both learn of each other, the one with the smaller peer ID dials at once and the other
// 1 to 2 s later, since both at once would make two connections.
type Keeper struct {
	cfg    KeeperConfig
	dialer dialer
	random func() float64 // in [0, 1)
	wake   chan struct{}

	mu      sync.Mutex
	kickAll bool
	kicked  map[peer.ID]bool
	found   map[peer.ID][]ma.Multiaddr
}

// dialer is what a Keeper needs of a host.
type dialer interface {
	// Dial connects and returns the remote address of the connection made, or nil if there was one.
	Dial(ctx context.Context, p peer.ID, addrs []ma.Multiaddr) (ma.Multiaddr, error)
	Connected(p peer.ID) bool
	Protect(p peer.ID, on bool)
}

// NewKeeper returns a Keeper that does nothing until [Keeper.Run].
func NewKeeper(cfg KeeperConfig) *Keeper {
	return newKeeper(cfg, hostDialer{cfg.Host})
}

func newKeeper(cfg KeeperConfig, d dialer) *Keeper {
	if cfg.Addrs == nil {
		cfg.Addrs = func(peer.ID) []ma.Multiaddr { return nil }
	}
	if cfg.OnResult == nil {
		cfg.OnResult = func(peer.ID, ma.Multiaddr, error) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keeper{
		cfg: cfg, dialer: d, random: rand.Float64, wake: make(chan struct{}, 1),
		kicked: map[peer.ID]bool{}, found: map[peer.ID][]ma.Multiaddr{},
	}
}

// Found tells of addresses of a device, for example from mDNS. It fits [MDNSConfig].Found. Devices that are not
// members are passed over; a member that is not connected is dialed soon, though not more often than every 10 s on
// this ground: what mDNS hears is not proved. It does not wait. Safe for concurrent use.
func (k *Keeper) Found(info peer.AddrInfo) {
	k.mu.Lock()
	if _, ok := k.found[info.ID]; ok || len(k.found) < maxPending {
		addrs := uniqueAddrs(info.Addrs, k.found[info.ID])
		k.found[info.ID] = addrs[:min(len(addrs), maxFoundAddrs)]
	}
	k.mu.Unlock()
	k.nudge()
}

// Kick forgets the back-off of the given devices, or of all if none is given: for when the network or the
// membership has changed. It does not wait. Safe for concurrent use.
func (k *Keeper) Kick(peers ...peer.ID) {
	k.mu.Lock()
	k.kickAll = k.kickAll || len(peers) == 0
	for _, p := range peers {
		k.kicked[p] = true
	}
	k.mu.Unlock()
	k.nudge()
}

func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run keeps members connected until ctx ends, and returns nil when its last dial has ended. It returns an error only
// if the host's events can't be had. Call it once. It closes no connections.
func (k *Keeper) Run(ctx context.Context) error {
	sub, err := k.cfg.Host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged), eventbus.BufSize(eventBuffer))
	if err != nil {
		return fmt.Errorf("subscribe to connection events: %w", err)
	}
	defer sub.Close()
	k.run(ctx, k.cfg.Host.ID(), sub.Out())
	return nil
}

// hostDialer is the [dialer] of a libp2p host.
type hostDialer struct{ host host.Host }

func (d hostDialer) Dial(ctx context.Context, p peer.ID, addrs []ma.Multiaddr) (ma.Multiaddr, error) {
	// libp2p has a back-off of its own for each address, which would refuse attempts that ours allows.
	if s, ok := d.host.Network().(interface{ Backoff() *swarm.DialBackoff }); ok {
		s.Backoff().Clear(p)
	}
	if len(addrs) == 0 && len(d.host.Peerstore().Addrs(p)) == 0 {
		return nil, ErrNoAddress
	}
	if err := d.host.Connect(ctx, peer.AddrInfo{ID: p, Addrs: addrs}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	for _, c := range d.host.Network().ConnsToPeer(p) {
		if c.Stat().Direction == network.DirOutbound {
			return c.RemoteMultiaddr(), nil
		}
	}
	return nil, nil
}

func (d hostDialer) Connected(p peer.ID) bool {
	return d.host.Network().Connectedness(p) == network.Connected
}

func (d hostDialer) Protect(p peer.ID, on bool) {
	if on {
		d.host.ConnManager().Protect(p, protectTag)
	} else {
		d.host.ConnManager().Unprotect(p, protectTag)
	}
}
