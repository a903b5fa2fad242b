package discovery

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	serviceName = "_peerdex._udp"
	mdnsDomain  = "local"

	// mdnsPort stands in the SRV record, which must have one. Nobody reads it: the TXT record has the addresses.
	mdnsPort = 4001

	// announceTTL is how long, in seconds, a device that hears us remembers us. The mDNS library reports an
	// announcement once until it expires, so this is also how often a device that stays is reported anew.
	announceTTL = 120

	mdnsMinAge   = time.Second      // of an announcement, however often a refresh is asked for
	mdnsRefresh  = 5 * time.Minute  // between announcements under a new name while a member is missing
	mdnsRetry    = 5 * time.Second  // after an error, first
	mdnsMaxRetry = time.Minute      // after an error, at most
	floodPause   = 30 * time.Second // of listening, after a flood

	// The mDNS library remembers every announcement it has reported for as long as the announcement wants, so one
	// round of listening ends when it has heard this much. A local network of peerdex devices comes nowhere near
	// it within floodAge.
	browseEntries = 2000
	browseBytes   = 1 << 20
	floodAge      = 10 * time.Minute
)

var (
	errNoInterface = errors.New("no interface to announce on")
	errHeardEnough = errors.New("heard too many announcements")
)

// MDNSConfig says what an [MDNS] announces and whom it looks for.
type MDNSConfig struct {
	// Host gives the peer ID and the addresses it listens on. Required.
	Host host.Host
	// Reach other than [LAN] turns mDNS off.
	Reach Reach
	// Off turns mDNS off.
	Off bool
	// Interfaces are the names of the interfaces to use; empty = all that are up and can multicast, without
	// loopback. Names of interfaces that do not exist yet are waited for.
	Interfaces []string
	// Wanted reports whether a peer is of interest. Others are never passed to Found. Required.
	Wanted func(peer.ID) bool
	// Missing reports whether a wanted peer is not connected; then the search is renewed from time to time. nil =
	// never.
	Missing func() bool
	// Found is told where a wanted peer says it is. The peer ID is unproved, and the addresses are of this
	// device's networks or of private ranges, at most 16. Calls come from several goroutines and should not block.
	Found func(peer.AddrInfo)
	// Logger; nil = none.
	Logger *slog.Logger
}

// MDNS announces this device on the local network and finds others. Make one with [NewMDNS].
type MDNS struct {
	cfg     MDNSConfig
	refresh chan struct{}
}

// NewMDNS returns an MDNS that does nothing until [MDNS.Run].
func NewMDNS(cfg MDNSConfig) *MDNS {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Missing == nil {
		cfg.Missing = func() bool { return false }
	}
	return &MDNS{cfg: cfg, refresh: make(chan struct{}, 1)}
}

// Refresh makes a running MDNS search anew at once; for when a peer has become wanted that may have been heard
// before. It does not wait. Safe for concurrent use.
func (m *MDNS) Refresh() {
	select {
	case m.refresh <- struct{}{}:
	default:
	}
}

// Run announces and searches until ctx ends, and returns nil when all its sockets are closed. Trouble with the
// network is no error: it is logged and tried again. When mDNS is off, Run only waits. Call it once.
func (m *MDNS) Run(ctx context.Context) error {
	if m.cfg.Off || m.cfg.Reach != LAN {
		<-ctx.Done()
		return nil
	}
	retry := mdnsRetry
	last := ""
	for ctx.Err() == nil {
		seen, err := m.session(ctx)
		if err == nil {
			retry, last = mdnsRetry, ""
			continue
		}
		if err.Error() != last { // once, not at every try
			last = err.Error()
			m.cfg.Logger.Info("mDNS is waiting for the network", "err", err)
		}
		m.waitForChange(ctx, seen, retry)
		retry = min(2*retry, mdnsMaxRetry)
	}
	return nil
}

// look returns what can be announced now, and on which interfaces.
func (m *MDNS) look() (ifaces []netIface, addrs []ma.Multiaddr, err error) {
	ifaces, err = multicastIfaces(m.cfg.Interfaces)
	if err != nil {
		return nil, nil, err
	}
	addrs = announceAddrs(m.cfg.Host.Network().ListenAddresses(), ifaces)
	ifaces = slices.DeleteFunc(ifaces, func(i netIface) bool { return !carriesAny(i, addrs) })
	return ifaces, addrs, nil
}

// carriesAny reports whether one of addrs is an address of i.
func carriesAny(i netIface, addrs []ma.Multiaddr) bool {
	for _, a := range addrs {
		ip, _ := ipOf(a)
		if slices.ContainsFunc(i.prefixes, func(p netip.Prefix) bool { return p.Addr() == ip }) {
			return true
		}
	}
	return false
}

// session announces one set of addresses and searches, until the addresses change, it is time for a refresh, or
// ctx ends. It returns the fingerprint of what it saw, and an error if it could not announce.
func (m *MDNS) session(ctx context.Context) (seen string, err error) {
	ifaces, addrs, err := m.look()
	seen = fingerprint(ifaces, addrs)
	if err == nil && len(addrs) == 0 {
		err = errNoInterface
	}
	if err != nil {
		return seen, err
	}
	server, err := m.announce(ifaces, addrs)
	if err != nil {
		return seen, fmt.Errorf("announce by mDNS: %w", err)
	}
	defer server.Shutdown()
	m.cfg.Logger.Debug("mDNS announces", "addresses", addrs)

	browsing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, family := range families(ifaces) {
		wg.Go(func() { m.browseLoop(browsing, ifaces, family) })
	}
	defer wg.Wait()
	defer stop()
	m.waitForEnd(ctx, seen)
	return seen, nil
}

