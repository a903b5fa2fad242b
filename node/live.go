package node

import (
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/wire"
)

// live is what only a running node knows: connections, and what moves at this moment.
type live struct {
	n *Node

	mu     sync.Mutex
	moving map[movement]Progress
	speeds map[movement]*speed
	failed map[index.Location]error // of the last scan, such as a full disk
}

// movement names a scan or a transfer.
type movement struct {
	loc   index.Location
	phase string
}

func (v *live) connected(d index.DeviceID) bool {
	h := v.n.host.Load()
	if h == nil {
		return false
	}
	p, err := wire.PeerOf(d)
	return err == nil && h.Network().Connectedness(p) == network.Connected
}

// link says what is known of the connection to a device.
func (v *live) link(d index.DeviceID) syncer.Link {
	p, err := wire.PeerOf(d)
	if v == nil || err != nil || v.n.host.Load() == nil {
		return syncer.LinkUnknown
	}
	conns := v.n.host.Load().Network().ConnsToPeer(p)
	strange := 0
	for _, c := range conns {
		relay, through := relayOf(c.RemoteMultiaddr())
		ip, err := manet.ToIP(c.RemoteMultiaddr())
		switch {
		case through && !v.n.lib.hasPeer(relay):
			strange++
		case !through && err == nil && !c.Stat().Limited && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()):
			return syncer.LinkNear
		}
	}
	if strange > 0 && strange == len(conns) {
		return syncer.LinkRelayed
	}
	return syncer.LinkUnknown
}

// describe adds the connection to a device.
func (v *live) describe(d *Device) {
	h := v.n.host.Load()
	p, err := wire.PeerOf(d.ID)
	if h == nil || err != nil {
		return
	}
	if conns := h.Network().ConnsToPeer(p); len(conns) > 0 {
		d.Connected, d.LastError, d.LastSeen = true, "", time.Now()
		d.Address = conns[0].RemoteMultiaddr().String()
	}
}

func (v *live) scanning(l index.Location) bool { return v.n.work.busy(l) }

// scanEnded remembers why the last scan of a location failed; nil forgets it.
func (v *live) scanEnded(l index.Location, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil {
		delete(v.failed, l)
		return
	}
	v.failed[l] = err
}

// lastScanFailed begins the detail of a location whose last scan failed, also while the next one is under way.
const lastScanFailed = "the last scan failed: "

// scanFailed says in words why the last scan of a location failed, "" if it didn't.
func (v *live) scanFailed(l index.Location) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.failed[l]; err != nil {
		return lastScanFailed + humane(err).Error()
	}
	return ""
}

func (v *live) syncing(l index.Location) bool { return v.moves(l) != nil }

// provider is the device from which a location is being fetched.
func (v *live) provider(l index.Location) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.moving[movement{l, api.PhaseFetch}].Provider
}

// status adds what a running node knows of itself.
func (v *live) status(s *Status) {
	n := v.n
	s.Running, s.Reach, s.Version, s.PID = true, n.reach.String(), n.cfg.Version, os.Getpid()
	s.Traffic = api.Traffic{BytesIn: n.traffic.In.Load(), BytesOut: n.traffic.Out.Load()}
	s.Process.PeakRSSBytes = peakRSS()
	if h := n.host.Load(); h != nil {
		for _, a := range h.Addrs() {
			s.Addresses = append(s.Addresses, a.String()+"/p2p/"+h.ID().String())
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range v.moving {
		s.Transfers = append(s.Transfers, p)
	}
	slices.SortFunc(s.Transfers, func(a, b Progress) int { return strings.Compare(a.Device+a.Name, b.Device+b.Name) })
}

// report keeps and tells a progress, as often as the throttle allows.
func (n *Node) report(p Progress, t *throttle) {
	if !t.pass(p.Finished) {
		return
	}
	if p.Device == "" {
		p.Device = n.lib.name(p.Location.Owner)
	}
	n.live.move(&p)
	kind := api.EventTransferProgress
	if p.Phase == api.PhaseScan {
		kind = api.EventScanProgress
	}
	if p.Phase == api.PhaseFetch {
		done, total := p.DoneEntries, p.TotalEntries
		if p.InBytes() {
			done, total = p.DoneBytes, p.TotalBytes
		}
		n.syncer.At(p.Location, done, total)
	}
	n.events.emit(Event{Type: kind, Progress: &p})
}

// move keeps a progress, and adds to it how fast it is.
func (v *live) move(p *Progress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := movement{p.Location, p.Phase}
	if v.speeds[key] == nil {
		v.speeds[key] = &speed{}
	}
	v.speeds[key].measure(p, time.Now())
	v.moving[key] = *p
}

// moves is the progress of the transfer of a location; nil if there is none.
func (v *live) moves(l index.Location) *Progress {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, phase := range []string{api.PhaseFetch, api.PhaseProve, api.PhaseImport} {
		if p, ok := v.moving[movement{l, phase}]; ok {
			return &p
		}
	}
	return nil
}

// ended forgets a phase that another follows.
func (v *live) ended(l index.Location, phase string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.moving, movement{l, phase})
	delete(v.speeds, movement{l, phase})
}

// endReport tells that a scan or a transfer ended.
func (n *Node) endReport(l index.Location, phase string, err error) {
	n.live.mu.Lock()
	p, ok := n.live.moving[movement{l, phase}]
	delete(n.live.moving, movement{l, phase})
	delete(n.live.speeds, movement{l, phase})
	n.live.mu.Unlock()
	if !ok {
		p = Progress{Location: l, Device: n.lib.name(l.Owner), Phase: phase}
	}
	if p.Finished = true; err != nil {
		p.Error = err.Error()
	}
	kind := api.EventTransferProgress
	if phase == api.PhaseScan {
		kind = api.EventScanProgress
	}
	n.events.emit(Event{Type: kind, Progress: &p})
}
