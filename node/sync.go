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
	"github.com/peerdex/peerdex/protocols/tree"
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
			size, err := g.n.st.Size(ctx, l)
			if err != nil && !errors.Is(err, store.ErrNotFound) && !damaged(err) {
				return nil, err
			}
			out = append(out, heads.Announced{
				Head: held.Head, Record: held.Raw, Horizon: held.Horizon, Held: true, Size: size, Wants: g.n.wantsPushes(ctx, l),
			})
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
		hs = slices.DeleteFunc(hs, func(h store.Heard) bool { return h.Head.Library != lib || !retired(h) })
		if last := newestHeard(hs); last != nil {
			out = append(out, heads.Announced{Head: last.Head, Record: last.Record})
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
	g.n.remember(ctx)
	said, err := g.n.st.HeardFrom(ctx, d)
	if err != nil {
		return nil, err
	}
	var out []heads.Announced
	for _, h := range said {
		if h.Listed {
			out = append(out, heads.Announced{Head: h.Head, Horizon: h.Horizon, Held: h.Held, Wants: h.Wants})
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
				h.Held, h.Wants, h.Listed = false, false, false
				if err := g.n.st.SetHeard(ctx, h); err != nil {
					return err
				}
			}
		}
	}
	if err := g.n.rehearOwn(ctx, d); err != nil {
		return err
	}
	g.n.met(from)
	g.n.notices.Meet(from)
	g.n.syncer.Kick() // also when nothing is new: who says it is here now
	return nil
}

// rehearOwn looks again at what a device said of own locations, since they may have changed under it: a file that was
// restored from a backup, for one.
func (n *Node) rehearOwn(ctx context.Context, d index.DeviceID) error {
	said, err := n.st.HeardFrom(ctx, d)
	if err != nil {
		return err
	}
	for _, h := range said {
		var rec index.Record
		if h.Head.Location.Owner != n.st.Self() || n.verifyHead(&h.Head) != nil || rec.UnmarshalBinary(h.Record) != nil {
			continue
		}
		if err := n.hearOwn(ctx, h.Head, &rec); err != nil {
			return err
		}
	}
	return nil
}

// hear records one head. Heads of another library and of strangers are passed over.
func (n *Node) hear(ctx context.Context, from index.DeviceID, a *heads.Announced) error {
	l := a.Head.Location
	var rec index.Record
	if n.verifyHead(&a.Head) != nil || rec.UnmarshalBinary(a.Record) != nil {
		return nil
	}
	known, err := n.st.HeardOf(ctx, l)
	if err != nil {
		return err
	}
	said := store.Heard{
		Device: from, Head: a.Head, Record: a.Record, Horizon: a.Horizon, Size: a.Size, Held: a.Held, Wants: a.Wants, Listed: true, At: time.Now(),
	}
	news := isNews(&said, known)
	if l.Owner == n.st.Self() {
		if news {
			if err := n.st.SetHeard(ctx, said); err != nil {
				return err
			}
		}
		return n.hearOwn(ctx, a.Head, &rec)
	}
	if !news {
		return nil
	}
	if err := n.judgeAll(ctx, a.Head, known); err != nil {
		return err
	}
	if retired(said) {
		if err := n.st.ForgetAnswers(ctx, l); err != nil {
			n.log.Warn("forget answers", "location", l, "error", err)
		}
	}
	return n.st.SetHeard(ctx, said)
}

// isNews reports whether a device said something else than before. That a location was removed is not forgotten: its owner
// lost that knowledge, and gets it back from us.
func isNews(said *store.Heard, known []store.Heard) bool {
	at := slices.IndexFunc(known, func(h store.Heard) bool { return h.Device == said.Device })
	if at < 0 {
		return true
	}
	before := &known[at]
	if retired(*before) && !retired(*said) {
		return false
	}
	return !before.Listed || before.Head != said.Head || before.Held != said.Held || before.Wants != said.Wants || before.Horizon != said.Horizon
}

