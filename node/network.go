package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/guard"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/pair"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

const (
	portSetting = "listen_port"

	// Heads are exchanged about so often with every connected device; what notices lost is repaired then.
	gossipEvery = 2 * time.Minute
	// New heads are announced after a short rest, since they come in groups, and not more often than this.
	announceRest  = 50 * time.Millisecond
	announceEvery = 2 * time.Second
	// Of two devices that connect, one begins to talk; the other only if it doesn't.
	talkGrace   = 3 * time.Second
	talkTimeout = 2 * time.Minute

	maxListenAddrs = 8 // of a device that says where it listens
)

// listen makes the libp2p host behind its guard. The port of the last start is tried first, so that addresses that
// others remember stay true.
func (n *Node) listen(ctx context.Context) (*guard.Host, error) {
	if len(n.cfg.Listen) > 0 {
		h, err := n.newHost(libp2p.ListenAddrStrings(n.cfg.Listen...))
		if err != nil {
			return nil, explain(&Error{
				Code: api.CodeFailed, Title: "can't listen on the addresses given", Detail: err.Error(),
				Hint: "check the addresses, and that no other program uses the port",
			}, err)
		}
		return h, nil
	}
	port := uint16(0)
	if v, err := n.st.Setting(ctx, portSetting); err == nil {
		if p, ok := v.(int64); ok && p > 0 && p < 1<<16 {
			port = uint16(p)
		}
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, humane(err)
	}
	h, err := n.newHost(libp2p.ListenAddrStrings(n.reach.ListenAddrs(port)...))
	if err != nil && port != 0 {
		n.log.Warn("the port of the last start is taken", "port", port)
		h, err = n.newHost(libp2p.ListenAddrStrings(n.reach.ListenAddrs(0)...))
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if got := listenPort(h); got != 0 && got != port {
		if err := n.st.SetSetting(ctx, portSetting, int64(got)); err != nil {
			return nil, errors.Join(humane(err), h.Close())
		}
	}
	return h, nil
}

func listenPort(h host.Host) uint16 {
	for _, a := range h.Network().ListenAddresses() {
		if s, err := a.ValueForProtocol(ma.P_TCP); err == nil {
			var p uint16
			if _, err := fmt.Sscan(s, &p); err == nil {
				return p
			}
		}
	}
	return 0
}

func (n *Node) newHost(listen libp2p.Option) (*guard.Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(n.st.Identity())
	if err != nil {
		return nil, err
	}
	opts := append(n.reach.HostOptions(0),
		libp2p.Identity(key),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.DisableMetrics(), // the embedding program's registry is not ours to fill
		libp2p.UserAgent("peerdex"),
		func(c *libp2p.Config) error { c.ListenAddrs = nil; return nil },
		listen,
	)
	h, err := libp2p.New(append(opts, n.cfg.Libp2p...)...)
	if err != nil {
		return nil, err
	}
	return guard.New(h, n.lib.hasPeer, pair.ID), nil
}

// addrs are the addresses to try for a device: those given, then those remembered.
func (n *Node) addrs(p peer.ID) []ma.Multiaddr {
	out := append([]ma.Multiaddr(nil), n.static[p]...)
	d, err := wire.DeviceOf(p)
	if err != nil {
		return out
	}
	contacts, err := n.st.Contacts(n.ctx)
	if err != nil {
		return out
	}
	for _, s := range contacts[d].Addrs {
		if a, err := ma.NewMultiaddr(s); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// dialed remembers how an attempt to connect ended.
func (n *Node) dialed(p peer.ID, addr ma.Multiaddr, err error) {
	d, derr := wire.DeviceOf(p)
	if derr != nil || n.ctx.Err() != nil {
		return
	}
	if err != nil {
		n.keep(n.st.SetContact(n.ctx, d, time.Time{}, connectError(err)))
		return
	}
	if addr != nil {
		n.keep(n.st.AddAddress(n.ctx, d, addr.String(), time.Now()))
	}
}

// keep logs that something could not be remembered; nothing else depends on it.
func (n *Node) keep(err error) {
	if err != nil && n.ctx.Err() == nil {
		n.log.Warn("remember contact", "error", err)
	}
}

// missing reports whether a member is not connected.
func (n *Node) missing() bool {
	for _, p := range n.lib.others() {
		if n.host.Load().Network().Connectedness(p) != network.Connected {
			return true
		}
	}
	return false
}

// watchPeers returns what follows connections as they come and go.
func (n *Node) watchPeers(h host.Host) (func(context.Context) error, error) {
	sub, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged), new(event.EvtPeerIdentificationCompleted),
	}, eventbus.BufSize(256))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		defer sub.Close()
		for {
			select {
			case <-ctx.Done():
				return nil
			case e, ok := <-sub.Out():
				if !ok {
					return nil
				}
				switch e := e.(type) {
				case event.EvtPeerConnectednessChanged:
					n.connectedness(e)
				case event.EvtPeerIdentificationCompleted:
					n.identified(e)
				}
			}
		}
	}, nil
}

