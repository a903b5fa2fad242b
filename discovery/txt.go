package discovery

import (
	"net/netip"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// The TXT record of an announcement has one string for each address, "dnsaddr=" and the multiaddr with the peer ID,
// as libp2p's own mDNS has it.
const (
	txtPrefix = "dnsaddr="

	// maxTXTBytes bounds the TXT record that we send, so that the whole announcement, some 350 bytes more, fits
	// the smallest IPv6 packet and is never split.
	maxTXTBytes = 850

	maxTXTStrings = 32  // strings looked at in a record that was heard
	maxTXTString  = 255 // bytes of one, the limit of DNS
	maxFoundAddrs = 16  // addresses taken from one record

	minPrefixBits = 8 // of a network that is taken for local; anything wider is a catch-all, not a network
)

// encodeTXT returns the strings of an announcement: as many of the addresses, in their order, as fit.
func encodeTXT(id peer.ID, addrs []ma.Multiaddr) []string {
	var out []string
	size := 0
	for _, a := range addrs {
		s := txtPrefix + a.String() + "/p2p/" + id.String()
		if len(s) > maxTXTString || size+1+len(s) > maxTXTBytes {
			continue
		}
		out = append(out, s)
		size += 1 + len(s)
	}
	return out
}

// parseTXT reads the strings of an announcement that was heard from anyone. It takes plain numeric addresses of one
// peer, the first that is named, and only those that local accepts; everything else is passed over. It returns
// false if nothing is left.
func parseTXT(text []string, local func(netip.Addr) bool) (peer.AddrInfo, bool) {
	var info peer.AddrInfo
	for _, s := range text[:min(len(text), maxTXTStrings)] {
		s, ok := strings.CutPrefix(s, txtPrefix)
		if !ok || len(s) > maxTXTString {
			continue
		}
		full, err := ma.NewMultiaddr(s)
		if err != nil {
			continue
		}
		where, id := peer.SplitAddr(full)
		ip, ok := ipOf(where)
		if id == "" || !ok || where[0].Protocol().Code == ma.P_IP6ZONE || !plainTransport(where) || !local(ip) {
			continue
		}
		if info.ID == "" {
			info.ID = id
		}
		if id == info.ID && len(info.Addrs) < maxFoundAddrs {
			info.Addrs = append(info.Addrs, where)
		}
	}
	info.Addrs = uniqueAddrs(info.Addrs)
	return info, len(info.Addrs) > 0
}

// localIP reports whether ip may be dialed because mDNS named it: an address of a private range, or of one of the
// networks this device is on. A device of the local network has no other, and what is heard must not make this one
// dial out into the world, nor into itself.
func localIP(ip netip.Addr, onLink []netip.Prefix) bool {
	if !announceableIP(ip) {
		return false
	}
	if ip.IsPrivate() || ip.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range onLink {
		if p.Bits() >= minPrefixBits && p.Contains(ip) {
			return true
		}
	}
	return false
}
