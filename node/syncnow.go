package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

const (
	// What a row costs on the wire, about, in a transfer of all and of changes, and at most. Bytes.
	fullRowBytes  = 28
	deltaRowBytes = 40
	maxRowBytes   = 4096

	// What a snapshot takes on the wire, packed, of a location's file with indexes and tree. Percent.
	nativeShare  = 70
	compactShare = 20

	// What is taken for usual before anything was fetched from a device: bytes a second on a local network and elsewhere,
	// entries a second proved, and the least that any transfer takes.
	usualNear    = 50_000_000
	usualFar     = 1_000_000
	usualEntries = 300_000
	usualLeast   = 50 * time.Millisecond

	// measureRows is how many rows a transfer must have for its rate to say something.
	measureRows = 10_000

	// maxSyncFailures is how many failed transfers end [Node.Sync]. Between them the syncer tries other providers.
	maxSyncFailures = 3
)

// pulls are the locations that a person wants now, whatever their policy, by how many calls.
type pulls struct {
	mu   sync.Mutex
	want map[index.Location]int
}

func newPulls() *pulls { return &pulls{want: map[index.Location]int{}} }

func (p *pulls) has(l index.Location) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.want[l] > 0
}

func (p *pulls) add(l index.Location, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.want[l] += n; p.want[l] == 0 {
		delete(p.want, l)
	}
}

// measured is a transfer from one provider.
type measured struct {
	entries, bytes int64
	took           time.Duration
}

func rateSetting(d index.DeviceID) string { return "rate:" + d.String() }

// measure remembers how fast a transfer was.
func (n *Node) measure(ctx context.Context, from index.DeviceID, p *Progress) {
	if p.DoneEntries < measureRows || p.Elapsed <= 0 {
		return
	}
	var b []byte
	for _, v := range []int64{p.DoneEntries, p.DoneBytes, int64(p.Elapsed)} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	n.keep(n.st.SetSetting(ctx, rateSetting(from), b))
}

// lastRate is how fast the last transfer from a device was; zero if none was measured.
func (n *Node) lastRate(ctx context.Context, from index.DeviceID) (measured, error) {
	v, err := n.st.Setting(ctx, rateSetting(from))
	if errors.Is(err, store.ErrNotFound) {
		return measured{}, nil
	}
	b, ok := v.([]byte)
	if err != nil || !ok || len(b) != 24 {
		return measured{}, err
	}
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return measured{at(0), at(1), time.Duration(at(2))}, nil
}

// SyncCost says what [Node.Sync] would have to fetch, as far as it can be told before.
func (n *Node) SyncCost(ctx context.Context, r SyncRequest) (SyncCost, error) {
	loc, s, p, err := n.toSync(ctx, r)
	if err != nil {
		return SyncCost{}, humane(err)
	}
	out := SyncCost{Location: loc}
	if p.Idle() || p.Provider.IsZero() {
		return out, nil
	}
	out.Provider, out.Strategy = n.lib.name(p.Provider), string(p.Strategy)
	var from syncer.Heard
	for _, h := range s.Heard {
		if h.Device == p.Provider {
			from = h
		}
	}
	out.Entries, out.Bytes = transferSize(&s, &p, &from)
	last, err := n.lastRate(ctx, p.Provider)
	if err != nil {
		return out, humane(err)
	}
	if out.Measured = last.took > 0; !out.Measured {
		last = usualRate(from.Link, &out)
	}
	out.Duration = time.Duration(float64(last.took) * float64(out.Entries) / float64(last.entries))
	return out, nil
}

// transferSize says how many entries a plan fetches, at most, and how many bytes that takes, about.
func transferSize(s *syncer.Situation, p *syncer.Plan, from *syncer.Heard) (entries, bytes int64) {
	h := &p.Offer
	switch p.Strategy {
	case syncer.BatchDelta, syncer.Change:
		entries = min(h.Seq-s.Held.Seq, h.Count)
		return entries, entries * deltaRowBytes
	case syncer.Native:
		bytes = from.Size / 100 * nativeShare
	case syncer.Compact:
		bytes = from.Size / 100 * compactShare
	}
	if bytes == 0 || bytes > h.Count*maxRowBytes { // it was not said, or can't be true
		bytes = h.Count * fullRowBytes
	}
	return h.Count, bytes
}

// usualRate is how fast a transfer of some size over a link usually is.
func usualRate(l syncer.Link, c *SyncCost) measured {
	rate := float64(usualFar)
	if l == syncer.LinkNear {
		rate = usualNear
	}
	onWire := float64(c.Bytes) / rate * float64(time.Second)
	proving := float64(c.Entries) / usualEntries * float64(time.Second)
	return measured{c.Entries, c.Bytes, time.Duration(max(onWire, proving, float64(usualLeast)))}
}

