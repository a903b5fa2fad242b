package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// gossip is what the heads protocol asks of a node.
type gossip struct{ n *Node }

var _ heads.Backend = gossip{}

// Records returns the records of membership.
func (g gossip) Records(context.Context) ([][]byte, error) { return g.n.lib.encoded(), nil }

// Merge takes the other side's records of membership.
func (g gossip) Merge(ctx context.Context, _ peer.ID, raw [][]byte) error {
	records := make([]membership.Record, len(raw))
	for i, b := range raw {
		if err := records[i].UnmarshalBinary(b); err != nil {
			return err
		}
	}
	fresh, err := g.n.lib.add(ctx, records)
	if err != nil {
		return err
	}
	g.n.welcome(fresh)
	for _, m := range fresh { // one that was connected as a stranger
		if p, err := wire.PeerOf(m.Device); err == nil && g.n.live.connected(m.Device) {
			g.n.greet(p)
		}
	}
	return nil
}

// welcome tells of new members, and makes the others hear of them.
func (n *Node) welcome(fresh []membership.Member) {
	for _, m := range fresh {
		d := n.lib.device(m.Device)
		n.events.emit(Event{Type: api.EventDeviceJoined, Device: &d})
	}
	if len(fresh) == 0 || n.host.Load() == nil {
		return
	}
	n.keeper.Kick()
	n.mdns.Refresh()
	n.announce()
}

// Heads returns what this device can say of locations: what it holds, and what was removed.
func (g gossip) Heads(ctx context.Context) ([]heads.Announced, error) {
	lib := g.n.lib.id()
	locs, err := g.n.st.Locations(ctx)
	if err != nil {
		return nil, err
	}
	var out []heads.Announced
	for _, l := range locs {
		held, err := g.n.st.Held(ctx, l)
		if errors.Is(err, store.ErrNotFound) || damaged(err) {
			continue // dropped meanwhile, or nothing to serve
		}
		if err != nil {
			return nil, err
		}
		if l.Owner == g.n.st.Self() {
			if g.n.isTwin(ctx, l) {
				continue
			}
			if err := g.n.st.Publish(ctx, &held.Head.Head); err != nil {
				return nil, err
			}
		}
		if held.Head.Library == lib {
			out = append(out, heads.Announced{Head: held.Head, Record: held.Raw, Horizon: held.Horizon, Held: true})
		}
	}
	heard, err := g.n.st.AllHeard(ctx)
	if err != nil {
		return nil, err
	}
	for l, hs := range heard {
		if slices.Contains(locs, l) {
			continue
		}
		for _, h := range hs {
			var rec index.Record
			if rec.UnmarshalBinary(h.Record) == nil && rec.Retired == index.Retired && h.Head.Library == lib {
				out = append(out, heads.Announced{Head: h.Head, Record: h.Record})
				break
			}
		}
	}
	return out, nil
}

// Said returns what a device announced last, as far as it was kept.
func (g gossip) Said(ctx context.Context, from peer.ID) ([]heads.Announced, error) {
	d, err := wire.DeviceOf(from)
	if err != nil {
		return nil, err
	}
	said, err := g.n.st.HeardFrom(ctx, d)
	if err != nil {
		return nil, err
	}
	var out []heads.Announced
	for _, h := range said {
		if h.Listed {
			out = append(out, heads.Announced{Head: h.Head, Horizon: h.Horizon, Held: h.Held})
		}
	}
	return out, nil
}

// Heard takes what the other side said of locations. Signatures were checked.
func (g gossip) Heard(ctx context.Context, from peer.ID, news []heads.Announced, gone []index.Location) error {
	d, err := wire.DeviceOf(from)
	if err != nil {
		return err
	}
	for i := range news {
		if err := g.n.hear(ctx, d, &news[i]); err != nil {
			return err
		}
	}
	for _, l := range gone { // it holds them no more; what it said of their newest heads stays true
		known, err := g.n.st.HeardOf(ctx, l)
		if err != nil {
			return err
		}
		for _, h := range known {
			if h.Device == d {
				h.Held, h.Listed = false, false
				if err := g.n.st.SetHeard(ctx, h); err != nil {
					return err
				}
			}
		}
	}
	g.n.talks.done(from)
	g.n.notices.Meet(from)
	if len(news)+len(gone) > 0 {
		g.n.syncer.Kick()
	}
	return nil
}

