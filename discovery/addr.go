package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// ErrAddr is wrapped by [ParsePeerAddr] for an address that can't be used.
var ErrAddr = errors.New("not the address of a device")

// exampleAddr shows people what is wanted.
const exampleAddr = "/ip4/192.168.1.20/tcp/4001/p2p/12D3KooW..."

// maxAddrLen bounds an address as text. The longest useful one, a DNS name of 253 bytes, is well below.
const maxAddrLen = 512

// ParsePeerAddr reads the full address of a device, as `peerdex status` shows it: where it listens and its peer ID,
// for example /ip4/192.168.1.20/tcp/4001/p2p/12D3KooW... The host may be a DNS name (/dns4/nas.example.org). Errors
// wrap [ErrAddr] and say what to write.
func ParsePeerAddr(s string) (peer.AddrInfo, error) {
	s = strings.TrimSpace(s)
	if len(s) > maxAddrLen {
		return peer.AddrInfo{}, fmt.Errorf("address of %d bytes, limit %d: %w", len(s), maxAddrLen, ErrAddr)
	}
	if !strings.HasPrefix(s, "/") {
		return peer.AddrInfo{}, fmt.Errorf("address %q, want one like %s: %w", s, exampleAddr, ErrAddr)
	}
	full, err := ma.NewMultiaddr(s)
	if err != nil {
		return peer.AddrInfo{}, fmt.Errorf("address %q: %w: %w", s, ErrAddr, err)
	}
	where, id := peer.SplitAddr(full)
	switch {
	case id == "":
		return peer.AddrInfo{}, fmt.Errorf(`address %q lacks "/p2p/" and the peer ID at its end: %w`, s, ErrAddr)
	case !plainTransport(where) || where[len(where)-1].Protocol().Code != ma.P_TCP:
		return peer.AddrInfo{}, fmt.Errorf("address %q, want an IP address or name and a TCP port, like %s: %w", s, exampleAddr, ErrAddr)
	}
	if ip, ok := ipOf(where); ok && !usableIP(ip) {
		return peer.AddrInfo{}, fmt.Errorf("address %q: %s names no single device: %w", s, ip, ErrAddr)
	}
	return peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{where}}, nil
}

// plainTransport reports whether a is an IP address or DNS name with a TCP port, or a UDP port and QUIC, and
// nothing else.
func plainTransport(a ma.Multiaddr) bool {
	if len(a) > 0 && a[0].Protocol().Code == ma.P_IP6ZONE {
		a = a[1:]
	}
	_, isIP := ipOf(a)
	if !isIP && !isName(a) || len(a) < 2 {
		return false
	}
	port := a[1]
	switch {
	case port.Value() == "0":
		return false
	case port.Protocol().Code == ma.P_TCP:
		return len(a) == 2
	case port.Protocol().Code == ma.P_UDP:
		return len(a) == 3 && a[2].Protocol().Code == ma.P_QUIC_V1
	}
	return false
}

// ipOf returns the IP address that a starts with. IPv4 in IPv6 form comes out as IPv4.
func ipOf(a ma.Multiaddr) (netip.Addr, bool) {
	if len(a) > 0 && a[0].Protocol().Code == ma.P_IP6ZONE {
		a = a[1:]
	}
	if len(a) == 0 {
		return netip.Addr{}, false
	}
	if code := a[0].Protocol().Code; code != ma.P_IP4 && code != ma.P_IP6 {
		return netip.Addr{}, false
	}
	ip, ok := netip.AddrFromSlice(a[0].RawValue())
	return ip.Unmap(), ok
}

// isName reports whether a starts with a DNS name that stands for addresses.
func isName(a ma.Multiaddr) bool {
	if len(a) == 0 {
		return false
	}
	switch a[0].Protocol().Code {
	case ma.P_DNS, ma.P_DNS4, ma.P_DNS6:
		return true
	}
	return false
}

// uniqueAddrs joins lists of addresses, in order, each address once.
func uniqueAddrs(lists ...[]ma.Multiaddr) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, list := range lists {
		for _, a := range list {
			if !slices.ContainsFunc(out, a.Equal) {
				out = append(out, a)
			}
		}
	}
	return out
}