// toSync finds the location that is meant, and what the syncer would do if its policy were to hold a replica.
func (n *Node) toSync(ctx context.Context, r SyncRequest) (Location, syncer.Situation, syncer.Plan, error) {
	var none syncer.Situation
	fail := func(err error) (Location, syncer.Situation, syncer.Plan, error) {
		return Location{}, none, syncer.Plan{}, err
	}
	all, err := n.Locations(ctx)
	if err != nil {
		return fail(err)
	}
	one, of, err := n.resolve(all, r.Location)
	if err != nil {
		return fail(err)
	}
	if one == nil {
		return fail(usage(of.Name+" is a device, not a location", "", "name one of its locations: peerdex locations"))
	}
	if one.Own {
		return fail(usage(one.Name+" is this device's own", "it is not fetched but indexed", "peerdex scan "+one.Name))
	}
	sits, err := n.situations(ctx)
	if err != nil {
		return fail(err)
	}
	for _, s := range sits {
		if s.Location == one.Ref() {
			s.Policy, s.Apart, s.Rules = syncer.Full, n.apart.has(s.Held), n.cfg.rules()
			return *one, s, syncer.Decide(&s), n.cantSync(one, &s)
		}
	}
	return fail(notFound("nothing is known of "+one.Device+": "+one.Name+" any more", "peerdex locations"))
}

// cantSync says why a location can't be fetched now, or returns nil.
func (n *Node) cantSync(l *Location, s *syncer.Situation) error {
	title := fmt.Sprintf("%s: %s can't be fetched now", l.Device, l.Name)
	newest, _ := s.Newest()
	switch p := syncer.Decide(s); {
	case s.Frozen, s.Retired == index.Retired:
		return conflict(title, p.Why, "peerdex locations")
	case p.Strategy == syncer.Nothing && (s.Held == nil || behind(s.Held, &newest)):
		return &Error{Code: api.CodeUnavailable, Title: title, Detail: p.Why, Hint: "peerdex devices"}
	}
	return nil
}

// Sync fetches the newest state of a location that a connected device has, whatever the location's policy, and returns
// when it is here.
func (n *Node) Sync(ctx context.Context, r SyncRequest) (Location, error) {
	ctx, release, err := n.hold(ctx)
	if err != nil {
		return Location{}, err
	}
	defer release()
	loc, _, p, err := n.toSync(ctx, r)
	if err != nil {
		return Location{}, humane(err)
	}
	if err := n.fetchNow(ctx, loc.Ref(), &p); err != nil {
		return Location{}, humane(err)
	}
	return n.byRef(ctx, loc.Ref())
}

// fetchNow makes the syncer fetch a location, and waits until what the plan promised is here.
func (n *Node) fetchNow(ctx context.Context, l index.Location, p *syncer.Plan) error {
	n.pulls.add(l, 1)
	defer n.syncer.Kick()
	defer n.pulls.add(l, -1)
	listening, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := n.Events(listening) // from here on: what happens next is not missed
	if err := n.syncer.Resume(ctx, l); errors.Is(err, syncer.ErrAllPaused) {
		return conflict("all transfers are paused", "", "peerdex transfers resume --all")
	} else if err != nil {
		return err
	}
	goal := p.Offer
	if p.Provider.IsZero() {
		goal = p.Target
	}
	if done, err := n.fetched(ctx, l, &goal); done || err != nil {
		return err
	}
	failures := 0
	for e, err := range changes {
		switch {
		case err != nil:
			return err
		case e.Progress != nil && e.Progress.Finished && e.Progress.Error != "" && e.Progress.Location == l:
			if failures++; failures == maxSyncFailures {
				return &Error{Code: api.CodeFailed, Title: "the transfer failed", Detail: e.Progress.Error, Hint: "peerdex status"}
			}
			n.syncer.Retry() // a person waits
		case e.Location != nil && e.Location.Ref() == l, e.Device != nil, e.Type == api.EventReset:
			if done, err := n.fetched(ctx, l, &goal); done || err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// stopped is the error when somebody stopped the transfer of a location, nil if nobody did.
func (n *Node) stopped(ctx context.Context, l *Location) error {
	all, err := n.syncer.Queue(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		j := &all[i]
		if (j.Location == l.Ref() || j.Location == syncer.All) && (j.State == syncer.Paused || j.State == syncer.Cancelled) {
			return conflict(fmt.Sprintf("the transfer of %s: %s is %s", l.Device, l.Name, j.State), "", "peerdex transfers")
		}
	}
	return nil
}

// fetched reports whether a state is here, or an error if it can't come.
func (n *Node) fetched(ctx context.Context, l index.Location, goal *index.SignedHead) (bool, error) {
	sits, err := n.situations(ctx)
	if err != nil {
		return false, err
	}
	for i := range sits {
		s := &sits[i]
		switch {
		case s.Location != l:
		case s.Held != nil && !behind(s.Held, goal):
			return true, nil
		case n.live.syncing(l):
			return false, nil
		default:
			loc, err := n.byRef(ctx, l)
			if err != nil {
				return false, err
			}
			return false, cmp.Or(n.stopped(ctx, &loc), n.cantSync(&loc, s))
		}
	}
	return false, notFound("nothing is known of the location any more", "peerdex locations")
}