// hear records one head. Heads of another library and of strangers are passed over.
func (n *Node) hear(ctx context.Context, from index.DeviceID, a *heads.Announced) error {
	l := a.Head.Location
	if n.verifyHead(&a.Head) != nil {
		return nil
	}
	known, err := n.st.HeardOf(ctx, l)
	if err != nil {
		return err
	}
	var before *store.Heard
	for i := range known {
		if known[i].Device == from {
			before = &known[i]
		}
	}
	if before != nil && before.Listed && before.Head == a.Head && before.Held == a.Held && before.Horizon == a.Horizon {
		return nil
	}
	held, err := n.st.Held(ctx, l)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !damaged(err) {
		return err
	}
	if l.Owner == n.st.Self() {
		unheardOf := errors.Is(err, store.ErrNotFound) && len(known) == 0
		if err := n.hearOwn(ctx, a.Head); err != nil || unheardOf {
			return err
		}
	} else if err := n.judgeAll(ctx, a.Head, &held, err == nil, known); err != nil {
		return err
	}
	return n.st.SetHeard(ctx, store.Heard{
		Device: from, Head: a.Head, Record: a.Record, Horizon: a.Horizon, Held: a.Held, Listed: true, At: time.Now(),
	})
}

// judgeAll compares a head with all others that are known of its location.
func (n *Node) judgeAll(ctx context.Context, heard index.SignedHead, held *store.Held, isHeld bool, known []store.Heard) error {
	if isHeld {
		if err := n.judge(ctx, heard, held.Head); err != nil {
			return err
		}
	}
	for _, h := range known {
		if err := n.judge(ctx, heard, h.Head); err != nil {
			return err
		}
	}
	return nil
}

// judge freezes a location when its owner signed two heads that can't both be true, and thaws it at a higher epoch.
func (n *Node) judge(ctx context.Context, heard, other index.SignedHead) error {
	switch index.Compare(&heard.Head, &other.Head) {
	case index.Equivocation:
		n.log.Warn("two heads that cannot both be true", "location", heard.Location, "a", heard.Head, "b", other.Head)
		return n.st.Freeze(ctx, heard, other)
	case index.NewEpoch:
		return n.st.Thaw(ctx, heard.Location)
	}
	return nil
}

// verifyHead says whether a head belongs here: its signature is checked elsewhere.
func (n *Node) verifyHead(h *index.SignedHead) error {
	if h.Library != n.lib.id() {
		return fmt.Errorf("head of another library: %w", index.ErrInvalid)
	}
	if _, ok := n.lib.member(h.Location.Owner); !ok {
		return fmt.Errorf("the owner is not a member: %w", index.ErrInvalid)
	}
	return nil
}

// replicas are the situations of other devices' locations, for the syncer.
func (n *Node) replicas(ctx context.Context) ([]syncer.Situation, error) {
	all, err := n.situations(ctx)
	return slices.DeleteFunc(all, func(s syncer.Situation) bool { return s.Location.Owner == n.st.Self() }), err
}

// sync carries out a plan.
func (n *Node) sync(ctx context.Context, sit syncer.Situation, p syncer.Plan) error {
	l := sit.Location
	switch p.Strategy {
	case syncer.Drop:
		if err := n.st.Drop(ctx, l); err != nil {
			return err
		}
		n.updated(api.EventLocationRemoved, l)
		return nil
	case syncer.Touch:
		if err := n.st.AdvanceAsOf(ctx, p.Target); err != nil {
			return err
		}
		n.updated(api.EventLocationUpdated, l)
		return nil
	case syncer.BatchFull, syncer.BatchDelta:
		return n.pull(ctx, l, p)
	}
	return fmt.Errorf("strategy %q: %w", p.Strategy, index.ErrInvalid)
}

