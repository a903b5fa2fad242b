package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/snapshot"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// snapshotRetry is when to ask again a device that has no room for one more snapshot.
const snapshotRetry = 30 * time.Second

// snapshots serves snapshots of what this device holds.
type snapshots struct{ n *Node }

var _ snapshot.Source = snapshots{}

// Snapshot opens the snapshot asked for, or one of the present state.
func (s snapshots) Snapshot(ctx context.Context, r snapshot.Request) (snapshot.Snapshot, error) {
	end := s.n.activity.Begin()
	snap, err := s.open(ctx, &r)
	if errors.Is(err, store.ErrBusy) {
		err = wire.Refusal{Err: fmt.Errorf("%w: %w", wire.ErrBusy, err), RetryAfter: snapshotRetry}
	}
	if err != nil {
		end()
		return nil, err
	}
	return served{snap, end}, nil
}

func (s snapshots) open(ctx context.Context, r *snapshot.Request) (*store.Snapshot, error) {
	held, err := s.n.st.Held(ctx, r.Location)
	if err == nil && held.Head.Library != r.Library {
		err = store.ErrNotFound
	}
	if err := source(s).serve(ctx, r.Location, &held.Head.Head, err); err != nil {
		return nil, err
	}
	if snap, err := s.again(r, held.Head.Epoch); snap != nil || err != nil {
		return snap, err
	}
	v := store.Compact
	if r.Variants.Has(snapshot.Native) {
		v = store.Native
		if copies, err := s.n.st.CopiesNative(ctx, r.Location); err != nil {
			return nil, err
		} else if !copies && r.Variants.Has(snapshot.Compact) {
			v = store.Compact
		}
	}
	snap, err := s.n.st.Export(ctx, r.Location, v)
	if err == nil {
		held.Head = snap.Head
	}
	if err := source(s).serve(ctx, r.Location, &held.Head.Head, err); err != nil {
		if snap != nil {
			err = errors.Join(err, snap.Close())
		}
		return nil, err
	}
	return snap, nil
}

// again opens the file of a transfer that goes on; nil if it is of no use any more.
func (s snapshots) again(r *snapshot.Request, e index.Epoch) (*store.Snapshot, error) {
	if r.File == (snapshot.FileID{}) {
		return nil, nil
	}
	snap, err := s.n.st.OpenSnapshot(r.File.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h := &snap.Head
	if h.Location == r.Location && h.Library == r.Library && h.Epoch == e && r.Variants.Has(snapshot.Variant(snap.Variant)) {
		return snap, nil
	}
	return nil, snap.Close()
}

// served is a snapshot of the store, as the protocol wants it.
type served struct {
	*store.Snapshot
	end func()
}

// Offer says what it is.
func (s served) Offer() snapshot.Offer {
	id, _ := snapshot.ParseFileID(s.ID) // the store makes them of this form
	return snapshot.Offer{File: id, Variant: snapshot.Variant(s.Variant), Size: s.Size, Head: s.Head, Record: s.Record}
}

// Close lets go of it.
func (s served) Close() error {
	s.end()
	return s.Snapshot.Close()
}

// opener opens a stream of a protocol to a device that is connected.
type opener func(ctx context.Context, d index.DeviceID, id protocol.ID) (wire.Stream, error)

func (n *Node) openStream(ctx context.Context, d index.DeviceID, id protocol.ID) (wire.Stream, error) {
	p, err := wire.PeerOf(d)
	if err != nil {
		return nil, err
	}
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, string(id)), p, id)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	return s, nil
}

// fetchSnapshot makes a snapshot of a provider the replica.
func (n *Node) fetchSnapshot(ctx context.Context, l index.Location, p syncer.Plan, open opener) error {
	d, err := n.st.Download(l)
	if err != nil {
		return err
	}
	f := n.newFetch(ctx, d, l, p, open)
	before, _, had := d.Have()
	err = f.fetch(ctx)
	n.report(f.at, &throttle{})
	after, _, has := d.Have()
	if err == nil {
		err = f.prove(ctx)
	}
	err = errors.Join(err, d.Close())
	n.endReport(l, f.at.Phase, err)
	if err == nil && had == 0 { // one that went on says little of how long a whole one takes
		f.at.DoneEntries = f.at.TotalEntries
		n.measure(ctx, p.Provider, &f.at)
	}
	progress := has > had && (before == "" || before == after)
	if err != nil && n.blames(ctx, p.Provider, err, progress) {
		err = fmt.Errorf("%w: %w", syncer.ErrNoSnapshot, err)
	}
	return n.transferred(l, p.Provider, err)
}