// waitForEnd returns when a session's work is out of date or ctx ends.
func (m *MDNS) waitForEnd(ctx context.Context, seen string) {
	start := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-time.After(mdnsMinAge):
	}
	poll := time.NewTicker(DefaultPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.refresh:
			return
		case <-poll.C:
		}
		if m.changed(seen) || time.Since(start) >= mdnsRefresh && m.cfg.Missing() {
			return
		}
	}
}

// waitForChange returns when there is something else to announce than what was seen, after d, or when ctx ends.
func (m *MDNS) waitForChange(ctx context.Context, seen string, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	poll := time.NewTicker(DefaultPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			if m.changed(seen) {
				return
			}
		}
	}
}

func (m *MDNS) changed(seen string) bool {
	ifaces, addrs, err := m.look()
	return err == nil && fingerprint(ifaces, addrs) != seen
}

// announce registers the service under a new random name. The new name makes devices report us that have heard us
// before.
func (m *MDNS) announce(ifaces []netIface, addrs []ma.Multiaddr) (*zeroconf.Server, error) {
	name := strings.ToLower(rand.Text())[:16]
	return zeroconf.RegisterProxy(name, serviceName, mdnsDomain, mdnsPort, name, firstIPs(addrs),
		encodeTXT(m.cfg.Host.ID(), addrs), plain(ifaces), zeroconf.TTL(announceTTL))
}

// firstIPs returns the first IPv4 and the first IPv6 address: an announcement needs one in an A or AAAA record to be
// believed, though ours are read from the TXT record.
func firstIPs(addrs []ma.Multiaddr) []string {
	var v4, v6 []string
	for _, a := range addrs {
		switch ip, ok := ipOf(a); {
		case !ok:
		case ip.Is4():
			v4 = append(v4, ip.String())
		default:
			v6 = append(v6, ip.String())
		}
	}
	return slices.Concat(v4[:min(1, len(v4))], v6[:min(1, len(v6))])
}

func plain(ifaces []netIface) []net.Interface {
	var out []net.Interface
	for _, i := range ifaces {
		out = append(out, i.Interface)
	}
	return out
}

// families returns the address families that the interfaces have.
func families(ifaces []netIface) []zeroconf.IPType {
	var v4, v6 bool
	for _, i := range ifaces {
		for _, p := range i.prefixes {
			v4 = v4 || p.Addr().Is4()
			v6 = v6 || p.Addr().Is6()
		}
	}
	var out []zeroconf.IPType
	if v4 {
		out = append(out, zeroconf.IPv4)
	}
	if v6 {
		out = append(out, zeroconf.IPv6)
	}
	return out
}

// browseLoop searches through one address family until ctx ends.
func (m *MDNS) browseLoop(ctx context.Context, ifaces []netIface, family zeroconf.IPType) {
	var onLink []netip.Prefix
	for _, i := range ifaces {
		onLink = append(onLink, i.prefixes...)
	}
	local := func(ip netip.Addr) bool { return localIP(ip, onLink) }
	for ctx.Err() == nil {
		start := time.Now()
		err := m.browse(ctx, plain(ifaces), family, local)
		if ctx.Err() != nil {
			return
		}
		pause := mdnsMaxRetry
		if errors.Is(err, errHeardEnough) {
			if time.Since(start) >= floodAge {
				continue
			}
			pause = floodPause
		}
		m.cfg.Logger.Info("mDNS pauses its search", "err", err, "pause", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// browse searches until ctx ends, an error, or too much was heard.
func (m *MDNS) browse(ctx context.Context, ifaces []net.Interface, family zeroconf.IPType, local func(netip.Addr) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan *zeroconf.ServiceEntry, 64)
	ended := make(chan error, 1)
	go func() {
		ended <- zeroconf.Browse(ctx, serviceName, mdnsDomain, heard, zeroconf.SelectIfaces(ifaces), zeroconf.SelectIPTraffic(family))
	}()
	var entries, bytes int
	// The library can't end while it waits for us to take an entry, so entries are taken until it has ended.
	for {
		select {
		case e, ok := <-heard:
			if !ok {
				heard = nil
				continue
			}
			entries++
			bytes += entrySize(e)
			if entries > browseEntries || bytes > browseBytes {
				cancel()
				continue
			}
			if info, ok := parseTXT(e.Text, local); ok && info.ID != m.cfg.Host.ID() && m.cfg.Wanted(info.ID) {
				m.cfg.Found(info)
			}
		case err := <-ended:
			if entries > browseEntries || bytes > browseBytes {
				err = errHeardEnough
			}
			return err
		}
	}
}

// entrySize is about what the mDNS library keeps of an announcement.
func entrySize(e *zeroconf.ServiceEntry) int {
	n := len(e.Instance) + len(e.HostName) + 16*(len(e.AddrIPv4)+len(e.AddrIPv6))
	for _, s := range e.Text {
		n += len(s) + 16
	}
	return n
}