// pull moves a replica forward by batches.
func (n *Node) pull(ctx context.Context, l index.Location, p syncer.Plan) error {
	mode := index.ModeFull
	if p.Strategy == syncer.BatchDelta {
		mode = index.ModeDelta
	}
	in, err := n.st.Intake(ctx, l, p.Offer.Epoch, mode)
	if err != nil {
		return err
	}
	sink := &sink{n: n, in: in, start: time.Now(), at: Progress{
		Location: l, Phase: api.PhaseFetch, Strategy: string(p.Strategy), Provider: n.lib.name(p.Provider), Name: n.locationName(ctx, l),
	}}
	n.report(sink.at, &sink.tick)
	err = n.pullFrom(ctx, p.Provider, in, sink)
	if unusable(err) {
		err = errors.Join(err, in.Discard())
	}
	err = errors.Join(err, in.Close())
	n.endReport(l, api.PhaseFetch, err)
	if err != nil {
		if pid, perr := wire.PeerOf(p.Provider); perr == nil && n.live.connected(p.Provider) {
			n.spawn(func() { n.talk(pid) }) // what it said of itself may be old
		}
		return err
	}
	n.updated(api.EventLocationUpdated, l)
	n.announce()
	return nil
}

// unusable reports whether what was received so far can't lead to a signed head any more.
func unusable(err error) bool {
	for _, e := range []error{index.ErrEpochChanged, index.ErrBelowHorizon, batch.ErrMismatch, store.ErrMismatch} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (n *Node) pullFrom(ctx context.Context, d index.DeviceID, in *store.Intake, sink *sink) error {
	p, err := wire.PeerOf(d)
	if err != nil {
		return err
	}
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, "batch"), p, batch.ID)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	_, err = batch.Pull(ctx, s, in.Token(), sink, batch.Options{Config: n.wire(), Library: n.lib.id(), VerifyHead: n.verifyHead})
	return err
}

// locationName is the name of a location by what was heard of it.
func (n *Node) locationName(ctx context.Context, l index.Location) string {
	heard, err := n.st.AllHeard(ctx)
	if err != nil {
		return ""
	}
	for _, h := range heard[l] {
		var rec index.Record
		if rec.UnmarshalBinary(h.Record) == nil {
			return rec.Name
		}
	}
	return ""
}

// sink puts what a pull received into the store, and tells how far it is.
type sink struct {
	n     *Node
	in    *store.Intake
	start time.Time
	at    Progress
	full  int64 // rows of the full pass, once the delta runs
	tick  throttle
}

var _ batch.Sink = (*sink)(nil)

// Put stores one page.
func (s *sink) Put(ctx context.Context, p *index.Page, next index.Token, done bool, at batch.Progress) error {
	if at.Mode == index.ModeFull {
		s.full = at.Done
		s.at.DoneEntries, s.at.TotalEntries = at.Done, at.Total
	} else {
		s.at.DoneEntries, s.at.TotalEntries = s.full+at.Done, s.full+at.Total
	}
	s.at.DoneBytes, s.at.Elapsed = at.Bytes, time.Since(s.start)
	s.n.report(s.at, &s.tick)
	return s.in.Put(ctx, p, next, done)
}

// source serves pages to the batch protocol.
type source struct{ n *Node }

var _ batch.Source = source{}

// Page reads one page.
func (s source) Page(ctx context.Context, r batch.PageRequest) (index.Page, error) {
	p, err := s.n.st.Page(ctx, store.PageRequest(r))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return p, batch.ErrNoReplica
	case err == nil && r.Location.Owner == s.n.st.Self():
		if s.n.isTwin(ctx, r.Location) {
			return index.Page{}, batch.ErrNoReplica
		}
		err = s.n.st.Publish(ctx, &p.Head.Head)
	}
	return p, err
}
