package discovery

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// HostOptions returns the libp2p options that hold a host to the reach: where it listens, what it announces, dials
// and accepts, and, with [Loopback], that it looks up no names. Identity, security and limits are the caller's. A
// caller with a connection gater of its own embeds a [Gater] in it and gives it after these options.
func (r Reach) HostOptions(port uint16) []libp2p.Option {
	opts := []libp2p.Option{
		libp2p.ListenAddrStrings(r.ListenAddrs(port)...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.AddrsFactory(r.Announce),
		libp2p.ConnectionGater(Gater{Reach: r}),
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
	}
	if r == Loopback {
		opts = append(opts, libp2p.MultiaddrResolver(noLookups{}))
	}
	return opts
}

// Gater is a libp2p connection gater that lets through what the reach allows, whoever it is from: who may talk is
// decided elsewhere. The zero value is for [LAN]. Safe for concurrent use.
type Gater struct {
	Reach Reach
}

// InterceptPeerDial allows every peer.
func (Gater) InterceptPeerDial(peer.ID) bool { return true }

// InterceptAddrDial allows what [Reach.Allowed] does.
func (g Gater) InterceptAddrDial(_ peer.ID, a ma.Multiaddr) bool { return g.Reach.Allowed(a) }

// InterceptAccept allows connections from addresses that [Reach.Allowed] does.
func (g Gater) InterceptAccept(c network.ConnMultiaddrs) bool {
	return g.Reach.Allowed(c.RemoteMultiaddr())
}

// InterceptSecured allows every peer.
func (Gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool { return true }

// InterceptUpgraded allows every connection.
func (Gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// noLookups resolves no names: libp2p looks up a peer's names before it asks the gater, and a lookup leaves the
// machine.
type noLookups struct{}

func (noLookups) ResolveDNSAddr(_ context.Context, _ peer.ID, a ma.Multiaddr, _, _ int) ([]ma.Multiaddr, error) {
	return nil, fmt.Errorf("look up %s: not with reach %s", a, Loopback)
}

func (noLookups) ResolveDNSComponent(_ context.Context, a ma.Multiaddr, _ int) ([]ma.Multiaddr, error) {
	return nil, fmt.Errorf("look up %s: not with reach %s", a, Loopback)
}
