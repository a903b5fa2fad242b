package discovery

import (
	"errors"
	"fmt"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
)

// Reach says how far a node goes to meet other devices. The zero value is [LAN].
type Reach uint8

const (
	// LAN meets devices on the local network and at addresses that were given.
	LAN Reach = iota
	// Loopback meets nodes on this machine only; nothing leaves it. For tests and demonstrations.
	Loopback
)

// ErrReach is wrapped by [ParseReach] for a word that is no reach.
var ErrReach = errors.New("unknown reach")

// ParseReach reads "lan" or "loopback"; "" is "lan". Other words wrap [ErrReach].
func ParseReach(s string) (Reach, error) {
	switch s {
	case "", "lan":
		return LAN, nil
	case "loopback":
		return Loopback, nil
	case "internet":
		return LAN, fmt.Errorf(`reach "internet": this version meets devices on the local network and at known addresses only; use "lan": %w`, ErrReach)
	}
	return LAN, fmt.Errorf(`reach %q, want "lan" or "loopback": %w`, s, ErrReach)
}

// String returns the word that [ParseReach] reads.
func (r Reach) String() string {
	switch r {
	case LAN:
		return "lan"
	case Loopback:
		return "loopback"
	}
	return fmt.Sprintf("reach(%d)", uint8(r))
}

// MarshalText implements [encoding.TextMarshaler] with [Reach.String].
func (r Reach) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler] with [ParseReach].
func (r *Reach) UnmarshalText(b []byte) error {
	v, err := ParseReach(string(b))
	if err == nil {
		*r = v
	}
	return err
}

// ListenAddrs returns the addresses to listen on; port 0 lets the system choose. TCP only: on a local network it
// moves several times what QUIC does, at a third of the CPU time.
func (r Reach) ListenAddrs(port uint16) []string {
	if r == LAN {
		return []string{fmt.Sprintf("/ip4/0.0.0.0/tcp/%d", port), fmt.Sprintf("/ip6/::/tcp/%d", port)}
	}
	return []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port)}
}

// Allowed reports whether a may be dialed, or a connection from it accepted. With [Loopback] that is an address of
// the machine itself, written as a number; with [LAN] any unicast address or DNS name, but none through a relay.
func (r Reach) Allowed(a ma.Multiaddr) bool {
	for _, c := range a {
		if c.Protocol().Code == ma.P_CIRCUIT {
			return false
		}
	}
	ip, ok := ipOf(a)
	switch {
	case r == LAN && ok:
		return usableIP(ip)
	case r == LAN:
		return isName(a)
	case r == Loopback:
		return ok && ip.IsLoopback()
	}
	return false
}

// Announce returns those of addrs that are worth telling other devices, and is a libp2p AddrsFactory: allowed ones,
// and with [LAN] none that mean something else on the other device (loopback, and IPv6 link-local, which lacks the
// zone).
func (r Reach) Announce(addrs []ma.Multiaddr) []ma.Multiaddr {
	out := make([]ma.Multiaddr, 0, len(addrs))
	for _, a := range addrs {
		ip, ok := ipOf(a)
		if r.Allowed(a) && (r != LAN || !ok || announceableIP(ip)) {
			out = append(out, a)
		}
	}
	return out
}

// usableIP reports whether ip names one host.
func usableIP(ip netip.Addr) bool {
	return ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() && ip != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func announceableIP(ip netip.Addr) bool {
	return usableIP(ip) && !ip.IsLoopback() && (ip.Is4() || !ip.IsLinkLocalUnicast())
}
