package notice

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/peerdex/peerdex/protocols/wire"
)

// errNotMet is why gossipsub gets no stream to a device yet.
var errNotMet = errors.New("not met yet")

// gossipHost is the host as gossipsub sees it. It dials nobody, its bytes are counted, and of other devices it knows
// those only that were met: gossipsub tries a device that refuses it a few times and then no more, and takes a refused
// stream for the end of a neighbour. Safe for concurrent use.
type gossipHost struct {
	host.Host
	traffic *wire.Traffic
	bus     event.Bus // gossipsub's own
	tell    event.Emitter

	mu  sync.Mutex
	met map[peer.ID]bool
}

func newGossipHost(h host.Host, t *wire.Traffic) (*gossipHost, error) {
	g := &gossipHost{Host: h, traffic: t, bus: eventbus.NewBus(), met: map[peer.ID]bool{}}
	var err error
	if g.tell, err = g.bus.Emitter(new(event.EvtPeerProtocolsUpdated)); err != nil {
		return nil, fmt.Errorf("make event bus: %w", err)
	}
	return g, nil
}

// EventBus implements [host.Host].
func (h *gossipHost) EventBus() event.Bus { return h.bus }

// SetStreamHandler implements [host.Host].
func (h *gossipHost) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, func(s network.Stream) { f(&counted{s, h.traffic}) })
}

// NewStream implements [host.Host].
func (h *gossipHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	h.mu.Lock()
	met := h.met[p]
	h.mu.Unlock()
	if !met {
		return nil, fmt.Errorf("open stream to %v: %w", p, errNotMet)
	}
	s, err := h.Host.NewStream(network.WithNoDial(ctx, "notice"), p, ids...)
	if err != nil {
		return nil, err
	}
	return &counted{s, h.traffic}, nil
}

// meet makes a device known to gossipsub, which opens a stream to it unless it has one.
func (h *gossipHost) meet(p peer.ID) {
	h.mu.Lock()
	h.met[p] = true
	h.mu.Unlock()
	_ = h.tell.Emit(event.EvtPeerProtocolsUpdated{Peer: p, Added: []protocol.ID{ID}}) // fails only once it is closed
}

// follow tells gossipsub of devices met before that connect again, until ctx ends.
func (h *gossipHost) follow(ctx context.Context) error {
	sub, err := h.Host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.BufSize(64))
	if err != nil {
		return fmt.Errorf("follow connections: %w", err)
	}
	defer sub.Close()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-sub.Out():
			if !ok {
				return nil
			}
			p := e.(event.EvtPeerIdentificationCompleted).Peer
			h.mu.Lock()
			met := h.met[p]
			h.mu.Unlock()
			if met {
				h.meet(p)
			}
		}
	}
}

// counted is a stream whose bytes are counted.
type counted struct {
	network.Stream
	traffic *wire.Traffic
}

// Read implements [io.Reader].
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Stream.Read(b)
	c.traffic.In.Add(int64(n))
	return n, err
}

// Write implements [io.Writer].
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Stream.Write(b)
	c.traffic.Out.Add(int64(n))
	return n, err
}
