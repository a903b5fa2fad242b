package discovery

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// DefaultPoll is how often the addresses of the interfaces are read. Reading them takes some tens of microseconds;
// libp2p's own news of a change comes up to a minute late.
const DefaultPoll = 3 * time.Second

// netIface is an interface that mDNS may use, with what is on it.
type netIface struct {
	net.Interface
	prefixes []netip.Prefix // its addresses with the length of their network
}

// multicastIfaces returns the interfaces that are up, can multicast and are not loopback; if names is not empty,
// only those of these names. Names that do not exist are no error: an interface can come later.
func multicastIfaces(names []string) ([]netIface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var out []netIface
	for _, i := range all {
		const want = net.FlagUp | net.FlagMulticast
		if i.Flags&want != want || i.Flags&net.FlagLoopback != 0 || len(names) > 0 && !slices.Contains(names, i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		ni := netIface{Interface: i}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if p, ok := prefixOf(n); ok {
					ni.prefixes = append(ni.prefixes, p)
				}
			}
		}
		if len(ni.prefixes) > 0 {
			out = append(out, ni)
		}
	}
	return out, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	ip = ip.Unmap()
	if !ok || bits != ip.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip, ones), true
}

// announceAddrs returns where a host that listens on listen can be reached through the given interfaces: listeners
// on all addresses become one address for each address of the interfaces, others count if theirs is among them.
// IPv4 comes first, and the order does not depend on that of listen.
func announceAddrs(listen []ma.Multiaddr, ifaces []netIface) []ma.Multiaddr {
	listen = slices.SortedFunc(slices.Values(listen), ma.Multiaddr.Compare)
	var v4, v6 []ma.Multiaddr
	add := func(ip netip.Addr, rest ma.Multiaddr) {
		if !announceableIP(ip) {
			return
		}
		host, err := manet.FromIP(ip.AsSlice())
		if err != nil {
			return
		}
		a := host.Encapsulate(rest)
		switch {
		case !plainTransport(a):
		case ip.Is4():
			v4 = append(v4, a)
		default:
			v6 = append(v6, a)
		}
	}
	for _, i := range ifaces {
		for _, p := range i.prefixes {
			for _, l := range listen {
				ip, ok := ipOf(l)
				if ok && (ip == p.Addr() || ip.IsUnspecified() && ip.Is4() == p.Addr().Is4()) {
					add(p.Addr(), l[1:])
				}
			}
		}
	}
	return uniqueAddrs(v4, v6)
}

// fingerprint is equal as long as there is nothing new to announce.
func fingerprint(ifaces []netIface, addrs []ma.Multiaddr) string {
	var b strings.Builder
	for _, i := range ifaces {
		fmt.Fprintf(&b, "%d %s %v\n", i.Index, i.Name, i.prefixes)
	}
	for _, a := range addrs {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// WatchNetwork calls changed each time the set of this machine's addresses has changed, until ctx ends; then it
// returns nil. It looks every interval (0 = [DefaultPoll]). The first look is no change.
func WatchNetwork(ctx context.Context, interval time.Duration, changed func()) error {
	if interval <= 0 {
		interval = DefaultPoll
	}
	watch(ctx, interval, machineAddrs, changed)
	return nil
}

// watch is [WatchNetwork] over any source of states; "" is no state.
func watch(ctx context.Context, interval time.Duration, read func() string, changed func()) {
	last := read()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := read(); now != "" && now != last {
			last = now
			changed()
		}
	}
}

// machineAddrs returns the machine's addresses as one string, or "" if they can't be read.
func machineAddrs() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	slices.Sort(list)
	return strings.Join(list, " ") + "."
}