// judgeAll compares a head with all others that are known of its location.
func (n *Node) judgeAll(ctx context.Context, heard index.SignedHead, known []store.Heard) error {
	held, err := n.st.Held(ctx, heard.Location)
	switch {
	case err == nil:
		if err := n.judge(ctx, heard, held.Head); err != nil {
			return err
		}
	case !errors.Is(err, store.ErrNotFound) && !damaged(err):
		return err
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

// replicas are the situations of other devices' locations, for the syncer, and of own ones that are to be taken back.
func (n *Node) replicas(ctx context.Context) ([]syncer.Situation, error) {
	if err := n.tendSames(ctx); err != nil {
		return nil, err
	}
	all, err := n.situations(ctx)
	for i := range all {
		all[i].Apart, all[i].Rules, all[i].Moving = n.apart.has(all[i].Held), n.cfg.rules(), n.taking.has(all[i].Location)
	}
	return slices.DeleteFunc(all, func(s syncer.Situation) bool { return !n.wanted(ctx, &s) }), err
}

// sync carries out a plan.
func (n *Node) sync(ctx context.Context, sit syncer.Situation, p syncer.Plan) error {
	l := sit.Location
	if l.Owner == n.st.Self() {
		return n.takeBack(ctx, l, p, false)
	}
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
	case syncer.Compact, syncer.Native:
		return n.fetchSnapshot(ctx, l, p, n.openStream)
	case syncer.BatchFull, syncer.Change, syncer.BatchDelta, syncer.Reconcile:
		err := n.pull(ctx, l, p)
		if errors.Is(err, tree.ErrTooDifferent) {
			n.apart.set(sit.Held) // planned again, without the replica
			return nil
		}
		return err
	}
	return fmt.Errorf("strategy %q: %w", p.Strategy, index.ErrInvalid)
}

// intake begins or goes on with the transfer of a plan.
func (n *Node) intake(ctx context.Context, l index.Location, p *syncer.Plan) (*store.Intake, error) {
	switch p.Strategy {
	case syncer.Reconcile:
		return n.st.Reconcile(ctx, l, p.Offer.Epoch)
	case syncer.Change, syncer.BatchDelta:
		return n.st.Intake(ctx, l, p.Offer.Epoch, index.ModeDelta)
	}
	if l.Owner == n.st.Self() {
		return n.st.TakeBack(ctx, l, p.Offer.Epoch)
	}
	return n.st.Intake(ctx, l, p.Offer.Epoch, index.ModeFull)
}

// pull moves a replica forward by batches, after a comparison if that is planned.
func (n *Node) pull(ctx context.Context, l index.Location, p syncer.Plan) error {
	in, err := n.intake(ctx, l, &p)
	if err != nil {
		return err
	}
	mixed := in.Resumed()
	sink := &sink{n: n, in: in, start: time.Now(), at: Progress{
		Location: l, Phase: api.PhaseFetch, Strategy: string(p.Strategy), Provider: n.lib.name(p.Provider), Name: n.locationName(ctx, l),
	}}
	n.report(sink.at, &sink.tick)
	if p.Strategy == syncer.Reconcile {
		err = n.compareTrees(ctx, &p, in, sink)
	}
	if err == nil {
		err = n.pullFrom(ctx, p.Provider, in, sink)
	}
	if unusable(err) {
		err = errors.Join(err, in.Discard())
		if mixed {
			err = errors.Join(err, errMixed)
		}
	}
	err = errors.Join(err, in.Close())
	n.endReport(l, api.PhaseFetch, err)
	if err == nil {
		n.measure(ctx, p.Provider, &sink.at)
	}
	return n.transferred(l, p.Provider, err)
}

// transferred tells how a transfer ended.
func (n *Node) transferred(l index.Location, provider index.DeviceID, err error) error {
	if err != nil {
		if pid, perr := wire.PeerOf(provider); perr == nil && n.live.connected(provider) {
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
	for _, e := range []error{index.ErrEpochChanged, index.ErrBelowHorizon, batch.ErrMismatch, store.ErrMismatch, tree.ErrTooDifferent} {
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
	full  int64 // rows of the full pass or of the comparison, once the delta runs
	bytes int64 // of the comparison
	tick  throttle
}

var _ batch.Sink = (*sink)(nil)

// Put stores one page.
func (s *sink) Put(ctx context.Context, p *index.Page, next index.Token, done bool, at batch.Progress) error {
	if at.Mode == index.ModeFull {
		s.full = at.Done
		s.tell(at.Done, at.Total, at.Bytes)
	} else {
		s.tell(s.full+at.Done, s.full+at.Total, s.bytes+at.Bytes)
	}
	return s.in.Put(ctx, p, next, done)
}

func (s *sink) tell(done, total, bytes int64) {
	s.at.DoneEntries, s.at.TotalEntries, s.at.DoneBytes, s.at.Elapsed = done, total, bytes, time.Since(s.start)
	s.n.report(s.at, &s.tick)
}

// source serves pages to the batch protocol.
type source struct{ n *Node }

var _ batch.Source = source{}

// Page reads one page.
func (s source) Page(ctx context.Context, r batch.PageRequest) (index.Page, error) {
	s.n.activity.Touch()
	p, err := s.n.st.Page(ctx, store.PageRequest(r))
	return p, s.serve(ctx, r.Location, &p.Head.Head, err)
}

// serve says whether what was read of a location, at a head, may leave this device, and remembers that it does.
func (s source) serve(ctx context.Context, l index.Location, head *index.Head, err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound), damaged(err):
		return wire.ErrNoReplica
	case err == nil && l.Owner == s.n.st.Self():
		if s.n.isTwin(ctx, l) {
			return wire.ErrNoReplica
		}
		return s.n.st.Publish(ctx, head)
	}
	return err
}