func (n *Node) connectedness(e event.EvtPeerConnectednessChanged) {
	d, err := wire.DeviceOf(e.Peer)
	if err != nil || !n.lib.hasPeer(e.Peer) {
		return
	}
	device := n.lib.device(d)
	device.LastSeen = time.Now()
	n.keep(n.st.SetContact(n.ctx, d, device.LastSeen, ""))
	kind := api.EventDeviceDisconnected
	if e.Connectedness == network.Connected {
		kind = api.EventDeviceConnected
		n.live.describe(&device)
		n.syncer.Forgive(d)
	} else {
		n.aware.forget(e.Peer)
		n.pushes.forget(e.Peer)
	}
	n.events.emit(Event{Type: kind, Device: &device})
	n.syncer.Retry()
}

// identified remembers where a member listens, and begins to talk with it.
func (n *Node) identified(e event.EvtPeerIdentificationCompleted) {
	if !n.lib.hasPeer(e.Peer) {
		return
	}
	if d, err := wire.DeviceOf(e.Peer); err == nil {
		addrs := n.reach.Announce(e.ListenAddrs)
		for _, a := range addrs[:min(maxListenAddrs, len(addrs))] {
			n.keep(n.st.AddAddress(n.ctx, d, a.String(), time.Time{}))
		}
	}
	n.greet(e.Peer)
}

// greet exchanges heads with a device that connected. The smaller peer ID begins; the other waits for it.
func (n *Node) greet(p peer.ID) {
	wait := time.Duration(0)
	if n.host.Load().ID() > p {
		wait = talkGrace
	}
	since := time.Now()
	n.spawn(func() {
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return
		}
		if wait == 0 || n.talks.last(p).Before(since) {
			n.talk(p)
		}
	})
}

// talks remembers exchanges, and keeps them one at a time for each device.
type talks struct {
	mu    sync.Mutex
	at    map[peer.ID]time.Time
	busy  map[peer.ID]bool
	again map[peer.ID]bool
	wg    sync.WaitGroup
}

func newTalks() *talks {
	return &talks{at: map[peer.ID]time.Time{}, busy: map[peer.ID]bool{}, again: map[peer.ID]bool{}}
}

func (t *talks) last(p peer.ID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at[p]
}

func (t *talks) done(p peer.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at[p] = time.Now()
}

func (t *talks) wait() { t.wg.Wait() }

// begin reports whether the caller is to talk; if somebody talks already, that one does it once more.
func (t *talks) begin(p peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[p] {
		t.again[p] = true
		return false
	}
	t.busy[p] = true
	t.wg.Add(1)
	return true
}

// end reports whether the caller is to talk once more.
func (t *talks) end(p peer.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.again[p] {
		delete(t.again, p)
		return true
	}
	delete(t.busy, p)
	t.wg.Done()
	return false
}

// talk exchanges membership and heads with a device.
func (n *Node) talk(p peer.ID) {
	if n.ctx.Err() != nil || !n.talks.begin(p) {
		return
	}
	for more := true; more; more = n.talks.end(p) {
		if n.ctx.Err() != nil {
			continue
		}
		if err := n.exchange(p); err != nil && n.ctx.Err() == nil {
			n.log.Debug("exchange heads", "peer", p, "error", err)
		}
	}
}

func (n *Node) exchange(p peer.ID) error {
	ctx, cancel := context.WithTimeout(n.ctx, talkTimeout)
	defer cancel()
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, "heads"), p, heads.ID)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	res, err := heads.Exchange(ctx, s, p, n.headsConfig())
	if err != nil {
		return err
	}
	n.aware.told(p, &res)
	n.met(p)
	n.notices.Meet(p)
	return nil
}

// met remembers that heads were exchanged with a device, and with that, that it is there: it may have been a stranger when
// it connected.
func (n *Node) met(p peer.ID) {
	first := n.talks.last(p).IsZero()
	n.talks.done(p)
	if d, err := wire.DeviceOf(p); err == nil && first {
		n.keep(n.st.SetContact(n.ctx, d, time.Now(), ""))
	}
}

// parted remembers of the devices that are connected when the node ends that they were there.
func (n *Node) parted() {
	for _, p := range n.lib.others() {
		if d, err := wire.DeviceOf(p); err == nil && n.live.connected(d) {
			if err := n.st.SetContact(context.WithoutCancel(n.ctx), d, time.Now(), ""); err != nil {
				n.log.Warn("remember contact", "error", err)
			}
		}
	}
}

// everyone talks with all connected members, side by side.
func (n *Node) everyone() {
	var wg sync.WaitGroup
	for _, p := range n.lib.others() {
		if n.host.Load().Network().Connectedness(p) == network.Connected {
			wg.Go(func() { n.talk(p) })
		}
	}
	wg.Wait()
}

// announcer tells connected devices of new heads, unless they know them: the first at once, then not more often than
// every two seconds.
func (n *Node) announcer(ctx context.Context) error {
	return paced(ctx, n.told, announceEvery, n.tellNews)
}

// gossiper exchanges heads now and then, whatever happens; not all devices at the same time.
func (n *Node) gossiper(ctx context.Context) error {
	for sleep(ctx, gossipEvery*3/4+rand.N(gossipEvery/2)) {
		n.everyone()
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(d, 0)):
		return true
	}
}