// blames reports whether it is a fault of the provider that no snapshot came. A connection that broke is none, if the
// transfer can go on where it was; so a provider that always breaks off and begins anew is not put up with for ever.
func (n *Node) blames(ctx context.Context, d index.DeviceID, err error, progress bool) bool {
	is := func(list ...error) bool {
		for _, e := range list {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case ctx.Err() != nil, is(store.ErrDiskFull, store.ErrBusy, wire.ErrBusy):
		return false
	case is(store.ErrMismatch, store.ErrCorrupt, wire.ErrMalformed, index.ErrBadSignature):
		return true
	}
	return !progress && n.live.connected(d)
}

// fetch is one snapshot on its way in. It is the sink of the protocol.
type fetch struct {
	n     *Node
	d     *store.Download
	plan  syncer.Plan
	loc   index.Location
	open  opener
	start time.Time
	at    Progress
	tick  throttle
}

var _ snapshot.Sink = (*fetch)(nil)

func (n *Node) newFetch(ctx context.Context, d *store.Download, l index.Location, p syncer.Plan, open opener) *fetch {
	f := &fetch{n: n, d: d, plan: p, loc: l, open: open, start: time.Now(), at: Progress{
		Location: l, Phase: api.PhaseFetch, Strategy: string(p.Strategy), Provider: n.lib.name(p.Provider),
		Name: n.locationName(ctx, l), TotalEntries: p.Offer.Count,
	}}
	n.report(f.at, &f.tick)
	return f
}

// fetch brings all bytes here, those that are missing.
func (f *fetch) fetch(ctx context.Context) error {
	in := f.d.Incoming()
	if in.ID != "" && (in.Head.Epoch != f.plan.Offer.Epoch || f.n.verifyHead(&in.Head) != nil) {
		if err := f.d.Discard(); err != nil {
			return err
		}
	}
	if f.d.Whole() {
		f.describe(in.Variant, in.Size, in.Head.Count)
		return nil
	}
	s, err := f.open(ctx, f.plan.Provider, snapshot.ID)
	if err != nil {
		return err
	}
	r, err := f.request()
	if err != nil {
		return errors.Join(err, s.Reset())
	}
	return snapshot.Pull(ctx, s, r, f, snapshot.Options{Config: f.n.wire(), VerifyHead: f.n.verifyHead})
}

// request asks for what is missing.
func (f *fetch) request() (snapshot.Request, error) {
	r := snapshot.Request{Library: f.n.lib.id(), Location: f.loc, Variants: snapshot.Variants(snapshot.Compact)}
	if f.plan.Strategy == syncer.Native {
		r.Variants = snapshot.Variants(snapshot.Native)
		if f.n.cfg.rules().Always != syncer.Native {
			r.Variants = snapshot.Variants(snapshot.Native, snapshot.Compact)
		}
	}
	if id, v, offset := f.d.Have(); id != "" && r.Variants.Has(snapshot.Variant(v)) {
		file, err := snapshot.ParseFileID(id)
		if err != nil {
			return r, err
		}
		r.File, r.Offset = file, offset
	}
	return r, nil
}

// Begin prepares for what comes.
func (f *fetch) Begin(ctx context.Context, o *snapshot.Offer, offset int64) error {
	f.describe(store.Variant(o.Variant), o.Size, o.Head.Count)
	return f.d.Begin(ctx, store.Incoming{
		ID: o.File.String(), Variant: store.Variant(o.Variant), Size: o.Size, Head: o.Head, Record: o.Record,
	}, offset)
}

// describe says of the progress what is known now.
func (f *fetch) describe(v store.Variant, size, entries int64) {
	f.at.Strategy, f.at.TotalBytes, f.at.TotalEntries = v.String(), size, entries
}

// Put stores the next bytes.
func (f *fetch) Put(_ context.Context, b []byte, at snapshot.Progress) error {
	_, err := f.d.Write(b)
	f.at.DoneBytes, f.at.Elapsed = at.Done, time.Since(f.start)
	f.n.report(f.at, &f.tick)
	return err
}

// prove makes the whole snapshot the replica, and tells meanwhile how much of it is proved right.
func (f *fetch) prove(ctx context.Context) error {
	f.at.Phase, f.at.DoneBytes = api.PhaseProve, f.at.TotalBytes
	f.n.report(f.at, &throttle{})
	f.n.live.ended(f.loc, api.PhaseFetch)
	done := make(chan error, 1)
	go func() { done <- f.d.Finish(ctx) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			f.at.DoneEntries, f.at.Elapsed = f.d.Proved(), time.Since(f.start)
			f.n.report(f.at, &throttle{})
		}
	}
}
